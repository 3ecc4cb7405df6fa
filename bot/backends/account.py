"""An agent's account of its run, in one shape for all agents, and what it comes to.

Agents print events, one JSON object per line, between lines of plain text. An exit code of 0 and a
confident text prove nothing: without the agent's own word that it came to a proper end the run
failed, and even then the diff is for the caller to look at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bot.backends import endings, markers, prompt, words
from bot.backends.base import Job
from bot.domain.answers import Answer, Ending
from bot.domain.ports import Finished
from bot.domain.values import Usage

_SHOWN = 300  # characters of an agent's words in a detail
_TOLD = 4_000  # characters kept of its final text; of an answer to a question all
_LONG = 2_000  # a longer line is no complaint
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_LIMITS = frozenset({Ending.RATE_LIMITED, Ending.USAGE_LIMIT})
_MOST_TOKENS = 10**12  # a larger count is nonsense


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent's output says.

    `done`: it came to a proper end. `acted`: it used a tool. `error`: its words for what went
    wrong, also for what it met last before it was killed; `status` the HTTP status that it named, 0
    for none; `ending` what it means where the agent has a word of its own for it.
    """

    done: bool = False
    acted: bool = False
    text: str = ""
    error: str = ""
    status: int = 0
    ending: Ending | None = None
    retry_after_s: float | None = None
    session: str = ""
    usage: Usage = field(default_factory=Usage)


def judged(job: Job, finished: Finished, said: Said, *, heed_plain: bool = True) -> Answer:
    """Return what the run comes to, by how it ended and by what the agent said of it.

    *heed_plain* says that lines which are no events are the agent's own words, not its model's.
    """
    lines = plain(finished.output)
    ending, told, detail = _ending(job, finished, said, lines, lines if heed_plain else ())
    retry_after_s = said.retry_after_s
    if retry_after_s is None and ending in _LIMITS:
        retry_after_s = words.delay_s(told)
    text = prompt.clean(said.text)
    return Answer(
        ending,
        text=text if job.question else text[-_TOLD:],
        detail=detail,
        usage=said.usage,
        retry_after_s=retry_after_s,
        session=said.session if _SESSION.fullmatch(said.session) else "",
    )


def _ending(
    job: Job, finished: Finished, said: Said, lines: Sequence[str], own: Sequence[str]
) -> tuple[Ending, str, str]:
    """Return the ending, the agent's words that tell it, if any, and ours."""
    name = job.config.name
    if finished.stopped:
        return Ending.KILLED, "", f"{name} was stopped"
    spoken = "\n".join((said.error, said.text, *lines))
    if (marker := markers.found(job.config.usage_markers, spoken, finished.output)) is not None:
        return Ending.USAGE_LIMIT, spoken, f"{name} said {marker!r}, a usage marker"
    # Words before the exit code: some agents make one above 128 of a status, as if by a signal.
    if (found := _told(finished, said, own)) is not None:
        return *found, f"{name}: {_one_line(found[1])}"
    if (kept := endings.unfinished(finished, name)) is not None:
        return kept.ending, "", kept.detail
    if not said.done:
        detail = f"{name} ended without a result (exit code {finished.exit_code})"
        shown = endings.shown(prompt.clean("\n".join(lines)))
        return Ending.TOOL_FAILED, "", detail + shown
    if not said.acted and not said.text.strip():
        return Ending.INVALID, "", f"{name} said and did nothing: the model's reply was empty"
    return Ending.EDITED, "", ""


def _told(finished: Finished, said: Said, lines: Sequence[str]) -> tuple[Ending, str] | None:
    """Return the ending that the agent's own words tell, and the words; None when they do not."""
    if said.done:
        return None
    error = said.error or _last_complaint(lines)
    ending = said.ending or words.meaning(error, said.status)
    if ending is None and said.error and not (finished.timed_out or finished.endless):
        ending = Ending.TOOL_FAILED
    return None if ending is None else (ending, error or finished.fault or "it gave no reason")


def _last_complaint(lines: Sequence[str]) -> str:
    """Return the last line that tells of a failure we know, "" when there is none."""
    return next(
        (one for one in reversed(lines) if len(one) < _LONG and words.meaning(one) is not None), ""
    )


def _one_line(text: str) -> str:
    return prompt.clean(" ".join(text.split()))[:_SHOWN]


def events(output: str) -> Iterator[dict[str, Any]]:
    """Yield the events in an output, in order; what is no whole JSON object is passed over."""
    for line in output.splitlines():
        if (event := _decoded(line)) is not None:
            yield event


def plain(output: str) -> tuple[str, ...]:
    """Return the lines of an output that are no events."""
    return tuple(line for line in output.splitlines() if line.strip() and _decoded(line) is None)


def _decoded(line: str) -> dict[str, Any] | None:
    """Return the event on a line, an object with a type; another stream's words may precede it."""
    start = line.find('{"')
    if start < 0:
        return None
    try:
        event = msgspec.json.decode(line[start:].encode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def uses_tool(event: Mapping[str, Any]) -> bool:
    """Tell whether the model's message calls a tool, in the shape of Anthropic's API."""
    content = part(event, "message").get("content")
    return isinstance(content, list) and any(
        isinstance(one, dict) and one.get("type") == "tool_use" for one in content
    )


def part(event: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the object at *keys*, {} when there is none."""
    found: Any = event
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def text(event: Mapping[str, Any], key: str) -> str:
    """Return the text at *key*, "" when there is none."""
    found = event.get(key)
    return found if isinstance(found, str) else ""


def count(event: Mapping[str, Any], *keys: str) -> int:
    """Return the sum of the counts at *keys*; what is no sensible count is 0."""
    found = (event.get(key) for key in keys)
    return sum(one for one in found if type(one) is int and 0 <= one <= _MOST_TOKENS)
