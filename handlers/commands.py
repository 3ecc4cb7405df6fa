"""A person gave a command: in a comment, by a button of our check run, or over our own API.

Who may: people with write permission, asked from GitHub (the association in a payload says nothing
about it). A comment must still say what it said when it was written, for anyone who may edit it
could put words into its author's mouth. What each command does stands in one table; who may answer
at a gate is said in `bot/repair/approvals.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from bot.domain.decisions import (
    Acknowledge,
    Decision,
    Ignore,
    Judge,
    Reset,
    Settle,
    Stop,
    Tell,
    Verdict,
)
from bot.domain.events import ButtonPressed, CommandGiven, GateAnswered, RetryAsked
from bot.domain.facts import EventFacts, Need
from bot.domain.runs import Run, RunState
from bot.domain.values import PullRef
from bot.repair import approvals, explain, replies

NEEDS = frozenset({Need.PULL, Need.RUN, Need.PERMISSION, Need.COMMENT})
OTHER_NEEDS = frozenset({Need.PULL, Need.RUN, Need.PERMISSION})
WRITERS = frozenset({"admin", "maintain", "write"})
REFUSED, PUZZLED = "-1", "confused"


@dataclass(frozen=True, slots=True)
class _Command:
    """What a command does, the reaction that says so, and whether it needs an open pull request.

    `approves` is set for those that answer at a gate: yes or no.
    """

    reaction: str
    verdict: Callable[[PullRef, str], Verdict]
    reply: Callable[[EventFacts], str] | None = None
    open: bool = False
    approves: bool | None = None


def _again(pull: PullRef, reason: str) -> Verdict:
    return Settle(pull, reason, now=True, again=True)


def _tell(_: PullRef, reason: str) -> Verdict:
    return Tell(reason)


def _about(tell: Callable[[Run], str]) -> Callable[[EventFacts], str]:
    """Tell of the newest run, or that there is none."""
    return lambda facts: tell(facts.run) if facts.run else replies.status_text(facts.pull, None)


COMMANDS: Mapping[str, _Command] = {
    "help": _Command("+1", _tell, lambda _: replies.help_text()),
    "status": _Command("eyes", _tell, lambda facts: replies.status_text(facts.pull, facts.run)),
    "fix": _Command("rocket", _again, open=True),
    "retry": _Command("rocket", _again, open=True),
    "stop": _Command("+1", Stop),
    "reset": _Command("+1", Reset),
    "approve": _Command("rocket", _tell, open=True, approves=True),
    "reject": _Command("+1", _tell, open=True, approves=False),
    "explain": _Command("eyes", _tell, _about(explain.explain_markdown)),
    "plan": _Command("eyes", _tell, _about(explain.plan_markdown)),
}
BUTTONS: Mapping[str, str] = {  # identifier: the command that it stands for
    "fix": "fix",
    "rerun": "retry",
    "stop": "stop",
    "approve": "approve",
    "reject": "reject",
}


def decide(event: CommandGiven, facts: EventFacts) -> Decision:
    """Do what the command says, or refuse it with a reaction."""
    if facts.comment is None:  # nothing is left to react to
        return Decision(Ignore("the comment was deleted since"))
    if facts.permission not in WRITERS:
        return _refuse(event, REFUSED, f"{event.author} may not give commands here")
    if facts.comment.body != event.body:
        return _refuse(event, PUZZLED, "the comment was edited since")
    word = word_of(event.body)
    command = COMMANDS.get(word)
    if command is None:
        reply = replies.unknown_command(word)
        return _refuse(event, PUZZLED, f"there is no command {word}", reply)
    if command.open and (facts.pull is None or not facts.pull.open):
        return _refuse(event, PUZZLED, "the pull request is closed", replies.closed(word))
    words = event.body.strip().partition("\n")[0].split(maxsplit=2)
    said = words[2].strip() if len(words) > 2 else ""  # noqa: PLR2004 -- /regreen, the command, the rest
    verdict = _verdict(command, event.pull, event.author, word, said, facts)
    if isinstance(verdict, Ignore):
        return _refuse(event, PUZZLED, verdict.reason, replies.no_gate(verdict.reason))
    reply = command.reply(facts) if command.reply else ""
    return Decision(verdict, Acknowledge(event.pull, event.comment, command.reaction, reply))


def decide_button(event: ButtonPressed, facts: EventFacts) -> Decision:
    """Do what the button says for the head that it was shown at; there is no comment to answer."""
    word = BUTTONS.get(event.button)
    if word is None:
        return Decision(Ignore(f"there is no button {event.button}"))
    if facts.permission not in WRITERS:
        return Decision(Ignore(f"{event.author} may not press buttons here"))
    if facts.pull is None or not facts.pull.open:
        return Decision(Ignore("the pull request is closed"))
    if facts.pull.head != event.head:
        return Decision(Ignore("the head has moved since"))
    return Decision(_verdict(COMMANDS[word], event.pull, event.author, word, "", facts))


def decide_answer(event: GateAnswered, facts: EventFacts) -> Decision:
    """Take an answer that came over the API for the gate that it names."""
    gate = facts.run.gate if facts.run is not None else None
    if facts.pull is None or not facts.pull.open:
        return Decision(Ignore("the pull request is closed"))
    if gate is None or gate.id != event.gate:
        return Decision(Ignore(f"the gate {event.gate} does not wait any more"))
    if event.approved and not event.sha:
        return Decision(Ignore("an approval names the commit that it is for"))
    word = "approve" if event.approved else "reject"
    said = event.sha if event.approved else event.reason
    verdict = _verdict(COMMANDS[word], event.pull, event.by, word, said, facts)
    if isinstance(verdict, Judge):
        verdict = msgspec.structs.replace(verdict, reason=event.reason)
    return Decision(verdict)


def decide_retry(event: RetryAsked, facts: EventFacts) -> Decision:
    """Take a request for another try that came over the API."""
    if facts.permission not in WRITERS:
        return Decision(Ignore(f"{event.by} may not give commands here"))
    if facts.pull is None or not facts.pull.open:
        return Decision(Ignore("the pull request is closed"))
    if facts.run is None or facts.run.id != event.run:
        return Decision(Ignore("a newer run has begun since"))
    if facts.run.head != facts.pull.head:
        return Decision(Ignore("the head has moved since"))
    return Decision(_verdict(COMMANDS["retry"], event.pull, event.by, "retry", "", facts))


def _verdict(
    command: _Command, pull: PullRef, by: str, word: str, said: str, facts: EventFacts
) -> Verdict:
    if command.approves is not None:
        return _judge(pull, by, said, facts, approved=command.approves)
    verdict = command.verdict(pull, f"{by} asked: /regreen {word}")
    if not isinstance(verdict, Settle) or facts.pull is None:
        return verdict
    return msgspec.structs.replace(verdict, head=facts.pull.head, by=by)


def _judge(pull: PullRef, by: str, said: str, facts: EventFacts, *, approved: bool) -> Verdict:
    """Answer at the gate, or say why this answer does not count."""
    run, head = facts.run, facts.pull.head if facts.pull else None
    gate = run.gate if run is not None else None
    named = said.split(maxsplit=1)[0] if approved and said else ""
    if run is None or gate is None:
        fork = facts.pull is not None and facts.pull.fork
        if not (approved and fork and run is not None and run.state is RunState.WAITING_PERSON):
            return Ignore("no change waits for an approval")
        if head is None or not approvals.means(named, head):
            return Ignore(f"the head is not {named[:40]}")
        return Settle(pull, f"{by} approved this commit", now=True, again=True, head=head, by=by)
    why = approvals.refusal(
        gate,
        by=by,
        permission=facts.permission,
        head=head,
        now=facts.now,
        named=named,
        approved=approved,
    )
    if why:
        return Ignore(why)
    return Judge(pull, approved, "" if approved else said, gate.head, by, gate.id)


def word_of(body: str) -> str:
    """Return the command of a comment in lower case: the word after `/regreen`, else help."""
    words = body.strip().partition("\n")[0].split()
    return words[1].lower() if len(words) > 1 else "help"


def _refuse(event: CommandGiven, reaction: str, reason: str, reply: str = "") -> Decision:
    return Decision(Ignore(reason), Acknowledge(event.pull, event.comment, reaction, reply))
