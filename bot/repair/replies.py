"""What a command in a comment is answered with, where an answer needs words.

The text is ours. What comes from outside (a reason may quote a log) is shown inert.
"""

from collections.abc import Mapping

from bot.domain.runs import Run, RunState
from bot.domain.values import Pull
from bot.repair.messages import quote

COMMANDS: Mapping[str, str] = {
    "help": "show this list",
    "status": "say where the repair stands",
    "fix": "try to mend this pull request now; on a fork this approves the commit it is at",
    "retry": "try again, also after Regreen gave up, was stopped or waits for a person",
    "stop": "stop the repair",
    "reset": "set the attempt count back to zero",
    "approve": "let out the change that waits; the commit that it goes onto may follow",
    "reject": "throw away the change that waits; a reason may follow",
    "explain": "say what was decided, by what, and why",
    "plan": "show the plan and how it changed",
}
_STATES: Mapping[RunState, str] = {
    RunState.WORKING: "at work",
    RunState.WAITING_CI: "waiting for CI",
    RunState.WAITING_DELAY: "waiting before the next attempt",
    RunState.WAITING_PERSON: "waiting for a person",
    RunState.WAITING_BASE: "waiting until the base branch is mended",
    RunState.WAITING_PROOF: "waiting for the checks of its change on a scratch branch",
    RunState.GREEN: "done, the pull request is green",
    RunState.GAVE_UP: "given up",
    RunState.BLOCKED: "blocked: it makes no progress",
    RunState.SUPERSEDED: "superseded",
    RunState.CLOSED: "ended, the pull request was closed",
    RunState.STOPPED: "stopped by a person",
}


def help_text() -> str:
    """Return the list of commands."""
    lines = [f"- `/regreen {word}`: {what}" for word, what in COMMANDS.items()]
    return "\n".join(
        ["People with write permission can give these commands in a comment:", "", *lines]
    )


def unknown_command(word: str) -> str:
    """Return the answer to a command that does not exist."""
    return f"There is no command {quote(word, 40)}.\n\n{help_text()}"


def closed(word: str) -> str:
    """Return why a command needs an open pull request."""
    return f"`/regreen {word}` needs an open pull request, and this one is closed."


def no_gate(why: str) -> str:
    """Return why an approval or rejection does not count."""
    return f"Nothing was approved or rejected: {why}."


def status_text(pull: Pull | None, run: Run | None) -> str:
    """Return where the newest repair of a pull request stands."""
    if run is None:
        return "Regreen has not worked on this pull request. `/regreen fix` has it look now."
    lines = [f"**Regreen is {_STATES[run.state]}.**" + _because(run), ""]
    lines.append(f"- run `{run.id}`, begun {run.started_at:%Y-%m-%d %H:%M} UTC")
    lines.append(f"- looked at commit {run.head[:12]}" + _moved(pull, run))
    lines += [
        f"- attempt {attempt.number}: {attempt.result.replace('_', ' ')}"
        + (f" by `{attempt.backend}`" if attempt.backend else "")
        + (f", {quote(attempt.reason)}" if attempt.reason else "")
        for attempt in run.attempts
    ]
    if run.wake_at is not None and not run.ended:
        lines.append(f"- looks again at {run.wake_at:%Y-%m-%d %H:%M:%S} UTC")
    return "\n".join(lines)


def _because(run: Run) -> str:
    return f" {quote(run.reason)}" if run.reason else ""


def _moved(pull: Pull | None, run: Run) -> str:
    if pull is None or pull.head == run.head:
        return ""
    return f"; the head is now {pull.head[:12]}"
