"""What happens to branches, pull requests and their comments, and the events that tell of it.

A push arrives here whichever way it came: by git, by a merge, or by a scenario. It moves the
heads of the open pull requests of its branch, closes those whose branch is gone, and starts
the workflows.
"""

from collections.abc import Sequence

from bot.simulator import checks, runs, shapes_pulls
from bot.simulator.clock import now
from bot.simulator.git import RefUpdate
from bot.simulator.hub import Hub
from bot.simulator.problems import Problem, invalid, not_found
from bot.simulator.repos import NO_SHA, Commit
from bot.simulator.state import Comment, Json, Label, Pull, Reaction, Repo, User

COMMENT_LIMIT = 65_536  # characters
REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_HEADS = "refs/heads/"


def find(hub: Hub, repo: Repo, number: int) -> Pull:
    """Return one pull request or raise the 404 Problem."""
    pull = hub.state.pull(repo, number)
    if pull is None:
        raise not_found()
    return pull


def open_pull(  # noqa: PLR0913 - what GitHub's own form asks
    hub: Hub,
    repo: Repo,
    author: User,
    *,
    title: str,
    body: str | None,
    head_repo: Repo,
    head_branch: str,
    base_branch: str,
    draft: bool = False,
) -> Pull:
    """Open a pull request, tell of it and start its workflows."""
    head, base = head_repo.git.branch(head_branch), repo.git.branch(base_branch)
    if base is None:
        raise invalid("PullRequest", "base", "base is invalid", "invalid")
    if head is None:
        raise invalid("PullRequest", "head", "head is invalid", "invalid")
    same = [p for p in hub.state.pulls if p.open and p.repo is repo and p.head_repo is head_repo]
    if any(p.head_branch == head_branch and p.base_branch == base_branch for p in same):
        text = f"A pull request already exists for {head_repo.owner.login}:{head_branch}."
        raise invalid("PullRequest", "head", text)
    state, at = hub.state, now()
    numbers = [pull.number for pull in state.pulls if pull.repo is repo]
    pull = Pull(
        id=state.next_id(),
        issue_id=state.next_id(),
        number=max(numbers, default=0) + 1,
        repo=repo,
        user=author,
        title=title,
        body=body,
        head_repo=head_repo,
        head_branch=head_branch,
        head_sha=head,
        base_branch=base_branch,
        base_sha=base,
        created_at=at,
        updated_at=at,
        draft=draft,
    )
    _bring_head(pull, head_repo)
    if not repo.git.between(base, head):
        text = f"No commits between {base_branch} and {head_branch}"
        raise invalid("PullRequest", "head", text)
    state.pulls.append(pull)
    tell(hub, pull, "opened", author)
    _begin_checks(hub, pull, "opened", author)
    return pull


def _bring_head(pull: Pull, head_repo: Repo) -> None:
    pull.repo.git.take(head_repo.git, pull.head_sha, f"refs/pull/{pull.number}/head")


def _begin_checks(hub: Hub, pull: Pull, action: str, by: User) -> None:
    if not pull.from_fork:  # a push to a fork is none of the App's business
        checks.request_suite(hub, pull.repo, pull.head_sha, pull.head_branch, by)
    runs.for_pull(hub, pull, action, by)


def tell(hub: Hub, pull: Pull, action: str, sender: User, **more: object) -> None:
    """Send a `pull_request` event."""
    shape = shapes_pulls.pull(hub.shapes(), pull)
    body = {"action": action, "number": pull.number, "pull_request": shape, **more}
    hub.emit("pull_request", pull.repo, sender, body)


def close(hub: Hub, pull: Pull, by: User) -> None:
    """Close a pull request without merging it."""
    if pull.open:
        pull.open = False
        pull.closed_at = pull.updated_at = now()
        tell(hub, pull, "closed", by)


def reopen(hub: Hub, pull: Pull, by: User) -> None:
    """Open a closed pull request again, at its branch's head of now."""
    head = pull.head_repo.git.branch(pull.head_branch) if pull.head_repo else None
    if pull.merged_at is not None or pull.head_repo is None or head is None:
        raise invalid("PullRequest", "state", "state cannot be changed.")
    if not pull.open:
        pull.open, pull.closed_at, pull.updated_at = True, None, now()
        pull.head_sha = head
        _bring_head(pull, pull.head_repo)
        tell(hub, pull, "reopened", by)
        _begin_checks(hub, pull, "reopened", by)


def merge(hub: Hub, pull: Pull, by: User, method: str, message: str | None) -> str:
    """Merge a pull request by a merge commit or a squash; return the commit."""
    git, base = pull.repo.git, pull.repo.git.branch(pull.base_branch)
    if not pull.open or base is None:
        raise Problem(405, "Pull Request is not mergeable")
    tree = git.merged_tree(base, pull.head_sha)
    if tree is None:
        raise Problem(405, "Pull Request has merge conflicts")
    if method == "rebase":
        raise Problem(405, "Rebase merges are not allowed on this repository.")
    squash = method == "squash"
    source = f"{pull.repo.owner.login}/{pull.head_branch}"
    usual = f"{pull.title} (#{pull.number})"
    text = usual if squash else f"Merge pull request #{pull.number} from {source}"
    parents = (base,) if squash else (base, pull.head_sha)
    sha = git.seal(tree, parents, message or text, (by.login, by.email))
    git.move(f"{_HEADS}{pull.base_branch}", sha)
    pull.open, pull.merged_by, pull.merge_commit = False, by, sha
    pull.merged_at = pull.closed_at = pull.updated_at = now()
    pushed(hub, pull.repo, [RefUpdate(f"{_HEADS}{pull.base_branch}", base, sha)], by)
    tell(hub, pull, "closed", by)
    return sha


def pushed(hub: Hub, repo: Repo, updates: Sequence[RefUpdate], by: User) -> None:
    """Take note of branches that moved."""
    for update in updates:
        if not update.ref.startswith(_HEADS):
            continue
        branch = update.ref.removeprefix(_HEADS)
        repo.pushed_at = now()
        _tell_push(hub, repo, update, by)
        for pull in [p for p in hub.state.pulls if p.open and p.head_repo is repo]:
            if pull.head_branch == branch:
                _head_moved(hub, pull, update.new, by)
        if update.new != NO_SHA:
            _begin_push_workflows(hub, repo, update, by)


def _head_moved(hub: Hub, pull: Pull, new: str, by: User) -> None:
    if new == NO_SHA:
        close(hub, pull, by)
    elif new != pull.head_sha and pull.head_repo is not None:
        before, pull.head_sha, pull.updated_at = pull.head_sha, new, now()
        pull.base_sha = pull.repo.git.branch(pull.base_branch) or pull.base_sha
        _bring_head(pull, pull.head_repo)
        tell(hub, pull, "synchronize", by, before=before, after=new)
        _begin_checks(hub, pull, "synchronize", by)


def _begin_push_workflows(hub: Hub, repo: Repo, update: RefUpdate, by: User) -> None:
    git, branch = repo.git, update.ref.removeprefix(_HEADS)
    known = update.old != NO_SHA
    begun = runs.Start(
        repo=repo,
        sha=update.new,
        branch=branch,
        event="push",
        action="",
        actor=by,
        title=git.commit(update.new).message.split("\n", 1)[0],
        head_repo=repo,
        target=branch,
        paths=tuple(c.path for c in git.changes(update.old, update.new)) if known else (),
    )
    runs.start(hub, begun)


def _tell_push(hub: Hub, repo: Repo, update: RefUpdate, by: User) -> None:
    git, site = repo.git, f"{hub.url}/{repo.full_name}"
    created, deleted = update.old == NO_SHA, update.new == NO_SHA
    fork_point = git.branch(repo.default_branch) if created else update.old
    commits = [] if deleted else git.between(fork_point or update.new, update.new)[-20:]
    forced = not created and not deleted and git.merge_base(update.old, update.new) != update.old
    head = None if deleted else _push_commit(hub, repo, git.commit(update.new))
    body = {
        "ref": update.ref,
        "before": update.old,
        "after": update.new,
        "created": created,
        "deleted": deleted,
        "forced": forced,
        "base_ref": None,
        "compare": f"{site}/compare/{update.old[:12]}...{update.new[:12]}",
        "commits": [_push_commit(hub, repo, commit) for commit in commits],
        "head_commit": head,
        "pusher": {"name": by.login, "email": by.email},
    }
    hub.emit("push", repo, by, body)


def _push_commit(hub: Hub, repo: Repo, commit: Commit) -> Json:
    shape = hub.shapes().simple_commit(commit)
    parent = commit.parents[0] if commit.parents else None
    found = repo.git.changes(parent, commit.sha) if parent else []
    paths: dict[str, list[str]] = {"added": [], "removed": [], "modified": []}
    for change in found:
        paths.get(change.status, paths["modified"]).append(change.path)
    url = f"{hub.url}/{repo.full_name}/commit/{commit.sha}"
    return {**shape, **paths, "url": url, "distinct": True}


def add_comment(hub: Hub, pull: Pull, by: User, body: object, *, by_app: bool) -> Comment:
    """Post a comment and tell of it."""
    text, at = comment_text(body), now()
    number = hub.state.next_id()
    comment = Comment(number, pull.repo, pull.number, by, text, by_app, at, at)
    hub.state.comments[number] = comment
    tell_comment(hub, comment, "created", by)
    return comment


def edit_comment(hub: Hub, comment: Comment, by: User, body: object) -> None:
    """Change a comment's text and tell of it."""
    before, comment.body = comment.body, comment_text(body)
    comment.updated_at = now()
    tell_comment(hub, comment, "edited", by, changes={"body": {"from": before}})


def delete_comment(hub: Hub, comment: Comment, by: User) -> None:
    """Delete a comment and tell of it."""
    del hub.state.comments[comment.id]
    tell_comment(hub, comment, "deleted", by)


def comment_text(body: object) -> str:
    """Return a comment's text or raise the 422 Problem."""
    if not isinstance(body, str) or not body.strip():
        raise invalid("IssueComment", "body", "body cannot be blank", "missing_field")
    if len(body) > COMMENT_LIMIT:
        text = f"body is too long (maximum is {COMMENT_LIMIT} characters)"
        raise invalid("IssueComment", "body", text)
    return body


def tell_comment(hub: Hub, comment: Comment, action: str, by: User, **more: Json) -> None:
    """Send an `issue_comment` event."""
    pull = find(hub, comment.repo, comment.number)
    shapes = hub.shapes()
    shape = shapes_pulls.comment(shapes, hub.app, comment)
    body = {"action": action, "issue": shapes_pulls.issue(shapes, pull), "comment": shape, **more}
    hub.emit("issue_comment", comment.repo, by, body)


def react(hub: Hub, comment: Comment, by: User, content: object) -> tuple[Reaction, bool]:
    """Add a reaction; False when the same person had already given it."""
    if content not in REACTIONS:
        raise invalid("Reaction", "content", f"{content} is not a reaction", "invalid")
    for each in comment.reactions:
        if each.user is by and each.content == content:
            return each, False
    reaction = Reaction(hub.state.next_id(), by, str(content), now())
    comment.reactions.append(reaction)
    return reaction, True


def add_labels(hub: Hub, pull: Pull, names: Sequence[str], by: User) -> None:
    """Put labels on a pull request, each told of on its own."""
    for name in names:
        key = (pull.repo.id, name)
        label = hub.state.labels.setdefault(key, Label(hub.state.next_id(), name))
        if label not in pull.labels:
            pull.labels.append(label)
            shape = shapes_pulls.label(hub.shapes(), pull.repo, label)
            tell(hub, pull, "labeled", by, label=shape)


def remove_label(hub: Hub, pull: Pull, name: str, by: User) -> None:
    """Take a label off a pull request."""
    label = next((each for each in pull.labels if each.name == name), None)
    if label is None:
        raise Problem(404, "Label does not exist")
    pull.labels.remove(label)
    shape = shapes_pulls.label(hub.shapes(), pull.repo, label)
    tell(hub, pull, "unlabeled", by, label=shape)
