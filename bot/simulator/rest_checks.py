"""REST operations about check suites and check runs, with the limits that GitHub sets.

https://docs.github.com/en/rest/checks/runs
"""

from datetime import datetime
from typing import Any

from bot.simulator import checks, shapes_checks
from bot.simulator.auth import Need
from bot.simulator.clock import now
from bot.simulator.problems import Problem, forbidden, invalid, not_found
from bot.simulator.rest import Call, Operation, Reply, counted, listed
from bot.simulator.rest_repos import resolve
from bot.simulator.state import Check, Json, Suite, Token

_READ = Need(("checks",))
_WRITE = Need(("checks",), "write", person="read")  # people are refused below, as at GitHub
_STATUSES = ("queued", "in_progress", "completed", "waiting", "requested", "pending")
_CONCLUSIONS = (
    "success",
    "failure",
    "neutral",
    "cancelled",
    "skipped",
    "timed_out",
    "action_required",
)
TITLE_LIMIT, TEXT_LIMIT = 255, 65_535  # characters, bytes
MOST_ANNOTATIONS, MOST_ACTIONS = 50, 3  # of one request
_ACTION_LIMITS = {"label": 20, "description": 40, "identifier": 20}  # characters


def create_check(call: Call) -> Any:
    """Add a check run to a commit, as the App."""
    _only_apps(call)
    name, sha = call.text("name", "CheckRun"), call.text("head_sha", "CheckRun")
    if call.repo.git.resolve(sha) != sha:
        raise Problem(422, f"No commit found for SHA: {sha}")
    values = _checked(call.body, None)
    branch = next((p.head_branch for p in call.hub.state.pulls_at(call.repo, sha)), None)
    suite = checks.own_suite(call.hub, call.repo, sha, branch)
    check = checks.add_check(call.hub, suite, name)
    _apply(check, values)
    checks.tell(call.hub, check, "created", call.actor)
    _tell_end(call, check, was="queued")
    return Reply(201, shapes_checks.check(call.shapes, check))


def update_check(call: Call) -> Any:
    """Change a check run of the App's own."""
    _only_apps(call)
    check = _check(call)
    if check.suite.app is not call.hub.app:
        raise Problem(403, "Invalid app_id - check run can only be modified by its creator")
    was = check.status
    _apply(check, _checked(call.body, check))
    _tell_end(call, check, was=was)
    return shapes_checks.check(call.shapes, check)


def _only_apps(call: Call) -> None:
    if not isinstance(call.who, Token):
        raise Problem(403, "You must authenticate via a GitHub App.")


def _checked(given: Json, check: Check | None) -> Json:
    """Return the body once it keeps to GitHub's rules; else raise the 422 Problem."""
    body = dict(given)
    status = body.get("status")
    if status not in {None, *_STATUSES}:
        raise invalid("CheckRun", "status", f"{status} is not a status", "invalid")
    conclusion = body.get("conclusion")
    if conclusion not in {None, *_CONCLUSIONS}:
        raise invalid("CheckRun", "conclusion", f"{conclusion} is not a conclusion", "invalid")
    known = check.conclusion if check else None
    if status == "completed" and conclusion is None and known is None:
        text = "conclusion is required when status is completed"
        raise invalid("CheckRun", "conclusion", text, "missing_field")
    if conclusion is not None:
        body["status"] = "completed"
    _check_output(body.get("output"))
    _check_actions(body.get("actions") or [])
    return body


def _check_output(output: Json | None) -> None:
    if output is None:
        return
    if not output.get("title") or output.get("summary") is None:
        raise invalid("CheckRun", "output", "title and summary are required", "missing_field")
    if len(output["title"]) > TITLE_LIMIT:
        raise _too_long("title", f"{TITLE_LIMIT} characters")
    for name in ("summary", "text"):
        if len((output.get(name) or "").encode()) > TEXT_LIMIT:
            raise _too_long(name, f"{TEXT_LIMIT} bytes")
    annotations = output.get("annotations") or []
    if len(annotations) > MOST_ANNOTATIONS:
        text = f"No more than {MOST_ANNOTATIONS} annotations can be sent in one request"
        raise invalid("CheckRun", "annotations", text)
    for annotation in annotations:
        _check_annotation(annotation)


def _check_annotation(annotation: Json) -> None:
    needed = ("path", "start_line", "end_line", "annotation_level", "message")
    missing = [name for name in needed if not annotation.get(name)]
    if missing:
        raise invalid("CheckRun", "annotations", f"{missing[0]} is missing", "missing_field")
    if annotation["annotation_level"] not in {"notice", "warning", "failure"}:
        raise invalid("CheckRun", "annotations", "annotation_level is not known", "invalid")
    columns = {"start_column", "end_column"} & annotation.keys()
    if columns and annotation["start_line"] != annotation["end_line"]:
        raise invalid("CheckRun", "annotations", "columns need start_line to equal end_line")


def _check_actions(actions: list[Json]) -> None:
    if len(actions) > MOST_ACTIONS:
        raise invalid("CheckRun", "actions", f"No more than {MOST_ACTIONS} actions are allowed")
    for action in actions:
        for name, limit in _ACTION_LIMITS.items():
            if not action.get(name):
                raise invalid("CheckRun", "actions", f"{name} is missing", "missing_field")
            if len(action[name]) > limit:
                raise _too_long(f"actions.{name}", f"{limit} characters")


def _too_long(field: str, limit: str) -> Problem:
    return invalid("CheckRun", field, f"{field} exceeds the maximum of {limit}")


def _apply(check: Check, values: Json) -> None:
    for name in ("name", "status", "conclusion", "details_url", "external_id", "actions"):
        if values.get(name) is not None:
            setattr(check, name, values[name])
    for name in ("started_at", "completed_at"):
        if values.get(name):
            setattr(check, name, datetime.fromisoformat(values[name]))
    if check.status != "completed":
        check.conclusion, check.completed_at = None, None
    elif check.completed_at is None:
        check.completed_at = now()
    output = values.get("output") or {}
    for name in ("title", "summary", "text"):
        if name in output:
            setattr(check, name, output[name])
    check.annotations += output.get("annotations") or []


def _tell_end(call: Call, check: Check, *, was: str) -> None:
    if check.status == "completed" and was != "completed":
        checks.tell(call.hub, check, "completed", call.actor)
    checks.settle_suite(call.hub, check.suite, call.actor)


def _check(call: Call) -> Check:
    found = call.hub.state.checks.get(call.params["check_id"])
    if found is None or found.suite.repo is not call.repo:
        raise not_found()
    return found


def get_check(call: Call) -> Any:
    """Answer one check run."""
    return shapes_checks.check(call.shapes, _check(call))


def list_annotations(call: Call) -> Any:
    """List a check run's annotations."""
    check = _check(call)
    site, sha = f"{call.shapes.site}/{call.repo.full_name}/blob", check.suite.head_sha

    def build(row: Json) -> Json:
        optional = ("start_column", "end_column", "title", "raw_details")
        return {
            **dict.fromkeys(optional),
            **row,
            "blob_href": f"{site}/{sha}/{row['path']}",
        }

    return listed(call, check.annotations, build)


def list_commit_checks(call: Call) -> Any:
    """List the check runs of a commit; by default the newest of each name and suite."""
    sha = resolve(call, call.params["ref"])
    return _checks(call, call.hub.state.suites_at(call.repo, sha))


def list_suite_checks(call: Call) -> Any:
    """List the check runs of a suite."""
    return _checks(call, [_suite(call)])


def _checks(call: Call, suites: list[Suite]) -> Any:
    state, query = call.hub.state, call.query
    pick = state.checks_of if query.get("filter") == "all" else state.latest_checks
    rows = [
        check
        for suite in suites
        for check in pick(suite)
        if query.get("check_name", check.name) == check.name
        and query.get("status", check.status) == check.status
        and query.get("app_id", str(suite.app.id)) == str(suite.app.id)
    ]
    rows.sort(key=lambda check: check.id, reverse=True)
    return counted(call, rows, lambda row: shapes_checks.check(call.shapes, row), "check_runs")


def _suite(call: Call) -> Suite:
    found = call.hub.state.suites.get(call.params["suite_id"])
    if found is None or found.repo is not call.repo:
        raise not_found()
    return found


def get_suite(call: Call) -> Any:
    """Answer one check suite."""
    return shapes_checks.full_suite(call.shapes, _suite(call))


def list_commit_suites(call: Call) -> Any:
    """List the check suites of a commit."""
    sha = resolve(call, call.params["ref"])
    wanted = call.query.get("app_id")
    rows = [
        suite
        for suite in call.hub.state.suites_at(call.repo, sha)
        if wanted in {None, str(suite.app.id)}
    ]
    build = shapes_checks.full_suite
    return counted(call, rows, lambda row: build(call.shapes, row), "check_suites")


def rerequest(call: Call) -> Any:
    """Ask the App that owns a check run to do it again."""
    check = _check(call)
    if check.suite.app is not call.hub.app:
        raise forbidden()
    checks.tell(call.hub, check, "rerequested", call.actor)
    return Reply(201, {})


_REPO = "/repos/{owner}/{repo}"
_CHECK = f"{_REPO}/check-runs/{{check_id:int}}"
_SUITE = f"{_REPO}/check-suites/{{suite_id:int}}"
OPERATIONS = (
    Operation("POST", f"{_REPO}/check-runs", create_check, _WRITE),
    Operation("GET", _CHECK, get_check, _READ),
    Operation("PATCH", _CHECK, update_check, _WRITE),
    Operation("GET", f"{_CHECK}/annotations", list_annotations, _READ),
    Operation("POST", f"{_CHECK}/rerequest", rerequest, Need(("checks",), "write", person="write")),
    Operation("GET", _SUITE, get_suite, _READ),
    Operation("GET", f"{_SUITE}/check-runs", list_suite_checks, _READ),
    Operation("GET", f"{_REPO}/commits/{{ref:path}}/check-runs", list_commit_checks, _READ),
    Operation("GET", f"{_REPO}/commits/{{ref:path}}/check-suites", list_commit_suites, _READ),
)
