"""Why a run did what it did: its choices with what they went by, its plans, its gates, its end.

The same story is told twice: as plain text for a terminal, and as a comment. What comes from
outside (a log, a model, a name) passes through the style's `words`, `code` or `block`, and nothing
else may show it. A comment holds 65,536 characters; the oldest choices are left out first, then the
oldest plans and gates, and the comment says so. A plan's own text has a comment of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from bot.domain.leaks import redact
from bot.domain.runs import Attempt, Choice, Gate, GateState, Judged, Plan, PlanDelta, Result, Run
from bot.repair.messages import fence, name, quote

COMMENT_CHARACTERS = 50_000  # room for what stands around it
PLAN_CHARACTERS = 30_000  # of a plan's text in its comment
MANY = 12  # lines of one kind in a comment; the command line shows them all


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Style:
    """How text is shown: on one line and at most so long, as a name, as a block of lines.

    `many` is how many lines of one kind are shown, 0 for all.
    """

    words: Callable[[str, int], str]
    code: Callable[[str], str]
    block: Callable[[str], str]
    many: int


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, lines below it, and a block that is shown as it is."""

    title: str
    lines: tuple[str, ...]
    block: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """What there is to tell of a run, each part oldest first."""

    head: Section
    choices: tuple[Section, ...]
    plans: tuple[Section, ...]
    gates: tuple[Section, ...]
    end: Section

    @property
    def sections(self) -> tuple[Section, ...]:
        """All of it, in the order of telling."""
        return (self.head, *self.choices, *self.plans, *self.gates, self.end)


def _plain(text: str, _limit: int = 0) -> str:
    """Return *text* on one line, without secrets and without what a terminal would obey."""
    return redact(" ".join(_visible(text).split()))


def _plain_block(text: str) -> str:
    return "\n".join(f"    {_visible(line)}".rstrip() for line in redact(text).splitlines())


def _visible(text: str) -> str:
    return "".join(char for char in text if char.isprintable() or char.isspace())


TEXT = Style(_plain, _plain, _plain_block, many=0)
MARKDOWN = Style(quote, lambda text: name(redact(text)), lambda _: "", many=MANY)


def explain_text(run: Run) -> str:
    """Return the whole story for a terminal."""
    told = []
    for section in explain(run, TEXT).sections:
        told += [section.title, *(f"  {line}" for line in section.lines)]
        told += [section.block] if section.block else []
        told.append("")
    return "\n".join(told)


def explain_markdown(run: Run) -> str:
    """Return the story as a comment that fits; the oldest parts are left out where it would not."""
    story = explain(run, MARKDOWN)
    room = COMMENT_CHARACTERS - _size(story.head) - _size(story.end)
    gates, room = _newest(story.gates, room)
    plans, room = _newest(story.plans, room)
    choices, room = _newest(story.choices, room)
    kept = replace(story, choices=choices, plans=plans, gates=gates)
    if missing := len(story.sections) - len(kept.sections):
        note = f"left out, as too long for a comment: the oldest {_counted(missing, 'part')}; "
        note += f"`regreen explain {run.id}` on the server prints all"
        kept = replace(kept, head=replace(story.head, lines=(*story.head.lines, note)))
    return _comment(_markdown(section) for section in kept.sections)


def plan_markdown(run: Run) -> str:
    """Return the newest plan of a run and how it came to be, as a comment."""
    if not run.plans:
        return f"Run {name(run.id)} has no plan yet: it makes one when it begins to mend something."
    plan = run.plans[-1]
    parts = [_markdown(_plan(plan, (), MARKDOWN))]
    if plan.text:
        text = redact(plan.text)
        cut = f"\n(cut: `regreen explain {run.id}` on the server prints all)"
        parts.append(fence(text[:PLAN_CHARACTERS]) + (cut if len(text) > PLAN_CHARACTERS else ""))
    if run.deltas:
        lines = _few(run.deltas[::-1], lambda delta: _delta(delta, MARKDOWN), MARKDOWN)
        parts.append(_markdown(Section("How the plan changed, newest first", tuple(lines))))
    return _comment(parts)


def explain(run: Run, style: Style) -> Story:
    """Return what there is to tell of *run*, shown in *style*."""
    changes = {delta.new: delta for delta in run.deltas}
    return Story(
        head=_head(run, style),
        choices=tuple(_choices(run, style)),
        plans=tuple(
            _plan(plan, [changes[plan.id]] if plan.id in changes else (), style)
            for plan in run.plans
        ),
        gates=tuple(_gate(gate, style) for gate in run.gates),
        end=_end(run, style),
    )


def _head(run: Run, style: Style) -> Section:
    lines = [
        f"begun {_time(run.started_at)}, looked at commit {style.code(run.head[:12])}",
        f"{_counted(len(run.choices), 'choice')}, {_counted(len(run.attempts), 'attempt')}",
    ]
    if run.asked_by:
        lines.append(f"asked for by {style.words(run.asked_by, 100)}")
    if run.upstream:
        names = ", ".join(_few(run.upstream, style.code, style))
        lines.append(f"failed in the same way on the base branch: {names}")
    return Section(f"Run {style.code(run.id)} of {style.code(str(run.pull))}", tuple(lines))


def _choices(run: Run, style: Style) -> list[Section]:
    """Tell each choice, and each attempt that none tells of: older versions kept no choices."""
    led = [(choice, _attempt(run, choice)) for choice in run.choices]
    told = [(choice.at, _choice(choice, attempt, style)) for choice, attempt in led]
    known = [attempt for _, attempt in led]
    told += [
        (attempt.started_at, _lone(attempt, style))
        for attempt in run.attempts
        if attempt not in known
    ]
    return [section for _, section in sorted(told, key=lambda one: one[0])]


def _attempt(run: Run, choice: Choice) -> Attempt | None:
    """Return the attempt that the choice led to; after a reset a number may come again."""
    same = [one for one in run.attempts if one.number == choice.attempt]
    return min(same, key=lambda one: abs(one.started_at - choice.at), default=None)


def _choice(choice: Choice, attempt: Attempt | None, style: Style) -> Section:
    lines = [f"because: {style.words(choice.reason, 600)}"]
    lines += _few(choice.judged, lambda one: f"failing: {_judged(one, style)}", style)
    if choice.inputs:
        lines.append(f"went by: {'; '.join(_few(choice.inputs, partial(_pair, style), style))}")
    if choice.backoff_s is not None:
        lines.append(f"waited: {choice.backoff_s:g} s")
    if attempt is not None:
        lines += _outcome(attempt, style)
    else:
        lines.append(f"came of it: {_result(choice.result)}")
    title = f"{choice.number}. {choice.strategy.replace('_', ' ')}"
    return Section(f"{title} on {style.code(choice.head[:12])}, {_time(choice.at)}", tuple(lines))


def _lone(attempt: Attempt, style: Style) -> Section:
    seen = attempt.evidence or tuple((check, "its log was not kept") for check in attempt.failing)
    lines = _few(seen, lambda one: f"failing: {_named(one, style)}", style)
    where = f"on {style.code(attempt.head[:12])}, {_time(attempt.started_at)}"
    title = f"Attempt {attempt.number} {where}, of which no choice is recorded"
    return Section(title, (*lines, *_outcome(attempt, style)))


def _judged(one: Judged, style: Style) -> str:
    key = f" (fingerprint {style.code(one.fingerprint[:12])})" if one.fingerprint else ""
    sure = f"{one.type.value}, {one.confidence:.0%} sure"
    return f"{style.code(one.check)}: {sure}: {style.words(one.message, 300)}{key}"


def _pair(style: Style, one: tuple[str, str]) -> str:
    return f"{style.words(one[0], 100)}: {style.words(one[1], 100)}"


def _named(one: tuple[str, str], style: Style) -> str:
    return f"{style.code(one[0])}: {style.words(one[1], 300)}"


def _outcome(attempt: Attempt, style: Style) -> list[str]:
    """Tell what came of an attempt: who did it, whether it was proved, how it ended."""
    lines = _few(attempt.chosen, lambda one: f"chose: {style.words(one, 600)}", style)
    lines += _few(attempt.tried, lambda one: f"passed over: {_named(one, style)}", style)
    if attempt.verification is not None:
        proof = attempt.verification
        reason = f": {style.words(proof.reason, 300)}" if proof.reason else ""
        lines.append("proof: passed" if proof.approved else f"proof: rejected{reason}")
    if attempt.worse:
        names = ", ".join(_few(attempt.worse, style.code, style))
        lines.append(f"made worse: {names}")
    by = f" by {style.code(attempt.backend)}" if attempt.backend else ""
    model = f" ({style.words(attempt.model, 100)})" if attempt.model else ""
    commit = f" as {style.code(attempt.commit[:12])}" if attempt.commit else ""
    green = ", CI is green" if attempt.green else ""
    ended = f"attempt {attempt.number}{by}{model}: {_result(attempt.result)}{commit}{green}"
    reason = f": {style.words(attempt.reason, 600)}" if attempt.reason else ""
    return [*lines, f"came of it: {ended}{reason}"]


def _plan(plan: Plan, changes: Sequence[PlanDelta], style: Style) -> Section:
    lines = _few(plan.goals, lambda goal: f"goal: {style.words(goal, 400)}", style)
    if plan.by:
        lines.append(f"written by {', '.join(_few(plan.by, style.code, style))}")
    lines += [_delta(delta, style) for delta in changes]
    title = f"Plan {style.code(plan.id)}, {_time(plan.at)}"
    return Section(title, tuple(lines), style.block(plan.text) if plan.text else "")


def _delta(delta: PlanDelta, style: Style) -> str:
    parts = [("added", goal) for goal in delta.added]
    parts += [("removed", goal) for goal in delta.removed]
    shown = _few(parts, lambda one: f"{one[0]}: {style.words(one[1], 400)}", style)
    what = "; ".join(shown) or "the same goals"
    return f"changed at {_time(delta.at)} by {style.code(delta.triggered_by)}: {what}"


def _gate(gate: Gate, style: Style) -> Section:
    lines = [
        f"because: {style.words(gate.reason, 600)}",
        f"bound to commit {style.code(gate.head[:12])}; an answer takes {gate.role} permission",
    ]
    if gate.asked_by:
        lines.append(f"{style.words(gate.asked_by, 100)} asked for the try and may not approve it")
    if gate.reminders:
        lines.append(f"reminded {_counted(gate.reminders, 'time')}")
    lines += _word(gate, style)
    kinds = ", ".join(style.code(kind) for kind in gate.types)
    return Section(f"Gate {style.code(gate.id)} ({kinds}), {_time(gate.asked_at)}", tuple(lines))


def _word(gate: Gate, style: Style) -> list[str]:
    if gate.state is GateState.PENDING:
        yes, no = style.code(f"/regreen approve {gate.head[:12]}"), style.code("/regreen reject")
        return [f"waits for a person until {_time(gate.expires_at)}", f"answers: {yes} or {no}"]
    by = f" by {style.words(gate.by, 100)}" if gate.by else ""
    at = f", {_time(gate.at)}" if gate.at else ""
    note = f": {style.words(gate.note, 300)}" if gate.note else ""
    return [f"{gate.state}{by}{at}{note}"]


def _end(run: Run, style: Style) -> Section:
    state = run.state.replace("_", " ")
    title = f"The end: {state}" if run.ended else f"Now: {state}"
    lines = [f"because: {style.words(run.reason, 600)}"] if run.reason else []
    lines.append(f"since {_time(run.updated_at)}")
    if run.wake_at is not None and not run.ended:
        lines.append(f"looks again at {_time(run.wake_at)}")
    return Section(title, tuple(lines))


def _result(result: Result) -> str:
    return "not known yet" if result is Result.WORKING else result.replace("_", " ")


def _few(items: Sequence[Item], show: Callable[[Item], str], style: Style) -> list[str]:
    """Return as many of *items* as the style shows, and how many more there are."""
    if not style.many or len(items) <= style.many:
        return [show(item) for item in items]
    more = f"and {len(items) - style.many} more"
    return [*(show(item) for item in items[: style.many]), more]


def _newest(sections: Sequence[Section], room: int) -> tuple[tuple[Section, ...], int]:
    """Return the newest sections that fit into *room* characters, and the room that is left."""
    kept: list[Section] = []
    for section in reversed(sections):
        if _size(section) > room:
            break
        kept.insert(0, section)
        room -= _size(section)
    return tuple(kept), room


def _size(section: Section) -> int:
    return len(_markdown(section)) + 2


def _markdown(section: Section) -> str:
    lines = "\n".join(f"- {line}" for line in section.lines)
    return "\n\n".join(part for part in (f"#### {section.title}", lines, section.block) if part)


def _comment(parts: Iterable[str]) -> str:
    """Return the comment that *parts* make, without a hidden mark: it has none of its own.

    By those we find our own comments again, in blocks of code as well.
    """
    return "\n\n".join(parts).replace("<!--", "<!\u200b--") + "\n"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
