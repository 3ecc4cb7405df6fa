"""Deliveries as large and as repetitive as GitHub's: mostly links, each body another.

`pull_request` holds three whole repositories (about 20 KB), `workflow_run` two (about 15 KB).
"""

import json
import random
from collections.abc import Iterator
from typing import Any

API = "https://api.github.com"
REPOSITORY_LINKS = (
    "forks",
    "keys{/key_id}",
    "collaborators{/collaborator}",
    "teams",
    "hooks",
    "issues/events{/number}",
    "events",
    "assignees{/user}",
    "branches{/branch}",
    "tags",
    "git/blobs{/sha}",
    "git/tags{/sha}",
    "git/refs{/sha}",
    "git/trees{/sha}",
    "statuses/{sha}",
    "languages",
    "stargazers",
    "contributors",
    "subscribers",
    "subscription",
    "commits{/sha}",
    "git/commits{/sha}",
    "comments{/number}",
    "issues/comments{/number}",
    "contents/{+path}",
    "compare/{base}...{head}",
    "merges",
    "{archive_format}{/ref}",
    "downloads",
    "issues{/number}",
    "pulls{/number}",
    "milestones{/number}",
    "notifications{?since,all,participating}",
    "labels{/name}",
    "releases{/id}",
    "deployments",
)
ACCOUNT_LINKS = (
    "followers",
    "following{/other_user}",
    "gists{/gist_id}",
    "starred{/owner}{/repo}",
    "subscriptions",
    "orgs",
    "repos",
    "events{/privacy}",
    "received_events",
)
FLAGS = (
    "has_issues",
    "has_projects",
    "has_downloads",
    "has_wiki",
    "has_pages",
    "has_discussions",
    "archived",
    "disabled",
    "allow_forking",
    "is_template",
    "web_commit_signoff_required",
    "private",
    "fork",
)


def deliveries(count: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield *count* events and bodies; the same seed yields the same ones."""
    chance = random.Random(seed)
    for number in range(count):
        kind, body = ("pull_request", _pull_request) if number % 2 else ("workflow_run", _workflow)
        yield kind, json.dumps(body(chance, number)).encode()


def _pull_request(chance: random.Random, number: int) -> dict[str, Any]:
    base, author = _repository(chance), _account(chance)
    url = f"{base['url']}/pulls/{number}"
    names = ("commits", "review_comments", "comments", "statuses", "issue", "self", "html")
    return {
        "action": "synchronize",
        "number": number,
        "pull_request": {
            "url": url,
            "id": chance.getrandbits(31),
            "number": number,
            "state": "open",
            "title": f"Mend the {_word(chance)} of the {_word(chance)}",
            "user": author,
            "body": " ".join(_word(chance) for _ in range(60)),
            "head": {"ref": _word(chance), "sha": _sha(chance), "repo": base, "user": author},
            "base": {"ref": "main", "sha": _sha(chance), "repo": base, "user": base["owner"]},
            "_links": {name: {"href": f"{url}/{name}"} for name in names},
            "draft": False,
            "additions": chance.randrange(999),
        },
        "before": _sha(chance),
        "after": _sha(chance),
        "repository": base,
        "sender": author,
        "installation": {"id": chance.getrandbits(24)},
    }


def _workflow(chance: random.Random, number: int) -> dict[str, Any]:
    repository, actor = _repository(chance), _account(chance)
    url = f"{repository['url']}/actions/runs/{chance.getrandbits(34)}"
    names = ("jobs", "logs", "check-suites", "artifacts", "cancel", "rerun", "workflows")
    return {
        "action": "completed",
        "workflow_run": {
            "id": number,
            "name": "CI",
            "head_sha": _sha(chance),
            "path": ".github/workflows/ci.yml",
            "conclusion": "failure",
            "actor": actor,
            "triggering_actor": actor,
            **{f"{name}_url": f"{url}/{name}" for name in names},
            "head_commit": {"id": _sha(chance), "message": _word(chance)},
            "head_repository": repository,
            "repository": repository,
        },
        "repository": repository,
        "sender": actor,
        "installation": {"id": chance.getrandbits(24)},
    }


def _repository(chance: random.Random) -> dict[str, Any]:
    owner = _account(chance)
    name = f"{owner['login']}/{_word(chance)}"
    url = f"{API}/repos/{name}"
    links = {
        f"{link.split('{')[0].replace('/', '_')}_url": f"{url}/{link}" for link in REPOSITORY_LINKS
    }
    return {
        "id": chance.getrandbits(30),
        "node_id": f"R_{chance.getrandbits(60):x}",
        "full_name": name,
        "owner": owner,
        "url": url,
        **links,
        **dict.fromkeys(FLAGS, False),
        "size": chance.randrange(99999),
        "pushed_at": f"2026-01-{chance.randrange(10, 28)}T10:11:12Z",
        "topics": [_word(chance) for _ in range(4)],
    }


def _account(chance: random.Random) -> dict[str, Any]:
    login = f"{_word(chance)}-{_word(chance)}"
    url = f"{API}/users/{login}"
    links = {f"{link.split('{')[0]}_url": f"{url}/{link}" for link in ACCOUNT_LINKS}
    number = chance.getrandbits(26)
    avatar = f"https://avatars.githubusercontent.com/u/{number}?v=4"
    return {"login": login, "id": number, "avatar_url": avatar, "url": url, **links, "type": "User"}


def _sha(chance: random.Random) -> str:
    return f"{chance.getrandbits(160):040x}"


def _word(chance: random.Random) -> str:
    return "".join(chance.choices("aeioubdfklmnprst", k=chance.randrange(4, 9)))
