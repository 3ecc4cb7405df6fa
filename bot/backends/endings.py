"""What the end of a sandboxed program means, before anyone reads its words."""

from bot.domain.answers import Answer, Ending
from bot.domain.ports import Finished

_NOT_EXECUTABLE, _NOT_FOUND, _SIGNALLED = 126, 127, 128
_SHOWN = 600  # characters of output in a detail


def unfinished(finished: Finished, program: str) -> Answer | None:
    """Return how a program was kept from ending by itself, None when it did end."""
    if finished.stopped:
        return Answer(Ending.KILLED, detail=f"{program} was stopped")
    if finished.timed_out:
        return Answer(Ending.TIMEOUT, detail=f"{program} {_late(finished)}")
    if finished.endless:
        return Answer(Ending.INVALID, detail=f"{program} was ended: {finished.fault}")
    if missing(finished, program):
        return Answer(Ending.NOT_FOUND, detail=f"{program} is not installed in the sandbox")
    if finished.exit_code < 0 or finished.exit_code > _SIGNALLED:
        code = finished.exit_code
        signal = -code if code < 0 else code - _SIGNALLED
        detail = f"{program} was killed (signal {signal}){shown(finished.output)}"
        return Answer(Ending.KILLED, detail=detail)
    if finished.exit_code and "no space left on device" in finished.output.lower():
        return Answer(Ending.DISK_FULL, detail=f"{program}: no space left on device")
    return None


def _late(finished: Finished) -> str:
    if finished.fault in {"", "out of time"}:
        return f"took longer than {finished.seconds:.0f} s"
    return f"was ended: {finished.fault}"


def missing(finished: Finished, program: str) -> bool:
    """Tell whether the program itself was not there to be started."""
    if finished.exit_code in {_NOT_EXECUTABLE, _NOT_FOUND}:
        return True
    return finished.exit_code == 1 and f"execvp {program}: No such file" in finished.output


def shown(output: str) -> str:
    """Return the end of an output as the tail of a detail; errors stand last."""
    text = output.strip()
    return f": {text[-_SHOWN:]}" if text else ""
