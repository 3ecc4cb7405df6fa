"""The one place that starts processes.

`run` is for commands that we do not trust to end, to go on or to be brief: it watches them, keeps
the head and the tail of what they print, and kills all of the tree in the end. `call` is for our
own tools, whose whole output we want. Neither uses a shell, and neither hands on our environment or
files.
"""

import contextlib
import os
import select
import signal
import subprocess
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


Judge = Callable[[psutil.Process, Output], Fault | None]


def never() -> bool:
    """Say no: nobody stops this command."""
    return False


def nothing_wrong(_process: psutil.Process, _output: Output) -> Fault | None:
    """Find no fault in a running command."""
    return None


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    stdin: bytes = b"",
    stop: Callable[[], bool] = never,
    fault: Judge = nothing_wrong,
) -> Finished:
    """Run *command* to its end, which comes by itself, by time, by `stop` or by a `fault`.

    Exit code 127 means that it could not be started, 128+n that signal n ended it.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as source:
        source.write(stdin)
        source.seek(0)
        try:
            process = _start(command, cwd, env, source)
        except OSError as error:
            text = f"{command[0]}: {error.strerror}\n"
            return Finished(exit_code=127, output=text, seconds=time.monotonic() - began)
    output = Output()
    assert process.stdout is not None
    reader = threading.Thread(target=output.read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        ended = _watch(process, began + timeout_s, stop, lambda seen: fault(seen, output))
    finally:
        _kill(process)
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
    command: Sequence[str], cwd: Path, env: Mapping[str, str], source: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # what runs is decided by the caller, in its sandbox
        command,
        cwd=cwd,
        env=dict(env),
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _watch(
    process: subprocess.Popen[bytes],
    deadline: float,
    stop: Callable[[], bool],
    fault: Callable[[psutil.Process], Fault | None],
) -> Fault:
    """Wait for the end of the command; return why it must be killed, an empty fault if not."""
    seen = psutil.Process(process.pid)
    ask_at = time.monotonic() + _ASK_S
    with _waiting(process) as ends_within:
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
                if (found := fault(seen)) is not None:
                    return found


@contextlib.contextmanager
def _waiting(process: subprocess.Popen[bytes]) -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits so many seconds at most and tells whether the process has ended.

    `Popen.wait` sleeps longer and longer between its looks: a command of 20 ms would take 32.
    """
    if not hasattr(os, "pidfd_open"):  # not Linux
        yield lambda seconds: _ends_within(process, seconds)
        return
    descriptor = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        yield lambda seconds: bool(poll.poll(seconds * 1000)) and process.wait() is not None
    finally:
        os.close(descriptor)


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return True
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the command's group and every descendant; whoever left is reaped by init."""
    family: list[psutil.Process] = []
    if process.poll() is None:
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()
