"""Pull requests, as GitHub has them now. A deleted fork leaves its head without a repository."""

from collections.abc import Sequence

from bot.domain.values import Pull, PullRef, Sha
from bot.github import wire
from bot.github.client import Client


class GitHubPulls:
    """The port `Pulls`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, ref: PullRef) -> Pull:
        """Return the pull request as it is now."""
        return _pull(ref.repo, self._client.get(ref.repo, f"/pulls/{ref.number}", wire.Pull))

    def open(self, repo: str) -> Sequence[Pull]:
        """Return all open pull requests, oldest first."""
        found = self._client.pages(repo, "/pulls", wire.Pull, state="open", direction="asc")
        return [_pull(repo, pull) for pull in found]


def _pull(repo: str, pull: wire.Pull) -> Pull:
    return Pull(
        ref=PullRef(repo, pull.number),
        title=pull.title,
        open=pull.state == "open",  # merged ones are closed, too
        draft=pull.draft,
        head=Sha(pull.head.sha),
        head_branch=pull.head.ref,
        head_repo=pull.head.repo.full_name if pull.head.repo else "",
        base=Sha(pull.base.sha),
        base_branch=pull.base.ref,
        author=pull.user.login if pull.user else "ghost",
        author_id=pull.user.id if pull.user else 0,
    )
