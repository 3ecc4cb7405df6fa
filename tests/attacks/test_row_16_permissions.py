"""Row 16: a model, or whoever steals a token, approves or merges what it made itself.

Control: the fewest permissions. The manifest asks for what `CALLS` has a call for, and for nothing
else; the simulated GitHub refuses each of those calls when its permission is missing or weaker. No
token that works on a repository may merge, write files or change workflows.
"""

from pathlib import Path

import pytest
import yaml

from bot.github.auth import EVENTS, FETCH, LIST, PUSH, WORK, required_permissions
from tests.support.simulated import REPO, simulated_github, the_app

MANIFEST = yaml.safe_load((Path(__file__).parents[2] / "app-manifest.yml").read_text())
LEAST = {
    "actions": "write",
    "checks": "write",
    "contents": "write",
    "issues": "read",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "read",
}
github = simulated_github()


def test_the_manifest_asks_for_the_fewest():
    assert MANIFEST["default_permissions"] == required_permissions() == LEAST


def test_only_the_token_for_a_push_may_write_contents():
    assert [grant["contents"] for grant in (WORK, FETCH, PUSH)] == ["read", "read", "write"]
    assert set(PUSH) == {"contents", "metadata"}
    assert set(LIST) == {"metadata"}


HEAD = "0" * 40
COMMENT = {"body": "hello"}
# What each permission is for: a call of ours that is refused without it.
CALLS = {
    "actions": ("POST", "/actions/runs/1/rerun-failed-jobs", {}, "read"),
    "checks": ("POST", "/check-runs", {"name": "regreen", "head_sha": HEAD}, "read"),
    "contents": ("GET", "/contents/README.md", None, None),
    "metadata": ("GET", "/collaborators/owner/permission", None, None),
    "pull_requests": ("POST", "/issues/1/comments", COMMENT, "read"),
    "statuses": ("GET", "/commits/main/status", None, None),
}


def asked(github, permissions, verb, path, body) -> int:
    with the_app(github, permissions=permissions) as app:
        return app.request(verb, f"/repos/{REPO}{path}", json=body).status_code


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"metadata"}))
def test_each_permission_is_needed(github, name):
    verb, path, body, weaker = CALLS[name]
    assert asked(github, WORK, verb, path, body) not in {401, 403}
    less = {one: level for one, level in WORK.items() if one != name}
    assert asked(github, less, verb, path, body) == 403
    if weaker:
        assert asked(github, {**less, name: weaker}, verb, path, body) == 403


def test_every_permission_has_its_reason():
    """`issues` is for the event alone: who may write pull requests may comment on them."""
    assert set(LEAST) == {*CALLS, "issues"}
    assert "issue_comment" in EVENTS


FORBIDDEN = [
    ("PUT", "/pulls/1/merge", {}),
    ("GET", "/actions/permissions", None),
    ("POST", f"/statuses/{HEAD}", {"state": "success"}),
]


@pytest.mark.parametrize(("verb", "path", "body"), FORBIDDEN)
def test_what_would_let_it_approve_itself_is_refused(github, verb, path, body):
    assert asked(github, WORK, verb, path, body) == 403


def test_with_more_permissions_it_would_not_be(github):
    """Merging needs no more than the push's own permission: the working token has it not."""
    assert asked(github, {**WORK, "contents": "write"}, "PUT", "/pulls/1/merge", {}) != 403
