"""GitHub's payloads become events, are unused for a reason, or are refused by field."""

import json
import os
from pathlib import Path

import hypothesis
import jsonschema_rs
import pytest
from hypothesis import strategies as st

from bot.domain.errors import Broken
from bot.domain.events import (
    ButtonPressed,
    Change,
    ChecksChanged,
    CommandGiven,
    GateAnswered,
    InstallationChanged,
    Pinged,
    PullChanged,
    RetryAsked,
    Unused,
)
from bot.domain.values import PullRef, Sha
from handlers import payloads

SHA = Sha("c" * 40)
APP = 4711
PULL = PullRef("octo/app", 7)
REPO = {"id": 10, "full_name": "octo/app"}
ADA = {"login": "ada", "id": 1, "type": "User"}
BOT = {"login": "renovate[bot]", "id": 2, "type": "Bot"}


def attached(number=7, repo=10):
    return {"number": number, "base": {"repo": {"id": repo}, "ref": "main"}}


ATTACHED = attached()


def check_run(action="completed", *, app=15368, pulls=(ATTACHED,), **changes):
    run = {
        "id": 5,
        "name": "lint",
        "head_sha": SHA,
        "conclusion": "failure",
        "app": {"id": app},
        "pull_requests": list(pulls),
        **changes,
    }
    return {"action": action, "check_run": run, "repository": REPO, "sender": ADA}


def check_suite(action="completed", *, app=15368, **changes):
    suite = {"head_sha": SHA, "conclusion": "success", "app": {"id": app}, "pull_requests": []}
    suite |= changes
    return {"action": action, "check_suite": suite, "repository": REPO, "sender": ADA}


def workflow_run(action="completed", **changes):
    run = {"head_sha": SHA, "name": "CI", "conclusion": "failure", "pull_requests": [attached()]}
    return {"action": action, "workflow_run": run | changes, "repository": REPO, "sender": ADA}


def pull_request(action, **changes):
    pull = {"head": {"sha": SHA, "repo": None, "user": None, "label": None}, **changes}
    return {"action": action, "number": 7, "pull_request": pull, "repository": REPO, "sender": ADA}


def comment(body, action="created", *, user=ADA, sender=ADA, issue=None, app=None):
    return {
        "action": action,
        "issue": {"number": 7, "pull_request": {"url": "x"}} if issue is None else issue,
        "comment": {"id": 33, "body": body, "user": user, "performed_via_github_app": app},
        "repository": REPO,
        "sender": sender,
    }


def parse(event, payload, **known):
    return payloads.parse(event, json.dumps(payload).encode(), **({"app_id": APP} | known))


def given(body):
    return CommandGiven(PULL, 33, "ada", 1, body)


@pytest.mark.parametrize(
    ("event", "payload", "expected"),
    [
        pytest.param("ping", {"zen": "Keep it simple."}, Pinged("Keep it simple."), id="ping"),
        pytest.param(
            "check_run",
            check_run(),
            ChecksChanged("octo/app", SHA, "lint", red=True, pull=PULL),
            id="check run failed",
        ),
        pytest.param(
            "check_run",
            check_run(conclusion="success", pulls=[]),
            ChecksChanged("octo/app", SHA, "lint", red=False),
            id="check run of a fork passed",
        ),
        pytest.param(
            "check_run",
            check_run(conclusion="timed_out", pulls=[attached(3, repo=99)]),
            ChecksChanged("octo/app", SHA, "lint", red=True),
            id="check run of a pull request into another repository",
        ),
        pytest.param(
            "check_run",
            check_run(pulls=[attached(3, repo=99), attached(7), None]),
            ChecksChanged("octo/app", SHA, "lint", red=True, pull=PULL),
            id="check run of two pull requests, one of them ours",
        ),
        pytest.param(
            "check_run",
            check_run(pulls=[attached(7), attached(8)]),
            ChecksChanged("octo/app", SHA, "lint", red=True),
            id="check run of two pull requests that share a head",
        ),
        pytest.param(
            "check_run",
            check_run("rerequested", app=APP),
            ButtonPressed(PULL, SHA, "rerun", "ada", 1),
            id="our check run asked to run again",
        ),
        pytest.param(
            "check_run",
            check_run("requested_action", app=APP) | {"requested_action": {"identifier": "fix"}},
            ButtonPressed(PULL, SHA, "fix", "ada", 1),
            id="button",
        ),
        pytest.param(
            "check_run",
            check_run("rerequested", app=APP, pulls=[], external_id="octo/app#7"),
            ButtonPressed(PULL, SHA, "rerun", "ada", 1),
            id="button on a fork's pull request",
        ),
        pytest.param(
            "check_suite",
            check_suite(),
            ChecksChanged("octo/app", SHA, "check suite", red=False),
            id="suite completed",
        ),
        pytest.param(
            "check_suite",
            check_suite(head_branch="regreen/verify/7-2"),
            ChecksChanged("octo/app", SHA, "check suite", red=False, pull=PULL),
            id="suite of a change that is tried",
        ),
        pytest.param(
            "check_run",
            check_run(pulls=[], check_suite={"id": 3, "head_branch": "regreen/verify/7-2"}),
            ChecksChanged("octo/app", SHA, "lint", red=True, pull=PULL),
            id="check run of a change that is tried",
        ),
        pytest.param(
            "workflow_run",
            workflow_run(head_branch="regreen/verify/0-2", pull_requests=[]),
            ChecksChanged("octo/app", SHA, "CI", red=True),
            id="a branch that is called almost so",
        ),
        pytest.param(
            "check_suite",
            check_suite("rerequested", app=APP, pull_requests=[attached()]),
            ButtonPressed(PULL, SHA, "rerun", "ada", 1),
            id="our suite asked to run again",
        ),
        pytest.param(
            "workflow_run",
            workflow_run(),
            ChecksChanged("octo/app", SHA, "CI", red=True, pull=PULL),
            id="workflow failed",
        ),
        pytest.param(
            "workflow_run",
            workflow_run(conclusion="cancelled", name=None, path=".github/workflows/ci.yml"),
            ChecksChanged("octo/app", SHA, ".github/workflows/ci.yml", red=False, pull=PULL),
            id="nameless workflow cancelled",
        ),
        pytest.param(
            "status",
            {"sha": SHA, "state": "error", "context": "ci/x", "repository": REPO, "branches": []},
            ChecksChanged("octo/app", SHA, "ci/x", red=True),
            id="status error",
        ),
        pytest.param(
            "status",
            {"sha": SHA, "state": "success", "context": "ci/x", "repository": REPO},
            ChecksChanged("octo/app", SHA, "ci/x", red=False),
            id="status success",
        ),
        pytest.param(
            "pull_request",
            pull_request("opened"),
            PullChanged(PULL, SHA, Change.OPENED),
            id="opened, its fork is gone",
        ),
        pytest.param(
            "pull_request",
            pull_request("synchronize"),
            PullChanged(PULL, SHA, Change.PUSHED),
            id="pushed",
        ),
        pytest.param(
            "pull_request",
            pull_request("closed"),
            PullChanged(PULL, SHA, Change.CLOSED),
            id="closed",
        ),
        pytest.param(
            "pull_request",
            pull_request("reopened"),
            PullChanged(PULL, SHA, Change.REOPENED),
            id="reopened",
        ),
        pytest.param(
            "installation",
            {"action": "created", "installation": {"id": 8}, "repositories": [REPO]},
            InstallationChanged(8, "created", ("octo/app",)),
            id="installed",
        ),
        pytest.param(
            "installation",
            {"action": "suspend", "installation": {"id": 8}},
            InstallationChanged(8, "suspend"),
            id="suspended",
        ),
        pytest.param(
            "installation_repositories",
            {
                "action": "removed",
                "installation": {"id": 8},
                "repositories_added": [],
                "repositories_removed": [REPO, {}],
            },
            InstallationChanged(8, "removed", ("octo/app",)),
            id="repository removed",
        ),
    ],
)
def test_payloads_become_events(event, payload, expected):
    assert parse(event, payload) == expected


@pytest.mark.parametrize(
    "body",
    [
        "/regreen fix",
        "/REGREEN Fix please",
        "   /regreen",
        "/regreen\tfix",
        "/regreen fix\r\nthanks",
    ],
)
def test_comments_that_are_commands(body):
    assert parse("issue_comment", comment(body)) == given(body)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(comment("please /regreen fix"), "not a command", id="not at the beginning"),
        pytest.param(comment("Hello\n/regreen fix"), "not a command", id="not the first line"),
        pytest.param(comment("> /regreen fix"), "not a command", id="quoted"),
        pytest.param(comment("    /regreen fix"), "not a command", id="indented code"),
        pytest.param(comment("\t/regreen fix"), "not a command", id="code by a tab"),
        pytest.param(comment("```\n/regreen fix\n```"), "not a command", id="fenced code"),
        pytest.param(comment("`/regreen fix`"), "not a command", id="inline code"),
        pytest.param(comment("/regreenish fix"), "not a command", id="another word"),
        pytest.param(comment(""), "not a command", id="empty"),
        pytest.param(comment(None), "not a command", id="null"),
        pytest.param(comment("/regreen fix", "edited"), "action edited", id="edited"),
        pytest.param(comment("/regreen fix", "deleted"), "action deleted", id="deleted"),
        pytest.param(comment("/regreen fix", issue={"number": 7}), "on an issue", id="issue"),
        pytest.param(comment("/regreen fix", user=None), "author is gone", id="ghost"),
        pytest.param(comment("/regreen fix", user=BOT), "is a bot", id="bot"),
        pytest.param(comment("/regreen fix", sender=BOT), "is a bot", id="bot for a person"),
        pytest.param(
            comment("/regreen fix", user={"login": "evil[bot]", "id": 6, "type": "User"}),
            "is a bot",
            id="bot by its name",
        ),
        pytest.param(comment("/regreen fix", app={"id": APP}), "our own", id="by our own App"),
    ],
)
def test_comments_that_are_not(payload, reason):
    found = parse("issue_comment", payload)
    assert isinstance(found, Unused)
    assert reason in found.reason


def test_a_bot_may_give_commands_when_its_number_is_listed():
    payload = comment("/regreen fix", user=BOT, sender=BOT)
    assert isinstance(parse("issue_comment", payload, bots=frozenset({2})), CommandGiven)


@pytest.mark.parametrize(
    ("event", "payload", "reason"),
    [
        pytest.param("fork", {}, "not used", id="event"),
        pytest.param("pull_request", pull_request("labeled"), "action labeled", id="labeled"),
        pytest.param("check_run", check_run("created"), "action created", id="check created"),
        pytest.param("check_run", check_run(app=APP), "our own", id="our own check run"),
        pytest.param("check_run", check_run("rerequested"), "another App", id="another's check"),
        pytest.param(
            "check_run", check_run("rerequested", app=APP, pulls=[]), "attached", id="whose?"
        ),
        pytest.param(
            "check_run",
            check_run("rerequested", app=APP, pulls=[], external_id="else/where#7"),
            "attached",
            id="external id of another repository",
        ),
        pytest.param(
            "check_run",
            check_run("rerequested", app=APP) | {"sender": BOT},
            "is a bot",
            id="button pressed by a bot",
        ),
        pytest.param("check_suite", check_suite(app=APP), "our own", id="our own suite"),
        pytest.param("check_suite", check_suite("requested"), "action", id="suite requested"),
        pytest.param("workflow_run", workflow_run("requested"), "action", id="workflow requested"),
        pytest.param(
            "status",
            {"sha": SHA, "state": "pending", "context": "x", "repository": REPO},
            "pending",
            id="status pending",
        ),
        pytest.param(
            "installation",
            {"action": "renamed", "installation": {"id": 8}},
            "action renamed",
            id="installation action",
        ),
        pytest.param(
            "installation_repositories",
            {"action": "renamed", "installation": {"id": 8}},
            "action renamed",
            id="repositories action",
        ),
    ],
)
def test_what_is_unused_says_why(event, payload, reason):
    found = parse(event, payload)
    assert isinstance(found, Unused)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("event", "body", "told"),
    [
        pytest.param("check_run", b"{}", "`action`", id="missing"),
        pytest.param("status", json.dumps({"sha": 3}).encode(), "$.sha", id="wrong type"),
        pytest.param(
            "pull_request", json.dumps(comment("/regreen fix")).encode(), "`number`", id="swapped"
        ),
        pytest.param(
            "pull_request",
            json.dumps(pull_request("opened") | {"number": -1}).encode(),
            "$.number",
            id="negative number",
        ),
        pytest.param(
            "status",
            json.dumps(
                {"sha": "--upload-pack=x", "state": "x", "context": "x", "repository": REPO}
            ).encode(),
            "$.sha",
            id="an option for a head",
        ),
        pytest.param(
            "status",
            json.dumps(
                {
                    "sha": SHA,
                    "state": "x",
                    "context": "x",
                    "repository": {"id": 1, "full_name": "x"},
                }
            ).encode(),
            "$.repository.full_name",
            id="no repository's name",
        ),
        pytest.param("ping", b"", "ping", id="empty"),
        pytest.param("ping", b'{"zen": NaN}', "malformed", id="NaN"),
        pytest.param("ping", b"\xff", "malformed", id="not UTF-8"),
        pytest.param("ping", b"[" * 100_000, "ping", id="deep list"),
        pytest.param("ping", b'{"x":' + b"[" * 100_000, "deeply", id="deep field"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(event, body, told):
    with pytest.raises(Broken) as caught:
        payloads.parse(event, body)
    assert told in str(caught.value)
    assert event in str(caught.value)


def test_all_nine_events_have_a_parser():
    assert set(payloads.PARSERS) == {
        "ping",
        "pull_request",
        "check_run",
        "check_suite",
        "workflow_run",
        "status",
        "issue_comment",
        "installation",
        "installation_repositories",
    }


# --- GitHub's own description ------------------------------------------------------------------


LOGINS = st.text(st.characters(codec="utf-8"), max_size=40)
GATE_ANSWERS = st.builds(
    GateAnswered, st.just(PULL), LOGINS, st.booleans(), st.just(SHA), LOGINS, LOGINS
)
RETRIES = st.builds(RetryAsked, st.just(PULL), LOGINS, LOGINS)


@hypothesis.given(GATE_ANSWERS | RETRIES)
def test_what_our_own_interface_takes_in_is_read_as_it_was_meant(event):
    name, body = payloads.own(event)
    assert name.startswith(payloads.OWN_PREFIX)
    assert payloads.parse(name, body, app_id=APP) == event


def test_no_event_of_githubs_has_a_name_of_our_own():
    assert not payloads.PARSERS.keys() & payloads.OWN_PARSERS.keys()
    assert not [name for name in payloads.PARSERS if name.startswith(payloads.OWN_PREFIX)]
    assert not [name for name in payloads.OWN_PARSERS if not name.startswith("regreen.")]


@pytest.mark.parametrize("event", sorted(payloads.OWN_PARSERS))
@pytest.mark.parametrize("body", [b"", b"{}", b"{", b'{"type":"Pinged"}', b"[" * 5_000])
def test_an_event_of_our_own_that_does_not_fit_is_refused(event, body):
    with pytest.raises(Broken, match=event):
        payloads.parse(event, body)


def test_a_retry_is_no_approval():
    _, body = payloads.own(RetryAsked(PULL, "r1", "ada"))
    with pytest.raises(Broken):
        payloads.parse(payloads.APPROVAL, body)


class Samples:
    """Builds the smallest and the largest payload that a JSON schema allows."""

    def __init__(self, schemas, *, largest: bool) -> None:
        self.schemas = schemas
        self.largest = largest

    def make(self, schema, name="", depth=0):
        schema = self._whole(schema)
        types = schema["types"]
        if "null" in types and (not self.largest or depth > 8 or types == {"null"}):
            return None
        if schema["enum"]:
            return next(one for one in schema["enum"] if one is not None)
        if "object" in types or schema["properties"]:
            wanted, needed = schema["properties"], schema["required"]
            keys = [key for key in wanted if key in needed or (self.largest and depth < 8)]
            return {key: self.make(wanted[key], key, depth + 1) for key in keys}
        if "array" in types:
            few = self.largest and depth < 8 and isinstance(schema["items"], dict)
            return [self.make(schema["items"], name, depth + 1)] if few else []
        if "boolean" in types:
            return True
        if types & {"integer", "number"}:
            return 1
        return {"sha": SHA, "head_sha": SHA, "full_name": "octo/app"}.get(name, "x")

    def _whole(self, schema):
        """Return a schema with its references, choices and parts put together."""
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        types = schema.get("type", [])
        whole = {
            "types": {types} if isinstance(types, str) else set(types),
            "enum": schema.get("enum"),
            "properties": dict(schema.get("properties", {})),
            "required": set(schema.get("required", [])),
            "items": schema.get("items"),
        }
        parts = [self._whole(part) for part in schema.get("allOf", [])]
        if choices := schema.get("oneOf") or schema.get("anyOf"):
            chosen = self._whole(choices[-1 if self.largest else 0])
            if chosen["types"] != {"null"}:
                chosen["types"] -= {"null"}  # another choice may be null as well
            parts.append(chosen)
        for part in parts:
            both = whole["types"] & part["types"] if whole["types"] else part["types"]
            whole["types"] = both or whole["types"]
            whole["enum"] = part["enum"] or whole["enum"]
            whole["required"] |= part["required"]
            if part["items"]:
                items = [whole["items"], part["items"]]
                whole["items"] = {"allOf": [one for one in items if one]}
            for key, one in part["properties"].items():
                mine = whole["properties"].get(key)
                whole["properties"][key] = {"allOf": [mine, one]} if mine else one
        return whole


def description():
    shared = os.getenv("REGREEN_SHARED")
    path = Path(shared or "/nonexistent", "conformance", "extract", "github-webhooks.json")
    return json.loads(path.read_text()) if shared and path.exists() else None


DESCRIPTION = description()
HOOKS = [
    name
    for name in (DESCRIPTION or {}).get("webhooks", {})
    if any(name.startswith(event.replace("_", "-")) for event in payloads.PARSERS)
    and not name.startswith("pull-request-review")
]


@pytest.mark.skipif(DESCRIPTION is None, reason="REGREEN_SHARED does not name the description")
@pytest.mark.parametrize("largest", [False, True], ids=["smallest", "largest"])
@pytest.mark.parametrize("hook", HOOKS)
def test_whatever_githubs_description_allows_is_read(hook, largest):
    schemas = DESCRIPTION["components"]["schemas"]
    schema = DESCRIPTION["webhooks"][hook]
    payload = Samples(schemas, largest=largest).make(schema)
    whole = {"components": DESCRIPTION["components"], **schema}
    faults = [
        one.message
        for one in jsonschema_rs.validator_for(whole, validate_formats=False).iter_errors(payload)
    ]
    event = next(
        one
        for one in sorted(payloads.PARSERS, key=len, reverse=True)
        if hook.startswith(one.replace("_", "-"))
    )
    payloads.parse(event, json.dumps(payload).encode(), app_id=APP)
    assert faults == [], "the sample must be what GitHub may send"
