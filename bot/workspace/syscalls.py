"""Forbids the system calls that no namespace holds, by a seccomp filter that bubblewrap loads.

A namespace does not reach everything: sockets between a virtual machine and its hypervisor belong
to none, key rings are inherited, and io_uring makes sockets without a call that could be seen. So
sockets may be those of this machine and its (empty) network alone, and what only programs that
trace or extend the kernel need is not there. Everything else stays allowed: compilers, test runners
and agents use nearly all of it.

The filter is classic BPF (https://docs.kernel.org/userspace-api/seccomp_filter.html). Its dozen
instructions are written here: libseccomp's binding is a C extension without wheels.
"""

import errno
import os
import platform
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # where they lie in `struct seccomp_data`
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_X32 = 0x40000000  # on x86-64 the same calls have these numbers as well
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK


class _Machine(NamedTuple):
    """An architecture's number (`AUDIT_ARCH_*`), and those of the calls that are judged."""

    architecture: int
    socket: int
    absent: Sequence[int]


# Absent are io_uring_setup, add_key, request_key, keyctl, bpf, perf_event_open and userfaultfd.
_MACHINES: Mapping[str, _Machine] = {
    "x86_64": _Machine(0xC000003E, 41, (425, 248, 249, 250, 321, 298, 323)),
    "aarch64": _Machine(0xC00000B7, 198, (425, 217, 218, 219, 280, 241, 282)),
}


def program(machine: str) -> bytes:
    """Return the filter for an architecture as `os.uname` names it, empty for one not known."""
    known = _MACHINES.get(machine)
    if known is None:
        return b""
    refuse = _REFUSE | errno.ENOSYS
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, known.architecture),
        (_RETURN, 0, 0, _KILL),  # programs of another architecture: their numbers are others
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, refuse),
    ]
    for number in known.absent:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    steps += [
        (_EQUAL, 1, 0, known.socket),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
    ]
    for family in _FAMILIES:
        steps += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _REFUSE | errno.EAFNOSUPPORT))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


@contextmanager
def opened() -> Iterator[int | None]:
    """Yield a descriptor to read this machine's filter from, once; None where there is none."""
    content = program(platform.machine())
    if not content:
        yield None
        return
    descriptor = os.memfd_create("regreen-filter", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
