"""The attempt count, kept where people can see and change it: in the pull request's comments.

Each attempt has one comment of ours, and in it one hidden marker,
`<!-- regreen attempt=3 trigger=pr-123-<sha12> run=<id> -->`. The count is the largest number among
the markers of our own comments, so deleting or editing those comments lowers it. A trigger names
the pull request, its head and which try on that head it is; the same trigger never counts twice.
Green or a reset retires the markers: they stay to be read, and count no more.

Logins listed as trusted (auto-coder's, say) count as well, by our marker or by auto-coder's line
`Auto-Coder Attempt: 3 | …`, older `Auto-Coder Attempt: <time> | …`. Nobody else's comment counts.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from bot.domain.values import Comment, RunId, Sha, Value

_HEAD_DIGITS = 12
_MARKER = re.compile(
    r"<!-- regreen (?P<retired>retired )?attempt=(?P<number>[1-9][0-9]{0,5})"
    r" trigger=(?P<trigger>pr-[1-9][0-9]*-[0-9a-f]{12}(?:\.[1-9][0-9]*)?)"
    r" run=(?P<run>[^\s<>]+) -->[ \t]*\r?$"
)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ASIDE = re.compile(r"(?: {4}|\t| {0,3}>)")  # an indented block of code, or a quotation
_NUMBERED = re.compile(r"Auto-Coder Attempt: ([1-9][0-9]{0,5})(?: \|.*)?")
_DATED = re.compile(r"Auto-Coder Attempt: [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.+Z-]+(?: \|.*)?")


class Marker(Value, frozen=True):
    """The hidden marker of one attempt."""

    number: int
    trigger: str
    run: RunId


def marker(number: int, trigger: str, run: RunId) -> str:
    """Return the marker to write, on a line of its own above anything that others have said."""
    return f"<!-- regreen attempt={number} trigger={trigger} run={run} -->"


def trigger(number: int, head: Sha, nth: int) -> str:
    """Return what the *nth* attempt on this head of pull request *number* answers."""
    name = _stem(number, head)
    return name if nth == 1 else f"{name}.{nth}"


def read(body: str) -> Marker | None:
    """Return the live marker of a comment: its first marker, unless that one is retired.

    Markers in quotations and blocks of code are somebody's words, not ours.
    """
    found = _first(body)
    if found is None or found[1]["retired"]:
        return None
    return _marker(found[1])


def retired(body: str) -> str:
    """Return the comment with its live marker taken out of the count."""
    found = _first(body)
    if found is None or found[1]["retired"]:
        return body
    at = found[0] + found[1].start("number") - len("attempt=")
    return f"{body[:at]}retired {body[at:]}"


def count(comments: Sequence[Comment], trusted: Collection[str] = ()) -> int:
    """Return the attempts so far: the largest number that counts.

    Where nothing is numbered, it is how many of auto-coder's older, dated comments there are.
    """
    logins = {login.casefold() for login in trusted}
    numbers, dated = [0], 0
    for comment in comments:
        believed = comment.author.casefold() in logins
        if (comment.mine or believed) and (found := read(comment.body)) is not None:
            numbers.append(found.number)
        if believed:
            line = comment.body.partition("\n")[0].rstrip()
            if (numbered := _NUMBERED.fullmatch(line)) is not None:
                numbers.append(int(numbered[1]))
            dated += _DATED.fullmatch(line) is not None
    return max(numbers) or dated


def live(comments: Sequence[Comment]) -> tuple[Comment, ...]:
    """Return our own comments whose markers still count: the ones that a reset retires."""
    return tuple(one for one in comments if one.mine and read(one.body) is not None)


def tries_on(comments: Sequence[Comment], number: int, head: Sha) -> int:
    """Return how many attempts were begun on this head, as the triggers of our comments say.

    Retired ones included, and by the highest, so that the next trigger was never used before.
    """
    stem = _stem(number, head)
    triggers = [found.trigger for one in comments if one.mine and (found := _any(one))]
    tries = [one.removeprefix(stem) for one in triggers if one.partition(".")[0] == stem]
    return max((int(nth.lstrip(".") or 1) for nth in tries), default=0)


def _stem(number: int, head: Sha) -> str:
    return f"pr-{number}-{head[:_HEAD_DIGITS]}"


def _any(comment: Comment) -> Marker | None:
    found = _first(comment.body)
    return None if found is None else _marker(found[1])


def _marker(found: re.Match[str]) -> Marker:
    return Marker(int(found["number"]), found["trigger"], RunId(found["run"]))


def _first(body: str) -> tuple[int, re.Match[str]] | None:
    """Return the first marker and the offset of its line."""
    return next(
        ((at, found) for at, line in _spoken(body) if (found := _MARKER.search(line))), None
    )


def _spoken(body: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are neither quoted nor code, with their offsets.

    As in CommonMark, a fence is closed only by one of its own kind and at least its length.
    """
    offset, fence = 0, ""
    for line in body.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif mark:
            fence = mark[1]
        elif not _ASIDE.match(line):
            yield offset, line
        offset += len(line) + 1
