"""The outermost shape of each event's payload: enough to refuse what cannot be that event.

The event's name stands in a header that no signature covers. So each name has keys that its body
must have; a body sent under another name lacks them. Everything else in the body is skipped, but
its syntax is checked on the way.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from bot.domain.errors import Broken

Action = Annotated[str, msgspec.Meta(pattern="^[a-z_]{1,64}$")]


class Part(msgspec.Struct, frozen=True):
    """An object whose content is not looked at."""


class Envelope(msgspec.Struct, frozen=True):
    """Any event; `action` is empty where the event has none."""

    action: Action | msgspec.UnsetType = msgspec.UNSET


class Ping(Envelope, frozen=True, kw_only=True):
    """GitHub says hello to a new webhook."""

    zen: str
    hook_id: int


class PullRequest(Envelope, frozen=True, kw_only=True):
    """A pull request changed."""

    action: Action
    number: int
    pull_request: Part
    repository: Part


class CheckRun(Envelope, frozen=True, kw_only=True):
    """A check run changed, or its button was pressed."""

    action: Action
    check_run: Part
    repository: Part


class CheckSuite(Envelope, frozen=True, kw_only=True):
    """A check suite changed."""

    action: Action
    check_suite: Part
    repository: Part


class WorkflowRun(Envelope, frozen=True, kw_only=True):
    """A run of a workflow changed."""

    action: Action
    workflow_run: Part
    repository: Part


class Status(Envelope, frozen=True, kw_only=True):
    """A commit got a status."""

    sha: str
    state: str
    context: str
    repository: Part


class IssueComment(Envelope, frozen=True, kw_only=True):
    """An issue or a pull request got a comment."""

    action: Action
    issue: Part
    comment: Part
    repository: Part


class Installation(Envelope, frozen=True, kw_only=True):
    """The App was installed, removed or suspended.

    The two absent keys tell it from `installation_repositories`, which has all of its others.
    """

    action: Action
    installation: Part
    repositories_added: None = None
    repositories_removed: None = None


class InstallationRepositories(Envelope, frozen=True, kw_only=True):
    """The App was given repositories, or some were taken away."""

    action: Action
    installation: Part
    repositories_added: tuple[Part, ...]
    repositories_removed: tuple[Part, ...]


ENVELOPES: Mapping[str, type[Envelope]] = {
    "ping": Ping,
    "pull_request": PullRequest,
    "check_run": CheckRun,
    "check_suite": CheckSuite,
    "workflow_run": WorkflowRun,
    "status": Status,
    "issue_comment": IssueComment,
    "installation": Installation,
    "installation_repositories": InstallationRepositories,
}
DECODERS = {name: msgspec.json.Decoder(shape) for name, shape in ENVELOPES.items()}


def action(event: str, body: bytes) -> str:
    """Return the action that *body* names; raise `Broken` when it cannot be such an event."""
    try:
        if not body.isascii():
            body.decode()  # JSON is UTF-8; what the decoder skips it does not check for that
        envelope = DECODERS[event].decode(body)
    except RecursionError as error:
        raise Broken("the JSON is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Broken(str(error)) from error
    return "" if isinstance(envelope.action, msgspec.UnsetType) else envelope.action
