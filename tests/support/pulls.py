"""Pull requests, runs and comments for tests; a test names only what it is about."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from bot.domain.runs import Run, RunState
from bot.domain.values import Comment, Pull, PullRef, RunId, Sha

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REF = PullRef("octo/app", 7)
HEAD = Sha("a" * 40)
OTHER = Sha("b" * 40)

_PULL = Pull(
    ref=REF,
    title="Add a thing",
    open=True,
    draft=False,
    head=HEAD,
    head_branch="thing",
    head_repo="octo/app",
    base=Sha("0" * 40),
    base_branch="main",
    author="ada",
    author_id=1,
)
_RUN = Run(
    id=RunId("r1"),
    pull=REF,
    state=RunState.WORKING,
    head=HEAD,
    generation=1,
    started_at=NOW,
    updated_at=NOW,
)
_COMMENT = Comment(id=1, body="", author="regreen[bot]", author_id=99, mine=True, created_at=NOW)


def a_pull(**changes: Any) -> Pull:
    return msgspec.structs.replace(_PULL, **changes)


def a_run(**changes: Any) -> Run:
    return msgspec.structs.replace(_RUN, **changes)


def a_comment(body: str, **changes: Any) -> Comment:
    return msgspec.structs.replace(_COMMENT, body=body, **changes)
