"""REST operations about pull requests, their comments, labels and reactions."""

from typing import Any

from bot.simulator import pulls, shapes_pulls
from bot.simulator.auth import Need
from bot.simulator.problems import Problem, invalid, not_found
from bot.simulator.rest import Call, Operation, Reply, listed
from bot.simulator.state import Comment, Pull, Repo

_READ = Need(("pull_requests",))
_WRITE = Need(("pull_requests",), "write", person="write")
_TALK = ("issues", "pull_requests")
_READ_TALK = Need(_TALK)
_JOIN_TALK = Need(_TALK, "write", person="read")
_MANAGE_TALK = Need(_TALK, "write", person="write")


def _pull(call: Call) -> Pull:
    return pulls.find(call.hub, call.repo, call.params["number"])


def list_pulls(call: Call) -> Any:
    """List pull requests by state, head and base, newest first."""
    state, head, base = (call.query.get(name, "") for name in ("state", "head", "base"))
    rows = [
        pull
        for pull in call.hub.state.pulls
        if pull.repo is call.repo
        and (state == "all" or pull.open == (state != "closed"))
        and head in {"", f"{_owner(pull)}:{pull.head_branch}", pull.head_branch}
        and base in {"", pull.base_branch}
    ]
    key = {"updated": "updated_at"}.get(call.query.get("sort", ""), "number")
    rows.sort(key=lambda pull: getattr(pull, key), reverse=call.query.get("direction") != "asc")
    return listed(call, rows, lambda pull: shapes_pulls.simple_pull(call.shapes, pull))


def _owner(pull: Pull) -> str:
    return pull.head_repo.owner.login if pull.head_repo else ""


def create_pull(call: Call) -> Any:
    """Open a pull request; the head may be `branch` or `owner:branch` of a fork."""
    title, head = call.text("title", "PullRequest"), call.text("head", "PullRequest")
    owner, _, branch = head.rpartition(":")
    pull = pulls.open_pull(
        call.hub,
        call.repo,
        call.actor,
        title=title,
        body=call.body.get("body"),
        head_repo=_head_repo(call, owner),
        head_branch=branch,
        base_branch=call.text("base", "PullRequest"),
        draft=bool(call.body.get("draft")),
    )
    shape = shapes_pulls.pull(call.shapes, pull)
    return Reply(201, shape, {"Location": shape["url"]})


def _head_repo(call: Call, owner: str) -> Repo:
    if owner in {"", call.repo.owner.login}:
        return call.repo
    for repo in call.hub.state.repos.values():
        if repo.parent is call.repo and repo.owner.login == owner:
            return repo
    raise invalid("PullRequest", "head", "head is invalid", "invalid")


def get_pull(call: Call) -> Any:
    """Answer one pull request, or its diff when the media type asks for that."""
    pull = _pull(call)
    if "diff" in call.accept:
        git = pull.repo.git
        base = git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
        text = git.diff(base, pull.head_sha)
        return Reply(200, text, media_type="application/vnd.github.diff")
    return shapes_pulls.pull(call.shapes, pull)


def update_pull(call: Call) -> Any:
    """Change the title or body; close or reopen."""
    pull, by = _pull(call), call.actor
    changes = {}
    for name in ("title", "body"):
        if name in call.body and call.body[name] != getattr(pull, name):
            changes[name] = {"from": getattr(pull, name) or ""}
            setattr(pull, name, call.body[name])
    if changes:
        pulls.tell(call.hub, pull, "edited", by, changes=changes)
    match call.body.get("state"):
        case "closed":
            pulls.close(call.hub, pull, by)
        case "open":
            pulls.reopen(call.hub, pull, by)
        case None:
            pass
        case other:
            raise invalid("PullRequest", "state", f"{other} is not a state", "invalid")
    return shapes_pulls.pull(call.shapes, pull)


def merge_pull(call: Call) -> Any:
    """Merge a pull request."""
    pull = _pull(call)
    if call.body.get("sha") not in {None, pull.head_sha}:
        raise Problem(409, "Head branch was modified. Review and try the merge again.")
    method = str(call.body.get("merge_method") or "merge")
    sha = pulls.merge(call.hub, pull, call.actor, method, call.body.get("commit_message"))
    return {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}


def list_files(call: Call) -> Any:
    """List the files of a pull request."""
    pull = _pull(call)
    rows = shapes_pulls.changes(pull)
    return listed(call, rows, lambda row: call.shapes.change(pull.repo, pull.head_sha, row))


def list_commits(call: Call) -> Any:
    """List the commits of a pull request, oldest first."""
    pull = _pull(call)
    rows = pull.repo.git.between(pull.base_sha, pull.head_sha)
    return listed(call, rows, lambda row: call.shapes.commit(pull.repo, row))


def list_reviews(call: Call) -> Any:
    """List the reviews of a pull request: there are none here."""
    _pull(call)
    return listed(call, [], lambda row: row)


def get_issue(call: Call) -> Any:
    """Answer the issue behind a pull request."""
    return shapes_pulls.issue(call.shapes, _pull(call))


def list_comments(call: Call) -> Any:
    """List a pull request's comments, oldest first."""
    rows = call.hub.state.comments_of(call.repo, _pull(call).number)
    return listed(call, rows, lambda row: _shape(call, row))


def _shape(call: Call, comment: Comment) -> dict[str, Any]:
    return shapes_pulls.comment(call.shapes, call.hub.app, comment)


def create_comment(call: Call) -> Any:
    """Post a comment."""
    body = call.body.get("body")
    comment = pulls.add_comment(call.hub, _pull(call), call.actor, body, by_app=call.by_app)
    shape = _shape(call, comment)
    return Reply(201, shape, {"Location": shape["url"]})


def _comment(call: Call) -> Comment:
    found = call.hub.state.comments.get(call.params["comment_id"])
    if found is None or found.repo is not call.repo:
        raise not_found()
    return found


def get_comment(call: Call) -> Any:
    """Answer one comment."""
    return _shape(call, _comment(call))


def update_comment(call: Call) -> Any:
    """Change a comment's text: one's own, or any with write access."""
    comment = _comment(call)
    _may_change(call, comment)
    pulls.edit_comment(call.hub, comment, call.actor, call.body.get("body"))
    return _shape(call, comment)


def delete_comment(call: Call) -> Any:
    """Delete a comment: one's own, or any with write access."""
    comment = _comment(call)
    _may_change(call, comment)
    pulls.delete_comment(call.hub, comment, call.actor)
    return Reply(204)


def _may_change(call: Call, comment: Comment) -> None:
    writer = call.hub.state.permission(call.repo, call.actor) in {"write", "admin"}
    if not call.by_app and not writer and comment.user is not call.actor:
        raise Problem(403, "Must have write access to the repository.")


def create_reaction(call: Call) -> Any:
    """React to a comment; the same reaction twice is answered with 200 and the first one."""
    content = call.body.get("content")
    reaction, new = pulls.react(call.hub, _comment(call), call.actor, content)
    return Reply(201 if new else 200, shapes_pulls.reaction(call.shapes, reaction))


def list_reactions(call: Call) -> Any:
    """List the reactions to a comment."""
    rows = _comment(call).reactions
    return listed(call, rows, lambda row: shapes_pulls.reaction(call.shapes, row))


def add_labels(call: Call) -> Any:
    """Put labels on a pull request."""
    given = call.body.get("labels") or []
    names = [each["name"] if isinstance(each, dict) else str(each) for each in given]
    pull = _pull(call)
    pulls.add_labels(call.hub, pull, names, call.actor)
    return _labels(call, pull)


def remove_label(call: Call) -> Any:
    """Take a label off a pull request."""
    pull = _pull(call)
    pulls.remove_label(call.hub, pull, call.params["name"], call.actor)
    return _labels(call, pull)


def list_labels(call: Call) -> Any:
    """List the labels of a pull request."""
    return _labels(call, _pull(call))


def _labels(call: Call, pull: Pull) -> Any:
    return [shapes_pulls.label(call.shapes, call.repo, each) for each in pull.labels]


_PULLS = "/repos/{owner}/{repo}/pulls"
_PULL = f"{_PULLS}/{{number:int}}"
_ISSUE = "/repos/{owner}/{repo}/issues/{number:int}"
_COMMENT = "/repos/{owner}/{repo}/issues/comments/{comment_id:int}"
OPERATIONS = (
    Operation("GET", _PULLS, list_pulls, _READ),
    Operation("POST", _PULLS, create_pull, Need(("pull_requests",), "write", person="read")),
    Operation("GET", _PULL, get_pull, _READ),
    Operation("PATCH", _PULL, update_pull, _WRITE),
    Operation("PUT", f"{_PULL}/merge", merge_pull, Need(("contents",), "write", person="write")),
    Operation("GET", f"{_PULL}/files", list_files, _READ),
    Operation("GET", f"{_PULL}/commits", list_commits, _READ),
    Operation("GET", f"{_PULL}/reviews", list_reviews, _READ),
    Operation("GET", _ISSUE, get_issue, _READ_TALK),
    Operation("GET", f"{_ISSUE}/comments", list_comments, _READ_TALK),
    Operation("POST", f"{_ISSUE}/comments", create_comment, _JOIN_TALK),
    Operation("GET", f"{_ISSUE}/labels", list_labels, _READ_TALK),
    Operation("POST", f"{_ISSUE}/labels", add_labels, _MANAGE_TALK),
    Operation("DELETE", f"{_ISSUE}/labels/{{name}}", remove_label, _MANAGE_TALK),
    Operation("GET", _COMMENT, get_comment, _READ_TALK),
    Operation("PATCH", _COMMENT, update_comment, _JOIN_TALK),
    Operation("DELETE", _COMMENT, delete_comment, _JOIN_TALK),
    Operation("GET", f"{_COMMENT}/reactions", list_reactions, _READ_TALK),
    Operation("POST", f"{_COMMENT}/reactions", create_reaction, _JOIN_TALK),
)
