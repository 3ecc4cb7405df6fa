"""GitHub's JSON objects for pull requests, issues, comments, labels and reactions."""

from collections import Counter

from bot.simulator.clock import stamp, stamp_or_none
from bot.simulator.repos import Change
from bot.simulator.shapes import Shapes
from bot.simulator.state import App, Comment, Json, Label, Pull, Reaction, Repo, User

_REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")


def association(shapes: Shapes, repo: Repo, user: User) -> str:
    """Return how an account belongs to a repository."""
    if user.login == repo.owner.login:
        return "OWNER"
    member = shapes.state.permission(repo, user) in {"write", "admin"}
    return "COLLABORATOR" if member else "NONE"


def label(shapes: Shapes, repo: Repo, label: Label) -> Json:
    """Build a label."""
    return {
        "id": label.id,
        "node_id": f"LA_{label.id}",
        "url": f"{shapes.repo_url(repo)}/labels/{label.name}",
        "name": label.name,
        "color": "ededed",
        "default": False,
        "description": None,
    }


def simple_pull(shapes: Shapes, pull: Pull) -> Json:
    """Build a pull request as listings show it."""
    base, number = shapes.repo_url(pull.repo), pull.number
    url, issue = f"{base}/pulls/{number}", f"{base}/issues/{number}"
    page = f"{shapes.site}/{pull.repo.full_name}/pull/{number}"
    links = {
        "self": url,
        "html": page,
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{base}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{base}/statuses/{pull.head_sha}",
    }
    return {
        "id": pull.id,
        "node_id": f"PR_{pull.id}",
        "number": number,
        "url": url,
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "issue_url": issue,
        "commits_url": links["commits"],
        "comments_url": links["comments"],
        "review_comments_url": links["review_comments"],
        "review_comment_url": links["review_comment"],
        "statuses_url": links["statuses"],
        "_links": {name: {"href": href} for name, href in links.items()},
        "state": "open" if pull.open else "closed",
        "locked": False,
        "active_lock_reason": None,
        "title": pull.title,
        "body": pull.body,
        "draft": pull.draft,
        "user": shapes.user(pull.user),
        "author_association": association(shapes, pull.repo, pull.user),
        "labels": [label(shapes, pull.repo, each) for each in pull.labels],
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [],
        "requested_teams": [],
        "milestone": None,
        "auto_merge": None,
        "created_at": stamp(pull.created_at),
        "updated_at": stamp(pull.updated_at),
        "closed_at": stamp_or_none(pull.closed_at),
        "merged_at": stamp_or_none(pull.merged_at),
        "merge_commit_sha": pull.merge_commit,
        "base": _end(shapes, pull.repo, pull.base_branch, pull.base_sha),
        "head": _end(shapes, pull.head_repo, pull.head_branch, pull.head_sha),
    }


def _end(shapes: Shapes, repo: Repo | None, branch: str, sha: str) -> Json:
    if repo is None:  # the fork was deleted: GitHub then answers with nulls
        return {"label": None, "ref": branch, "sha": sha, "user": None, "repo": None}
    return {
        "label": f"{repo.owner.login}:{branch}",
        "ref": branch,
        "sha": sha,
        "user": shapes.user(repo.owner),
        "repo": shapes.repo(repo),
    }


def changes(pull: Pull) -> list[Change]:
    """List the files that a pull request changes, against its merge base."""
    git = pull.repo.git
    base = git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    return git.changes(base, pull.head_sha)


def pull(shapes: Shapes, pull: Pull) -> Json:
    """Build one whole pull request."""
    git, files = pull.repo.git, changes(pull)
    mergeable = pull.open and git.merged_tree(pull.base_sha, pull.head_sha) is not None
    return {
        **simple_pull(shapes, pull),
        "merged": pull.merged_at is not None,
        "merged_by": shapes.user_or_none(pull.merged_by),
        "mergeable": mergeable if pull.open else None,
        "rebaseable": False if pull.open else None,
        "mergeable_state": ("clean" if mergeable else "dirty") if pull.open else "unknown",
        "maintainer_can_modify": False,
        "comments": len(shapes.state.comments_of(pull.repo, pull.number)),
        "review_comments": 0,
        "commits": len(git.between(pull.base_sha, pull.head_sha)),
        "additions": sum(change.additions for change in files),
        "deletions": sum(change.deletions for change in files),
        "changed_files": len(files),
    }


def minimal_pull(shapes: Shapes, pull: Pull) -> Json:
    """Build the form that check runs and workflow runs carry."""

    def end(repo: Repo, ref: str, sha: str) -> Json:
        url = shapes.repo_url(repo)
        return {"ref": ref, "sha": sha, "repo": {"id": repo.id, "url": url, "name": repo.name}}

    return {
        "id": pull.id,
        "number": pull.number,
        "url": f"{shapes.repo_url(pull.repo)}/pulls/{pull.number}",
        "head": end(pull.head_repo or pull.repo, pull.head_branch, pull.head_sha),
        "base": end(pull.repo, pull.base_branch, pull.base_sha),
    }


def attached(shapes: Shapes, repo: Repo, sha: str) -> list[Json]:
    """List the open pull requests of a commit; those from forks are never listed, as at GitHub."""
    pulls = shapes.state.pulls_at(repo, sha)
    return [minimal_pull(shapes, pull) for pull in pulls if pull.open and not pull.from_fork]


def issue(shapes: Shapes, pull: Pull) -> Json:
    """Build the issue that every pull request also is."""
    base = shapes.repo_url(pull.repo)
    url, page = f"{base}/issues/{pull.number}", f"{shapes.site}/{pull.repo.full_name}"
    html = f"{page}/pull/{pull.number}"
    return {
        "id": pull.issue_id,
        "node_id": f"I_{pull.issue_id}",
        "number": pull.number,
        "url": url,
        "repository_url": base,
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "timeline_url": f"{url}/timeline",
        "html_url": html,
        "state": "open" if pull.open else "closed",
        "state_reason": None,
        "locked": False,
        "active_lock_reason": None,
        "title": pull.title,
        "body": pull.body,
        "draft": pull.draft,
        "user": shapes.user(pull.user),
        "author_association": association(shapes, pull.repo, pull.user),
        "labels": [label(shapes, pull.repo, each) for each in pull.labels],
        "assignee": None,
        "assignees": [],
        "milestone": None,
        "comments": len(shapes.state.comments_of(pull.repo, pull.number)),
        "created_at": stamp(pull.created_at),
        "updated_at": stamp(pull.updated_at),
        "closed_at": stamp_or_none(pull.closed_at),
        "performed_via_github_app": None,
        "reactions": _rollup(f"{url}/reactions", []),
        "pull_request": {
            "url": f"{base}/pulls/{pull.number}",
            "html_url": html,
            "diff_url": f"{html}.diff",
            "patch_url": f"{html}.patch",
            "merged_at": stamp_or_none(pull.merged_at),
        },
    }


def comment(shapes: Shapes, app: App, comment: Comment) -> Json:
    """Build a comment on a pull request."""
    base = shapes.repo_url(comment.repo)
    url = f"{base}/issues/comments/{comment.id}"
    page = f"{shapes.site}/{comment.repo.full_name}/pull/{comment.number}"
    return {
        "id": comment.id,
        "node_id": f"IC_{comment.id}",
        "url": url,
        "html_url": f"{page}#issuecomment-{comment.id}",
        "issue_url": f"{base}/issues/{comment.number}",
        "user": shapes.user(comment.user),
        "author_association": association(shapes, comment.repo, comment.user),
        "created_at": stamp(comment.created_at),
        "updated_at": stamp(comment.updated_at),
        "body": comment.body,
        "performed_via_github_app": shapes.app(app) if comment.by_app else None,
        "reactions": _rollup(f"{url}/reactions", comment.reactions),
    }


def _rollup(url: str, reactions: list[Reaction]) -> Json:
    counts = Counter(reaction.content for reaction in reactions)
    return {"url": url, "total_count": len(reactions), **{k: counts[k] for k in _REACTIONS}}


def reaction(shapes: Shapes, reaction: Reaction) -> Json:
    """Build a reaction."""
    return {
        "id": reaction.id,
        "node_id": f"REA_{reaction.id}",
        "user": shapes.user(reaction.user),
        "content": reaction.content,
        "created_at": stamp(reaction.created_at),
    }
