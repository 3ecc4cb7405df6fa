"""The one place that starts processes.

`run` is for commands that we do not trust to end, to go on or to be brief: it watches them, keeps
the head and the tail of what they print, and kills all of the tree in the end. `call` is for our
own tools, whose whole output we want. Neither uses a shell, and neither hands on our environment or
files.
"""

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from bot.domain.ports import Finished

HEAD = 64 * 1024  # bytes kept from the beginning of an output
TAIL = 192 * 1024  # and from its end, where test runners say what failed
_LOOK_S = 0.5  # how often a running command is looked at
_ASK_S = 1.0  # how often somebody is asked whether it shall stop
_DRAIN_S = 2.0  # how long its output may trickle after its end
_CHUNK = 64 * 1024
_MB = 1024 * 1024
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in which memory is told


@dataclass(frozen=True, slots=True)
class Called:
    """How one of our own tools ended, with its whole output."""

    exit_code: int
    stdout: bytes
    stderr: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a running command is ended, in words, and which kind of end that is."""

    reason: str = ""
    timed_out: bool = False
    stopped: bool = False
    endless: bool = False


class Output:
    """The head and the tail of a stream, and how it flows; written and read by two threads."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0
        self._size = 0
        self._newest = time.monotonic()

    @property
    def silent_s(self) -> float:
        """How long nothing has come."""
        return time.monotonic() - self._newest

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._size

    def read(self, stream: IO[bytes]) -> None:
        """Take in the stream to its end."""
        with stream:
            while chunk := os.read(stream.fileno(), _CHUNK):
                self._newest = time.monotonic()
                self._size += len(chunk)
                room = HEAD - len(self._head)
                self._head += chunk[:room] if room > 0 else b""
                self._tail += chunk[room:] if room > 0 else chunk
                extra = len(self._tail) - TAIL
                if extra > _CHUNK:  # not at every chunk: shifting costs
                    del self._tail[:extra]
                    self._left_out += extra

    def count(self, words: bytes) -> int:
        """Return how often *words* stand in what is kept."""
        return self._head.count(words) + self._tail.count(words)

    def text(self) -> str:
        """Return what is kept; a gap says how much is not."""
        extra = max(0, len(self._tail) - TAIL)
        left_out = self._left_out + extra
        gap = f"\n[… {left_out} bytes left out …]\n".encode() if left_out else b""
        return (bytes(self._head) + gap + bytes(self._tail[extra:])).decode(errors="replace")


class Usage:
    """What a command has used: seconds of computing, and the bytes of its largest process.

    The system's own account of memory begins with what we held when we began the command, so below
    that it says nothing; there it counts what was seen while the command ran.
    """

    def __init__(self) -> None:
        self.cpu_s: float | None = None
        self.memory = 0
        self._floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def seen(self, top: psutil.Process) -> None:
        """Take down the peaks of all processes that run now."""
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = status.partition("VmHWM:")[2].split(maxsplit=1)
                self.memory = max(self.memory, int(peak[0]) * 1024 if peak else 0)

    def ended(self, used: resource.struct_rusage) -> None:
        """Take down what the system tells at the end."""
        self.cpu_s = round(used.ru_utime + used.ru_stime, 3)
        if used.ru_maxrss > self._floor:
            self.memory = max(self.memory, used.ru_maxrss * _RSS_UNIT)


Judge = Callable[[psutil.Process, Output], Fault | None]


def never() -> bool:
    """Say no: nobody stops this command."""
    return False


def nothing_wrong(_process: psutil.Process, _output: Output) -> Fault | None:
    """Find no fault in a running command."""
    return None


def run(  # noqa: PLR0913 -- all but one by keyword
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    stdin: bytes = b"",
    stop: Callable[[], bool] = never,
    fault: Judge = nothing_wrong,
    inherit: Sequence[int] = (),
) -> Finished:
    """Run *command* to its end, which comes by itself, by time, by `stop` or by a `fault`.

    It inherits these descriptors, besides its input and output.
    Exit code 127 means that it could not be started, 128+n that signal n ended it.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as source:
        source.write(stdin)
        source.seek(0)
        try:
            process = _start(command, cwd, env, source, inherit)
        except OSError as error:
            text = f"{command[0]}: {error.strerror}\n"
            return Finished(exit_code=127, output=text, seconds=time.monotonic() - began)
    output = Output()
    assert process.stdout is not None
    reader = threading.Thread(target=output.read, args=(process.stdout,), daemon=True)
    reader.start()
    usage = Usage()
    try:
        ended = _watch(process, usage, began + timeout_s, stop, lambda seen: fault(seen, output))
    finally:
        _kill(process, usage)
    reader.join(_DRAIN_S)
    code = process.returncode
    return Finished(
        exit_code=code if code >= 0 else 128 - code,
        output=output.text() + (f"\n[killed: {ended.reason}]\n" if ended.reason else ""),
        seconds=time.monotonic() - began,
        timed_out=ended.timed_out,
        stopped=ended.stopped,
        endless=ended.endless,
        fault=ended.reason,
        cpu_s=usage.cpu_s,
        max_rss_mb=round(usage.memory / _MB, 1) if usage.memory else None,
    )


def call(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    stdin: bytes = b"",
    cwd: Path | None = None,
) -> Called:
    """Run one of our own tools; raise TimeoutError, its processes gone, when it takes too long."""
    process = subprocess.Popen(  # noqa: S603  # a fixed program, no shell
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout_s)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{command[0]} took longer than {timeout_s:g} s") from error
    finally:
        if process.poll() is None:
            _kill(process)
            process.communicate()
    return Called(process.returncode, stdout, stderr.decode(errors="replace"))


def kill_marked(name: str, value: str) -> None:
    """Kill every process whose environment carries this mark: those that left their group."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(name) == value:
                process.kill()


def _start(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    source: IO[bytes],
    inherit: Sequence[int],
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # what runs is decided by the caller, in its sandbox
        command,
        cwd=cwd,
        env=dict(env),
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=tuple(inherit),
        start_new_session=True,
    )


def _ended(process: subprocess.Popen[bytes], within_s: float, usage: Usage) -> bool:
    """Wait for the end of the command, and take down what it has used, which only its end tells."""
    deadline, pause_s = time.monotonic() + within_s, 0.0005
    while process.returncode is None:
        try:
            found, status, used = os.wait4(process.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else took its end
            process.wait()
            return True
        if found:
            process.returncode = os.waitstatus_to_exitcode(status)
            usage.ended(used)
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        pause_s = min(pause_s * 2, left, 0.05)
        time.sleep(pause_s)
    return True


def _watch(
    process: subprocess.Popen[bytes],
    usage: Usage,
    deadline: float,
    stop: Callable[[], bool],
    fault: Callable[[psutil.Process], Fault | None],
) -> Fault:
    """Wait for the end of the command; return why it must be killed, an empty fault if not."""
    seen = psutil.Process(process.pid)
    ask_at = time.monotonic() + _ASK_S
    with _waiting(process, usage) as ends_within:
        while True:
            left = deadline - time.monotonic()
            if ends_within(max(0.0, min(_LOOK_S, left))):
                return Fault()
            if left <= 0:
                return Fault("out of time", timed_out=True)
            if time.monotonic() >= ask_at:
                ask_at += _ASK_S
                if stop():
                    return Fault("stopped", stopped=True)
            with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
                usage.seen(seen)
                if (found := fault(seen)) is not None:
                    return found


@contextlib.contextmanager
def _waiting(process: subprocess.Popen[bytes], usage: Usage) -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits so many seconds at most and tells whether the process has ended.

    `Popen.wait` sleeps longer and longer between its looks: a command of 20 ms would take 32.
    """
    if not hasattr(os, "pidfd_open"):  # not Linux
        yield lambda seconds: _ended(process, seconds, usage)
        return
    descriptor = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        yield lambda seconds: bool(poll.poll(seconds * 1000)) and _ended(process, 1.0, usage)
    finally:
        os.close(descriptor)


def _kill(process: subprocess.Popen[bytes], usage: Usage | None = None) -> None:
    """Kill the command's group and every descendant; whoever left is reaped by init."""
    family: list[psutil.Process] = []
    usage = usage or Usage()
    if not _ended(process, 0.0, usage):
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    while not _ended(process, _LOOK_S, usage):
        pass
