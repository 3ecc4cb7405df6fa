"""Every word that people read in comments and check runs.

A comment begins with one line for people; the hidden marker follows. Whatever comes from outside (a
log, a model, a title) is fenced or quoted here, mentions and closing words are broken, secrets are
struck out: the text of this module is ours, the rest is only shown.
"""

import re
from collections.abc import Sequence

from bot.domain.runs import Attempt, Gate, GateState, Result, Run, RunState
from bot.domain.values import (
    Annotation,
    Card,
    CommandResult,
    Conclusion,
    FailingStep,
    RunId,
    Sha,
    Usage,
)
from bot.repair import attempts
from bot.repair.guard import redact

PROOF_CHARACTERS = 1_500
DIFF_CHARACTERS = 20_000
APPLY_CHARACTERS = 45_000  # a comment holds 65,536, and the proof must fit beside it
EVIDENCE_CHARACTERS = 3_000
PLAN_CHARACTERS = 4_000
UNPROTECTED = """
> [!WARNING]
> The code of this pull request ran without a sandbox, with the rights of the server: its
> administrator set `driver = "none"`.
"""


def fence(text: str, language: str = "") -> str:
    """Show untrusted *text* as code: nothing in it can end the block, mention or close anything."""
    clean = redact(_printable(text))
    longest = max((len(run) for run in re.findall(r"`+", clean)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{clean.rstrip()}\n{ticks}"


def quote(text: str, limit: int = 300) -> str:
    """Show untrusted *text* within a line of ours, inert."""
    clean = " ".join(redact(_printable(text)).split())
    if len(clean) > limit:
        clean = clean[: limit - 1] + "…"
    clean = clean.replace("<", "&lt;").replace("![", "!\u200b[").replace("](", "]\u200b(")
    clean = re.sub(r"@(?=\w)", "@\u200b", clean)
    clean = re.sub(r"#(?=\d)", "#\u200b", clean)
    return re.sub(r"https?://", lambda match: match[0].replace("://", ":\u200b//"), clean)


def name(text: str) -> str:
    """Show a check's or a backend's name as inline code."""
    return "`" + redact(_printable(text)).replace("`", "'").replace("\n", " ")[:120] + "`"


def warned(report: str, sandbox: str) -> str:
    """Return a comment or a check run's text with the warning that this driver calls for."""
    return f"{report.rstrip()}\n{UNPROTECTED}" if sandbox == "none" else report


def _printable(text: str) -> str:
    """Drop colours, control characters and the ones that reorder or hide text."""
    text = re.sub(r"\x1b\[[0-9;:?]*[ -/]*[@-~]", "", text)
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", text)


def attempt_comment(run: Run, attempt: Attempt) -> str:
    """Return the whole comment of an attempt as it stands."""
    parts = [
        f"### Regreen · attempt {attempt.number}: {_headline(run, attempt)}",
        attempts.marker(attempt.number, attempt.trigger, run.id),
        "",
        *_checklist(attempt),
        *_at_the_gate(run, attempt),
        "",
        f"{_cost(attempt)} · Run `{run.id}`",
        *_details(run, attempt),
    ]
    return "\n".join(parts) + "\n"


def _headline(run: Run, attempt: Attempt) -> str:
    what = ", ".join(name(check) for check in attempt.failing[:3])
    if len(attempt.failing) > 3:  # noqa: PLR2004 -- three names fit on a line
        what += f" and {len(attempt.failing) - 3} more"
    if attempt.green:
        return f"{what} green again"
    if attempt.result is Result.ROLLED_BACK:
        return f"undone, for it turned {', '.join(name(one) for one in attempt.worse[:3])} red"
    if run.state is RunState.GREEN and attempt is run.attempts[-1]:
        return f"{what} green again without it"
    return {
        Result.WORKING: f"working on {what}",
        Result.PATCH_APPLIED: f"pushed a fix for {what}, CI is running",
        Result.PATCH_POSTED: f"a verified fix for {what}, for you to apply",
        Result.REJECTED: f"no fix for {what} yet",
        Result.ESCALATED: f"a person is needed for {what}",
        Result.GAVE_UP: f"giving up on {what}",
        Result.BLOCKED: f"no progress on {what}",
        Result.SUPERSEDED: f"work on {what} was superseded",
    }[attempt.result]


def _checklist(attempt: Attempt) -> list[str]:
    lines = [
        f"- [x] **Why:** {quote(text)} ({name(check)})" for check, text in attempt.evidence[:5]
    ]
    lines += [f"- ⏭️ {name(backend)}: {quote(reason)}" for backend, reason in attempt.tried]
    if attempt.backend and attempt.diff:
        model = f" ({quote(attempt.model, 60)})" if attempt.model else ""
        lines.append(f"- [x] **Mended** by {name(attempt.backend)}{model}: {_size(attempt.diff)}")
    if attempt.verification is not None:
        lines.append(_proof_line(attempt))
    if attempt.commit is not None and attempt.result is Result.PATCH_APPLIED:
        lines.append(f"- [x] **Pushed** as {attempt.commit}")
        lines.append(f"- [{'x' if attempt.green else ' '}] **CI** on the new commit")
    if attempt.reason:
        lines.append(f"- {_sign(attempt.result)} {quote(attempt.reason, 600)}")
    return lines


def _sign(result: Result) -> str:
    return {Result.ESCALATED: "🙋", Result.WORKING: "⏳", Result.SUPERSEDED: "↩️"}.get(result, "❌")


def _proof_line(attempt: Attempt) -> str:
    assert attempt.verification is not None
    verdict = attempt.verification
    where = f" ({verdict.sandbox})" if verdict.sandbox else ""
    if verdict.approved:
        commands = ", ".join(command_name(result) for result in verdict.results)
        return f"- [x] **Proved** in a fresh tree{where}: {commands} passed"
    return f"- [ ] **Not proved**{where}: {quote(verdict.reason)}"


def _at_the_gate(run: Run, attempt: Attempt) -> list[str]:
    """Tell who may let the change out, until when, and that it is out; a no is told as a reason."""
    gate = _gate(run, attempt)
    if gate is None or attempt is not run.attempts[-1]:
        return []
    match gate.state:
        case GateState.PENDING:
            return [f"- 🔒 {_how_to_answer(gate)}"]
        case GateState.APPROVED:
            return [f"- 🔓 **Approved** by {quote(gate.by, 60)}"]
        case GateState.VOID:
            return ["- ↩️ The question is void: the pull request went on without it"]
        case GateState.REJECTED | GateState.EXPIRED:
            return []


def _gate(run: Run, attempt: Attempt) -> Gate | None:
    """Return the gate at which the newest attempt's change waited; an older one's is not its."""
    gate = run.gates[-1] if run.gates else None
    return gate if gate is not None and gate.asked_at >= attempt.started_at else None


def _how_to_answer(gate: Gate) -> str:
    others = f" other than {quote(gate.asked_by, 60)}, who asked for it" if gate.asked_by else ""
    return (
        f"`/regreen approve {gate.head[:10]}` lets it out, `/regreen reject` throws it away, said "
        f"by someone with {gate.role} permission{others}. Until {gate.expires_at:%Y-%m-%d %H:%M} "
        "UTC; a push voids the question."
    )


def reminder_marker(gate: Gate) -> str:
    """Return the hidden mark of a gate's reminder, the same for the same reminder."""
    return f"<!-- regreen reminder gate={gate.id} -->"


def reminder_comment(run: Run, gate: Gate) -> str:
    """Return the comment that reminds people of a change at its gate."""
    kinds = ", ".join(gate.types)
    title = f"### Regreen: a proved change still waits for an approval ({kinds})"
    lines = [title, reminder_marker(gate), ""]
    return "\n".join([*lines, _how_to_answer(gate), "", f"<sub>Run `{run.id}`.</sub>"]) + "\n"


def _size(diff: str) -> str:
    files = len(re.findall(r"^diff --git ", diff, re.MULTILINE))
    added = len(re.findall(r"^\+(?!\+\+ )", diff, re.MULTILINE))
    removed = len(re.findall(r"^-(?!-- )", diff, re.MULTILINE))
    return f"{files} file{'s' if files != 1 else ''}, +{added} -{removed}"


def _cost(attempt: Attempt) -> str:
    usage = attempt.usage
    if not usage.input_tokens and not usage.output_tokens:
        money = "**Cost:** no model was asked"
    else:
        price = "price unknown" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
        tokens = f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
        money = f"**Cost:** {tokens}, {price}"
    if attempt.ended_at is None:
        return money
    seconds = (attempt.ended_at - attempt.started_at).total_seconds()
    return f"{money} · **Time:** {seconds:.0f} s"


def _details(run: Run, attempt: Attempt) -> list[str]:
    parts: list[str] = []
    plan = next((one for one in run.plans if one.id == attempt.plan), None)
    delta = next((one for one in run.deltas if one.new == attempt.plan), None)
    if plan is not None and (plan.text or delta is not None):
        goals = "\n".join(f"- {quote(goal)}" for goal in plan.goals)
        text = f"\n\n{fence(plan.text[:PLAN_CHARACTERS])}" if plan.text else ""
        why = f"Planned anew because of {quote(delta.triggered_by)}.\n\n" if delta else ""
        parts += _fold("The plan", f"{why}{goals}{text}")
    posted = attempt.result is Result.PATCH_POSTED
    if attempt.diff and not (posted and len(attempt.diff) > DIFF_CHARACTERS):
        shown = attempt.diff[:DIFF_CHARACTERS]
        rest = "in the commit" if attempt.commit else f"shown by `regreen runs diff {run.id}`"
        cut = "" if shown == attempt.diff else f"\n(cut: the rest is {rest})"
        parts += _fold("The change", fence(shown, "diff") + cut)
    if posted:
        parts += _fold("Apply it", _apply_command(attempt.diff), opened=True)
    if attempt.verification is not None and attempt.verification.results:
        proof = "\n\n".join(_proof(result) for result in attempt.verification.results)
        parts += _fold("Proof", f"{proof}\n\nArtifact: `{attempt.verification.artifact}`")
    if attempt.summary:
        parts += _fold("What the backend says", fence(attempt.summary[:PROOF_CHARACTERS]))
    if attempt.notices:
        parts += _fold(
            "Which backend, and why", "\n".join(f"- {quote(n)}" for n in attempt.notices)
        )
    ask = "`/regreen stop` stops me, `/regreen retry` tries again, `/regreen help` tells the rest."
    return [*parts, "", f"<sub>{ask}</sub>"]


def _apply_command(diff: str) -> str:
    """Return a shell command that applies *diff*; its quoting word does not occur in the diff.

    Half a diff would be worse than none, so one that does not fit into a comment is not shown.
    """
    if len(diff) > APPLY_CHARACTERS:
        return (
            "The change is too long for a comment. Push this branch to a repository that Regreen "
            "may write to, or split the pull request, and ask again."
        )
    word = "REGREEN"
    while word in diff:
        word += "_"
    return fence(f"git apply --index <<'{word}'\n{diff.rstrip()}\n{word}", "sh")


def _proof(result: CommandResult) -> str:
    verdict = "passed" if result.passed else "timed out" if result.timed_out else "failed"
    tail = result.output[-PROOF_CHARACTERS:]
    head = (
        f"{command_name(result)} {verdict} in {result.seconds:.1f} s (exit code {result.exit_code})"
    )
    shown = fence(f"$ {result.command}\n{tail}")
    return f"{head}\n\n{shown}"


def command_name(result: CommandResult) -> str:
    """Show a command by its first telling line."""
    lines = [
        line
        for line in result.command.splitlines()
        if not line.startswith(("cd ", "set ", "export "))
    ]
    return name(lines[0] if lines else result.name)


def _fold(title: str, body: str, *, opened: bool = False) -> list[str]:
    mode = " open" if opened else ""
    return ["", f"<details{mode}><summary>{title}</summary>", "", body, "", "</details>"]


def notice_comment(run: Run, headline: str, lines: Sequence[str]) -> str:
    """Return the one comment of a run that tells of re-runs, waiting and questions."""
    parts = [f"### Regreen: {headline}", notice_marker(run.id), "", *lines, ""]
    ask = "`/regreen fix` has me try, `/regreen stop` ends this, `/regreen help` tells the rest."
    return "\n".join([*parts, f"<sub>{ask} Run `{run.id}`.</sub>"]) + "\n"


def notice_marker(run: RunId) -> str:
    """Return the hidden mark of a run's notice; it does not count as an attempt."""
    return f"<!-- regreen notice run={run} -->"


def evidence_of(steps: Sequence[FailingStep]) -> tuple[tuple[str, str], ...]:
    """Return for each failing check one sentence with kind, sureness and message."""
    return tuple(
        (
            step.check.name,
            f"{step.signal.type.value} ({step.signal.confidence:.0%} sure): {step.signal.message}",
        )
        for step in steps
    )


def card(
    run: Run,
    head: Sha,
    title: str,
    lines: Sequence[str],
    conclusion: Conclusion | None,
    steps: Sequence[FailingStep] = (),
) -> Card:
    """Return our check run for *head*, with the failures as annotations."""
    shown = [f"**{name(s.check.name)}**\n\n{fence(_evidence(s))}" for s in steps[:5]]
    return Card(
        pull=run.pull,
        head=head,
        title=quote(title, 200),
        summary="\n\n".join([*lines, *shown, f"Run `{run.id}`"]),
        conclusion=conclusion,
        annotations=tuple(_annotations(steps)),
        buttons=_buttons(run) if conclusion is not None else (),
    )


def _buttons(run: Run) -> tuple[str, ...]:
    """Return the commands that the check run offers; GitHub shows three at most."""
    return ("approve", "reject", "stop") if run.gate else ("fix", "rerun", "stop")


def _evidence(step: FailingStep) -> str:
    lines = "\n".join(f"{line.line}: {line.text}" for line in step.signal.evidence)
    return lines[:EVIDENCE_CHARACTERS] or step.signal.message


def _annotations(steps: Sequence[FailingStep]) -> list[Annotation]:
    return [
        Annotation(
            path=location.path,
            line=max(location.line, 1),
            message=redact(_printable(location.message or step.signal.message))[:2000],
            level="warning",
        )
        for step in steps
        for location in step.signal.locations
    ]


def commit_message(run: Run, attempt: Attempt) -> str:
    """Return the commit's message: what was mended, why, and the trailers that name the run."""
    what = ", ".join(attempt.failing)
    subject = f"Fix {what}"
    if len(subject) > 72:  # noqa: PLR2004 -- git's customary width of a subject
        subject = subject[:71] + "…"
    told = (redact(_printable(text)) for _, text in attempt.evidence[:5])
    why = "\n".join(" ".join(text.split()) for text in told)
    trailers = f"Regreen-Run: {run.id}\nRegreen-Attempt: {attempt.number}"
    gate = _gate(run, attempt)
    if gate is not None and gate.state is GateState.APPROVED:
        trailers += f"\nRegreen-Approved-By: {gate.by}"
    return f"{_inert(subject)}\n\n{_inert(why)}\n\n{trailers}\n"


def rollback_message(run: Run, reason: str) -> str:
    """Return the message of the commit that undoes our own."""
    why = _inert(redact(_printable(reason)).replace("`", ""))
    return f"Undo what made it worse\n\n{why}\n\nRegreen-Run: {run.id}\n"


def _inert(text: str) -> str:
    """Keep a commit message from mentioning people, closing issues or switching CI off.

    https://docs.github.com/en/actions/how-tos/manage-workflow-runs/skip-workflow-runs
    """
    text = re.sub(r"@(?=\w)", "(at)", text)
    text = re.sub(r"https?://", "", text)  # a link to an issue closes it, too
    text = re.sub(r"#(?=\d)|\bGH-(?=\d)", "no. ", text, flags=re.IGNORECASE)
    skips = r"\[([^\[\]]*\b(?:ci|skip|actions)\b[^\[\]]*)\]"
    text = re.sub(skips, r"(\1)", text, flags=re.IGNORECASE)
    return re.sub(r"\bskip-checks\b", "skip checks", text, flags=re.IGNORECASE)


def total(usages: Sequence[Usage]) -> Usage:
    """Add up what several calls cost; one unknown price makes the sum unknown."""
    priced = [usage for usage in usages if usage.input_tokens or usage.output_tokens]
    known = all(usage.cost_usd is not None for usage in priced)
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cost_usd=sum(usage.cost_usd or 0.0 for usage in priced) if priced and known else None,
        seconds=sum(usage.seconds for usage in usages),
    )
