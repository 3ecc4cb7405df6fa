"""Whether the tests of the changed tree ask less than those of the head did.

The static rules of `weakened.py` read the diff; this compares what the project's runners say that
they would run, before and after, so that it also sees what a diff hides: a hook that deselects, a
setting that ignores a folder, a decorator imported under another name.
"""

from collections.abc import Iterator, Sequence

from bot.domain.values import Counted

_NAMED = 5
_LENGTH = 120


def fewer(before: Sequence[Counted], after: Sequence[Counted]) -> tuple[str, ...]:
    """Return in how far *after* asks less than *before*, a sentence each; none when it does not.

    Tests that are new may do as they like. Where nobody could tell before, nothing is compared.
    """
    now = {one.id: one for one in after}
    lost = [one.id for one in before if one.id not in now]
    kept = [(one, now[one.id]) for one in before if one.id in now]
    skipped = [new.id for old, new in kept if new.skipped and not old.skipped]
    emptied = [new.id for old, new in kept if old.asserts and new.asserts == 0]
    return (
        *_told(lost, "is not collected any more", "are not collected any more"),
        *_told(skipped, "is skipped now", "are skipped now"),
        *_told(emptied, "asserts nothing any more", "assert nothing any more"),
    )


def _told(names: Sequence[str], one: str, many: str) -> Iterator[str]:
    if not names:
        return
    shown = ", ".join(name[:_LENGTH] for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    tests = "test" if len(names) == 1 else "tests"
    yield f"{len(names)} {tests} {one if len(names) == 1 else many}: {shown}{more}"
