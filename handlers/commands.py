"""A person gave a command, in a comment or by a button of our check run.

Who may: people with write permission, asked from the API (the association in the payload says
nothing about it). A comment must still say what it said when it was written, for anyone who may
edit it could put words into its author's mouth. What each command does stands in one table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from bot.domain.decisions import Acknowledge, Decision, Ignore, Reset, Settle, Stop, Tell, Verdict
from bot.domain.events import ButtonPressed, CommandGiven
from bot.domain.facts import EventFacts, Need
from bot.domain.values import PullRef
from bot.repair import replies

NEEDS = frozenset({Need.PULL, Need.RUN, Need.PERMISSION, Need.COMMENT})
BUTTON_NEEDS = frozenset({Need.PULL, Need.PERMISSION})
WRITERS = frozenset({"admin", "maintain", "write"})
REFUSED, PUZZLED = "-1", "confused"


@dataclass(frozen=True, slots=True)
class _Command:
    """What a command does, the reaction that says so, and whether it needs an open pull request."""

    reaction: str
    verdict: Callable[[PullRef, str], Verdict]
    reply: Callable[[EventFacts], str] | None = None
    open: bool = False


def _again(pull: PullRef, reason: str) -> Verdict:
    return Settle(pull, reason, now=True, again=True)


def _tell(_: PullRef, reason: str) -> Verdict:
    return Tell(reason)


COMMANDS: Mapping[str, _Command] = {
    "help": _Command("+1", _tell, lambda _: replies.help_text()),
    "status": _Command("eyes", _tell, lambda facts: replies.status_text(facts.pull, facts.run)),
    "fix": _Command("rocket", _again, open=True),
    "retry": _Command("rocket", _again, open=True),
    "stop": _Command("+1", Stop),
    "reset": _Command("+1", Reset),
}
BUTTONS: Mapping[str, Callable[[PullRef, str], Verdict]] = {
    "fix": _again,
    "rerun": _again,
    "stop": Stop,
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
    verdict = _seen(command.verdict(event.pull, f"{event.author} asked: /regreen {word}"), facts)
    reply = command.reply(facts) if command.reply else ""
    return Decision(verdict, Acknowledge(event.pull, event.comment, command.reaction, reply))


def decide_button(event: ButtonPressed, facts: EventFacts) -> Decision:
    """Do what the button says for the head that it was shown at; there is no comment to answer."""
    act = BUTTONS.get(event.button)
    if act is None:
        return Decision(Ignore(f"there is no button {event.button}"))
    if facts.permission not in WRITERS:
        return Decision(Ignore(f"{event.author} may not press buttons here"))
    if facts.pull is None or not facts.pull.open:
        return Decision(Ignore("the pull request is closed"))
    if facts.pull.head != event.head:
        return Decision(Ignore("the head has moved since"))
    return Decision(_seen(act(event.pull, f"{event.author} pressed {event.button}"), facts))


def _seen(verdict: Verdict, facts: EventFacts) -> Verdict:
    """Bind what a person asks for to the head that it was asked at."""
    if not isinstance(verdict, Settle) or facts.pull is None:
        return verdict
    return msgspec.structs.replace(verdict, head=facts.pull.head)


def word_of(body: str) -> str:
    """Return the command of a comment in lower case: the word after `/regreen`, else help."""
    words = body.strip().partition("\n")[0].split()
    return words[1].lower() if len(words) > 1 else "help"


def _refuse(event: CommandGiven, reaction: str, reason: str, reply: str = "") -> Decision:
    return Decision(Ignore(reason), Acknowledge(event.pull, event.comment, reaction, reply))
