"""The comments of pull requests.

Whose comment it is, GitHub says by number: `performed_via_github_app` names the App through which
it was written, and its author is a Bot (a person who writes through our App is not us). Logins say
nothing: anyone may take one that looks like ours.

A POST whose answer got lost may have been carried out. So a comment is looked for before it is
posted a second time: newest first, the same body, by our own App. The caller makes bodies unique by
a hidden marker.
"""

from collections.abc import Sequence

from bot.domain.values import Comment, PullRef
from bot.github import wire
from bot.github.client import Client
from bot.github.limits import fit_comment
from bot.github.transport import attempts


class GitHubComments:
    """The port `Comments`."""

    def __init__(self, client: Client, app_id: int) -> None:
        self._client = client
        self._app_id = app_id

    def all(self, pull: PullRef) -> Sequence[Comment]:
        """Return every comment over all pages, oldest first."""
        path = f"/issues/{pull.number}/comments"
        return [self._comment(c) for c in self._client.pages(pull.repo, path, wire.Comment)]

    def read(self, pull: PullRef, comment: int) -> Comment:
        """Return one comment as it reads now."""
        path = f"/issues/comments/{comment}"
        return self._comment(self._client.get(pull.repo, path, wire.Comment))

    def post(self, pull: PullRef, body: str) -> int:
        """Write a comment and return its id; after a lost answer, look before writing again."""
        text = fit_comment(body)
        for attempt in attempts():
            with attempt:
                if attempt.retry_state.attempt_number > 1 and (found := self._find(pull, text)):
                    return found
                return self._create(pull, text)
        raise AssertionError("tenacity re-raises the last failure")

    def edit(self, pull: PullRef, comment: int, body: str) -> None:
        """Replace the body of a comment."""
        change = {"body": fit_comment(body)}
        path = f"/issues/comments/{comment}"
        attempts()(self._client.send, "PATCH", pull.repo, path, body=change)

    def react(self, pull: PullRef, comment: int, reaction: str) -> None:
        """Add a reaction; a second one of the same kind changes nothing."""
        path = f"/issues/comments/{comment}/reactions"
        attempts()(self._client.send, "POST", pull.repo, path, body={"content": reaction})

    def _create(self, pull: PullRef, text: str) -> int:
        path = f"/issues/{pull.number}/comments"
        created = self._client.send("POST", pull.repo, path, body={"body": text})
        return created.read(wire.Comment).id

    def _find(self, pull: PullRef, text: str) -> int | None:
        newest_first = reversed(self.all(pull))
        return next((c.id for c in newest_first if c.mine and _same(c.body, text)), None)

    def _comment(self, comment: wire.Comment) -> Comment:
        author = comment.user or wire.User("ghost", 0)
        via = comment.performed_via_github_app
        return Comment(
            id=comment.id,
            body=comment.body or "",
            author=author.login,
            author_id=author.id,
            mine=via is not None and via.id == self._app_id and author.type == "Bot",
            created_at=comment.created_at,
        )


def _same(theirs: str, ours: str) -> bool:
    """Compare bodies as GitHub keeps them: line ends and outer blanks do not count."""
    return theirs.replace("\r\n", "\n").strip() == ours.replace("\r\n", "\n").strip()
