"""Identities and small values; frozen, no behaviour beyond `__str__`."""

from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

Sha = NewType("Sha", str)
RunId = NewType("RunId", str)


class Value(msgspec.Struct, frozen=True):
    """A frozen value that goes to JSON and back unchanged."""


class Variant(msgspec.Struct, frozen=True, tag=True):
    """A frozen member of a closed union; its class name travels as the tag."""


class Secret:
    """Text that must not be shown: its `repr` and `str` are `***`; `reveal` gives it out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class PullRef(Value, frozen=True):
    """A pull request: `repo` is `owner/name`."""

    repo: str
    number: int

    def __str__(self) -> str:
        return f"{self.repo}#{self.number}"


class Comment(Value, frozen=True):
    """A comment on a pull request; `mine` is true when our own App wrote it (by numeric id)."""

    id: int
    body: str
    author: str
    author_id: int
    mine: bool
    created_at: datetime


class CheckState(StrEnum):
    """What a check says, whichever of GitHub's three systems it comes from."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NEUTRAL = "neutral"  # neutral, skipped, stale: neither red nor green


class CheckKind(StrEnum):
    """Where a check comes from, which decides how its log is read."""

    JOB = "job"  # a GitHub Actions job
    CHECK_RUN = "check_run"  # another App's check run
    STATUS = "status"  # a commit status


class Check(Value, frozen=True):
    """One check at one commit: an Actions job, another App's check run or a commit status.

    `id` is the job's or check run's id, 0 for a status. `workflow_run` is 0 outside Actions.
    `workflow_path` names the workflow file, such as `.github/workflows/ci.yml`.
    """

    name: str
    kind: CheckKind
    state: CheckState
    id: int = 0
    workflow_run: int = 0
    workflow_path: str = ""
    failed_steps: tuple[str, ...] = ()
    url: str = ""
    summary: str = ""


class Pull(Value, frozen=True):
    """A pull request as GitHub has it now; `head_repo` is empty when the fork was deleted."""

    ref: PullRef
    title: str
    open: bool
    draft: bool
    head: Sha
    head_branch: str
    head_repo: str
    base: Sha
    base_branch: str
    author: str
    author_id: int

    @property
    def fork(self) -> bool:
        """Whether the head lives in another repository, which we never push to."""
        return self.head_repo != self.ref.repo


class FailureType(StrEnum):
    """The eleven kinds of failure (seed 4)."""

    TRANSIENT = "transient"
    INFRA = "infra"
    TEST_ASSERT = "test_assert"
    LINT = "lint"
    TYPECHECK = "typecheck"
    SECURITY = "security"
    POLICY = "policy"
    RUNTIME = "runtime"
    SCHEMA_MIGRATION = "schema_migration"
    RATE_LIMIT = "rate_limit"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How bad a failure is (seed 4)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Location(Value, frozen=True):
    """A place in the repository that a log points at; `line` counts from 1, 0 when unknown."""

    path: str
    line: int = 0
    message: str = ""


class Evidence(Value, frozen=True):
    """A deciding log line and its number in the log, counted from 1."""

    line: int
    text: str


class Signal(Value, frozen=True):
    """A classified failure: what kind, how sure, and the lines that say so.

    `confidence` is a probability; `excerpt` is what a model should read; `fingerprint` is equal for
    the same failure seen again; `retry_after_s` is what the log asked us to wait.
    """

    type: FailureType
    confidence: float
    severity: Severity
    message: str
    evidence: tuple[Evidence, ...] = ()
    tool: str = ""
    rule: str = ""
    locations: tuple[Location, ...] = ()
    can_retry: bool = False
    retry_after_s: float | None = None
    fingerprint: str = ""
    excerpt: str = ""


class FailurePattern(Value, frozen=True):
    """A pattern of the project's own over one line of a log, and the kind that it speaks for."""

    type: FailureType
    pattern: str
    confidence: float = 0.9
    tool: str = ""
    name: str = ""


class Record(Value, frozen=True):
    """How often a failure was seen before, and how often it went away without a change to code."""

    seen: int = 0
    flaked: int = 0
    last_at: datetime | None = None

    @property
    def rate(self) -> float:
        """The share of its failures that were flaky."""
        return self.flaked / self.seen if self.seen else 0.0


class Observation(Value, frozen=True):
    """That a failure of a check turned out to be flaky, or real; `test` tells people which it is.

    `key` is the same when the same thing is observed again.
    """

    key: str
    check: str
    fingerprint: str
    test: str
    flaked: bool


class FailingStep(Value, frozen=True):
    """A failing check with what its log said and how to run the same thing again.

    `run_lines` are the `run:` texts of the job's failing steps, from the base branch's workflow.
    `record` is what is known of this failure from before; `upstream` says that the base branch
    fails in the same way.
    """

    check: Check
    signal: Signal
    run_lines: tuple[str, ...] = ()
    record: Record = Record()
    upstream: bool = False


class Usage(Value, frozen=True):
    """What a backend's call cost; `cost_usd` is None when no price is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0


class Task(Value, frozen=True):
    """What a backend is asked to mend; `feedback` says why the tries before this one failed.

    `plan` is what was planned for it. With `again` the tree holds a change that did not pass, and
    only what the feedback names is to be mended in it (the QA pass).
    """

    pull: PullRef
    title: str
    steps: tuple[FailingStep, ...]
    commands: tuple[str, ...] = ()
    feedback: str = ""
    plan: str = ""
    again: bool = False


class Purpose(StrEnum):
    """What a question to a model is for."""

    PLAN = "plan"
    SYNTHESIS = "synthesis"  # one plan out of several
    ANALYSIS = "analysis"  # does the change do what the plan says?


class Question(Value, frozen=True):
    """What a backend is asked without being asked to change anything.

    `opinions` are the plans that a synthesis makes one of; `diff` is the change to judge.
    """

    purpose: Purpose
    task: Task
    diff: str = ""
    opinions: tuple[str, ...] = ()


class Command(Value, frozen=True):
    """One command of the project, run by the gatekeeper through `sh -c` in the tree's root."""

    name: str
    run: str
    timeout_s: float = 600.0
    allow_fail: bool = False


class Ground(Value, frozen=True):
    """Whose tree is verified: `trusted` says that only people who may write to `repo` wrote it.

    Only such a run leaves a set-up for later ones to start from.
    """

    repo: str = ""
    trusted: bool = False


class Fetched(Value, frozen=True):
    """What a set-up asked of one host: how often, and how many bytes went both ways.

    `refused` is why it got nothing, "" when it did.
    """

    host: str
    port: int
    requests: int = 0
    bytes: int = 0
    refused: str = ""


class CommandResult(Value, frozen=True):
    """How one command of a verification ended; output is capped, head and tail kept.

    `snapshot` names the stored set-up that it was taken from or that was made of it, if any, and
    `fetched` is the fetch proxy's log.
    """

    name: str
    command: str
    exit_code: int
    passed: bool
    allow_fail: bool
    seconds: float
    output: str
    timed_out: bool = False
    snapshot: str = ""
    fetched: tuple[Fetched, ...] = ()


class Verification(Value, frozen=True):
    """The gatekeeper's verdict on one diff, and where its artifact lies in the data folder."""

    approved: bool
    reason: str
    results: tuple[CommandResult, ...] = ()
    diff_fingerprint: str = ""
    artifact: str = ""
    sandbox: str = ""


class Annotation(Value, frozen=True):
    """A note of our check run on a line of a file; `level` is notice, warning or failure."""

    path: str
    line: int
    message: str
    level: str = "failure"


class Conclusion(StrEnum):
    """How our check run may end. Never failure: that would be a second red cross."""

    SUCCESS = "success"
    NEUTRAL = "neutral"
    ACTION_REQUIRED = "action_required"


class Card(Value, frozen=True):
    """Our check run `regreen` at one head; no conclusion means it is still in progress.

    `buttons` are the commands it offers, at most three.
    """

    pull: PullRef
    head: Sha
    title: str
    summary: str
    conclusion: Conclusion | None = None
    annotations: tuple[Annotation, ...] = ()
    buttons: tuple[str, ...] = ()


class Remote(Value, frozen=True):
    """Where git fetches or pushes a repository; `token` opens it for a short while."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Remote({self.url!r}, ***)"
