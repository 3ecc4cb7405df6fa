"""REST operations about repositories: branches, commits, files, comparisons, people, statuses."""

from typing import Any

from bot.simulator import checks, shapes_checks, shapes_pulls
from bot.simulator.auth import Need
from bot.simulator.clock import now
from bot.simulator.problems import Problem, invalid, not_found
from bot.simulator.repos import Commit
from bot.simulator.rest import Call, Operation, Reply, listed, page
from bot.simulator.state import Status

_METADATA = Need(("metadata",))
_CODE = Need(("contents",))
_PULLS = Need(("pull_requests",))
_STATES = ("error", "failure", "pending", "success")


def get_repo(call: Call) -> Any:
    """Answer the repository."""
    return call.shapes.full_repo(call.repo)


def get_branch(call: Call) -> Any:
    """Answer one branch with its commit."""
    sha = call.repo.git.branch(call.params["branch"])
    if sha is None:
        raise Problem(404, "Branch not found")
    return call.shapes.branch(call.repo, call.params["branch"], call.repo.git.commit(sha))


def list_branches(call: Call) -> Any:
    """List the branches."""
    refs, url = call.repo.git.refs(), call.shapes.repo_url(call.repo)
    heads = [(r.removeprefix("refs/heads/"), s) for r, s in refs.items() if "refs/heads/" in r]

    def build(row: tuple[str, str]) -> dict[str, Any]:
        commit = {"sha": row[1], "url": f"{url}/commits/{row[1]}"}
        return {"name": row[0], "commit": commit, "protected": False}

    return listed(call, heads, build)


def resolve(call: Call, ref: str) -> str:
    """Return the commit that a ref of the address names, or raise GitHub's Problem."""
    sha = call.repo.git.resolve(ref)
    if sha is None:
        raise Problem(422, f"No commit found for SHA: {ref}")
    return sha


def get_commit(call: Call) -> Any:
    """Answer one commit with its files, or its diff or SHA when the media type asks for that."""
    git, sha = call.repo.git, resolve(call, call.params["ref"])
    if "vnd.github.sha" in call.accept or "v3.sha" in call.accept:
        return Reply(200, sha, media_type="application/vnd.github.sha")
    commit = git.commit(sha)
    parent = _parent(commit)
    if "diff" in call.accept:
        return Reply(200, git.diff(parent, sha), media_type="application/vnd.github.diff")
    files = git.changes(parent, sha)
    added, deleted = sum(f.additions for f in files), sum(f.deletions for f in files)
    return {
        **call.shapes.commit(call.repo, commit),
        "stats": {"total": added + deleted, "additions": added, "deletions": deleted},
        "files": [call.shapes.change(call.repo, sha, each) for each in files],
    }


def _parent(commit: Commit) -> str:
    return commit.parents[0] if commit.parents else "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def list_commit_pulls(call: Call) -> Any:
    """List the pull requests that hold a commit."""
    sha, repo = resolve(call, call.params["ref"]), call.repo
    pulls = [
        pull
        for pull in call.hub.state.pulls
        if pull.repo is repo
        and (
            pull.head_sha == sha
            or any(commit.sha == sha for commit in repo.git.between(pull.base_sha, pull.head_sha))
        )
    ]
    return listed(call, pulls, lambda pull: shapes_pulls.simple_pull(call.shapes, pull))


def get_contents(call: Call) -> Any:
    """Answer a file or the entries of a directory."""
    repo, path = call.repo, call.params.get("path", "")
    ref = call.query.get("ref") or repo.default_branch
    sha = repo.git.resolve(ref)
    if sha is None:
        raise Problem(404, f"No commit found for the ref {ref}")
    entry = repo.git.entry(sha, path) if path else None
    if path and entry is None:
        raise not_found()
    if entry is None or entry.kind == "dir":
        entries = repo.git.listing(sha, path)
        return [call.shapes.entry(repo, ref, each) for each in entries]
    data = repo.git.file(sha, entry.path) or b""
    if "raw" in call.accept:
        return Reply(200, data, media_type="application/vnd.github.raw")
    return call.shapes.content(repo, ref, entry, data)


def get_ref(call: Call) -> Any:
    """Answer one git ref, named without `refs/`."""
    ref = f"refs/{call.params['ref']}"
    sha = call.repo.git.refs().get(ref)
    if sha is None:
        raise not_found()
    url = call.shapes.repo_url(call.repo)
    target = {"sha": sha, "type": "commit", "url": f"{url}/git/commits/{sha}"}
    own = f"{url}/git/{ref}"
    return {"ref": ref, "node_id": f"REF_{sha}", "url": own, "object": target}


def compare(call: Call) -> Any:
    """Compare two commits as `base...head`."""
    ends = call.params["basehead"].split("...")
    if len(ends) != 2:  # noqa: PLR2004 - a base and a head
        raise not_found()
    git, shapes, repo = call.repo.git, call.shapes, call.repo
    base, head = (git.resolve(end.rpartition(":")[2]) for end in ends)
    if base is None or head is None:
        raise not_found()
    common = git.merge_base(base, head)
    if common is None:
        raise Problem(404, f"No common ancestor between {ends[0]} and {ends[1]}.")
    if "diff" in call.accept:
        return Reply(200, git.diff(common, head), media_type="application/vnd.github.diff")
    ahead, behind = git.between(base, head), git.between(head, base)
    kinds = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    url, site = shapes.repo_url(repo), f"{shapes.site}/{repo.full_name}/compare"
    shown, headers = page(call, ahead)
    body = {
        "url": f"{url}/compare/{call.params['basehead']}",
        "html_url": f"{site}/{call.params['basehead']}",
        "permalink_url": f"{site}/{base}...{head}",
        "diff_url": f"{site}/{call.params['basehead']}.diff",
        "patch_url": f"{site}/{call.params['basehead']}.patch",
        "base_commit": shapes.commit(repo, git.commit(base)),
        "merge_base_commit": shapes.commit(repo, git.commit(common)),
        "status": kinds.get((bool(ahead), bool(behind)), "diverged"),
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
        "commits": [shapes.commit(repo, commit) for commit in shown],
        "files": [shapes.change(repo, head, each) for each in git.changes(common, head)],
    }
    return Reply(200, body, headers)


def get_permission(call: Call) -> Any:
    """Answer what a person may do; an App's bot is no user for this operation, as at GitHub."""
    login = call.params["username"]
    user = call.hub.state.users.get(login)
    if user is None or user.kind == "Bot":
        raise Problem(404, f"{login} is not a user")
    level = call.hub.state.permission(call.repo, user)
    held = call.repo.people.get(login, level)
    permissions = {
        "admin": level == "admin",
        "maintain": level == "admin",
        "push": level in {"admin", "write"},
        "triage": level in {"admin", "write"},
        "pull": level != "none",
    }
    shape = {**call.shapes.user(user), "permissions": permissions, "role_name": held}
    return {"permission": level, "role_name": held, "user": shape}


def create_status(call: Call) -> Any:
    """Record a commit status."""
    state = call.body.get("state")
    if state not in _STATES:
        raise invalid("Status", "state", f"State must be one of {', '.join(_STATES)}", "invalid")
    sha = resolve(call, call.params["sha"])
    status = Status(
        id=call.hub.state.next_id(),
        repo=call.repo,
        sha=sha,
        context=str(call.body.get("context") or "default"),
        state=state,
        description=call.body.get("description"),
        target_url=call.body.get("target_url"),
        creator=call.actor,
        created_at=now(),
    )
    checks.add_status(call.hub, status)
    shape = shapes_checks.status(call.shapes, status)
    return Reply(201, shape, {"Location": shape["url"]})


def get_combined_status(call: Call) -> Any:
    """Answer the newest status of each context, summed up."""
    sha = resolve(call, call.params["ref"])
    shown, headers = page(call, call.hub.state.latest_statuses(call.repo, sha))
    return Reply(200, shapes_checks.combined_status(call.shapes, call.repo, sha, shown), headers)


def list_statuses(call: Call) -> Any:
    """List every status of a commit, newest first."""
    sha = resolve(call, call.params["ref"])
    rows = [s for s in call.hub.state.statuses if s.repo is call.repo and s.sha == sha]
    return listed(call, rows[::-1], lambda row: shapes_checks.status(call.shapes, row))


_REPO = "/repos/{owner}/{repo}"
_STATUSES = Need(("statuses",))
OPERATIONS = (
    Operation("GET", _REPO, get_repo, _METADATA),
    Operation("GET", f"{_REPO}/branches", list_branches, _CODE),
    Operation("GET", f"{_REPO}/branches/{{branch:path}}", get_branch, _CODE),
    Operation("GET", f"{_REPO}/commits/{{ref:path}}/pulls", list_commit_pulls, _PULLS),
    Operation("GET", f"{_REPO}/commits/{{ref:path}}/status", get_combined_status, _STATUSES),
    Operation("GET", f"{_REPO}/commits/{{ref:path}}/statuses", list_statuses, _STATUSES),
    Operation("GET", f"{_REPO}/contents", get_contents, _CODE),
    Operation("GET", f"{_REPO}/contents/{{path:path}}", get_contents, _CODE),
    Operation("GET", f"{_REPO}/git/ref/{{ref:path}}", get_ref, _CODE),
    Operation("GET", f"{_REPO}/compare/{{basehead:path}}", compare, _CODE),
    Operation("GET", f"{_REPO}/collaborators/{{username}}/permission", get_permission, _METADATA),
    Operation(
        "POST",
        f"{_REPO}/statuses/{{sha}}",
        create_status,
        Need(("statuses",), "write", person="write"),
    ),
)
LAST = (Operation("GET", f"{_REPO}/commits/{{ref:path}}", get_commit, _CODE),)
