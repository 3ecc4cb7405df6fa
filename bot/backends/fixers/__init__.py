"""Deterministic fixers: they cost nothing and go first.

Each fixer says from the tree and the failing steps whether it applies. Those that apply run one
after another in the sandbox: those that mend rules before those that lay out text. A tool that is
not there is passed over, and said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.backends import endings
from bot.backends.base import Job
from bot.backends.fixers import cargo_fmt, clippy, eslint, gofmt, prettier, ruff
from bot.backends.fixers.base import Fix, Fixer, Skip
from bot.backends.tree import TreeView
from bot.domain.answers import Answer, Ending
from bot.domain.ports import Finished

FIXERS: Mapping[str, Fixer] = {
    "ruff": ruff,
    "eslint": eslint,
    "prettier": prettier,
    "gofmt": gofmt,
    "clippy": clippy,
    "cargo fmt": cargo_fmt,
}
_TIMEOUT_S = 300.0


@dataclass(slots=True)
class _Account:
    """What happened so far; `broken` is the end of a tool that could not do its work."""

    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: Answer | None = None


def work(job: Job) -> Answer:
    """Run every fixer that applies; whether something changed is for the diff to say."""
    if job.question:
        return Answer(Ending.NOT_FOUND, detail="fixers answer no questions")
    view, account = TreeView(job.tree), _Account()
    for name, fixer in FIXERS.items():
        planned = fixer.plan(view, job.task)
        if isinstance(planned, Skip):
            account.skipped.append(f"{name}: {planned.reason}")
            continue
        for fix in planned:
            if (stopped := _mend(job, fix, account)) is not None:
                return stopped
    detail = "; ".join(account.notes)
    if account.ran:
        return Answer(Ending.EDITED, text=f"Ran {', '.join(account.ran)}.", detail=detail)
    if account.broken is not None:
        return Answer(account.broken.ending, detail=detail)
    reasons = "; ".join([*account.notes, *account.skipped])
    return Answer(Ending.NO_CHANGE, detail=f"no fixer applies ({reasons})")


def _mend(job: Job, fix: Fix, account: _Account) -> Answer | None:
    """Run one fix and note how it went; return the end of the whole job when it was stopped."""
    program, finished = _first_there(job, fix)
    if finished.stopped:
        return endings.unfinished(finished, fix.name)
    if endings.missing(finished, program):
        account.notes.append(f"{fix.name}: {program} is not installed in the sandbox")
        return None
    broken = endings.unfinished(finished, fix.name)
    if broken is None and finished.exit_code in fix.ends:
        account.ran.append(f"`{fix.name}`")
        if finished.exit_code:
            account.notes.append(f"{fix.name} left something{endings.shown(finished.output)}")
        return None
    if broken is None:
        end = f"{fix.name} ended with exit code {finished.exit_code}"
        broken = Answer(Ending.TOOL_FAILED, detail=end + endings.shown(finished.output))
    account.broken = account.broken or broken
    account.notes.append(broken.detail)
    return None


def _first_there(job: Job, fix: Fix) -> tuple[str, Finished]:
    """Run the first of the fix's programs that can be started; return it and its end."""
    for program in fix.programs[:-1]:
        finished = _run(job, program, fix)
        if not endings.missing(finished, program):
            return program, finished
    last = fix.programs[-1]
    return last, _run(job, last, fix)


def _run(job: Job, program: str, fix: Fix) -> Finished:
    argv = (program, *fix.arguments)
    return job.sandbox.run(argv, job.tree, timeout_s=_TIMEOUT_S, stop=job.stop)
