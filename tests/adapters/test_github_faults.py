"""What `bot.github` makes of a GitHub that fails: nothing twice, nothing lost, a clear word."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest

from bot.domain.errors import BotError, Broken, Gone, NeedsPerson, TryLater
from bot.domain.values import Check, CheckKind, CheckState, PullRef, Secret, Sha
from bot.github.connect import GitHub, connect
from tests.support.scripted_github import (
    APP_ID,
    START,
    Answer,
    FixedClock,
    ScriptedGitHub,
    a_private_key,
    a_server,
)

PULL = PullRef("o/r", 5)
COMMENTS = "/repos/o/r/issues/5/comments"
TOKENS = "/app/installations/7/access_tokens"
BAD_GATEWAY = Answer(502, b"<html>unicorn</html>")


@pytest.fixture(scope="module")
def key() -> Secret:
    return a_private_key()


@pytest.fixture
def github() -> Iterator[ScriptedGitHub]:
    server = ScriptedGitHub()
    yield server
    server.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def bot(github: ScriptedGitHub, key: Secret, clock: FixedClock) -> Iterator[GitHub]:
    connected = connect(a_server(github.url, key), clock, seconds_between_writes=0)
    yield connected
    connected.close()


def a_comment(number: int, body: str, app: int | None = APP_ID, kind: str = "Bot") -> Any:
    return {
        "id": number,
        "body": body,
        "created_at": "2026-11-21T12:00:00Z",
        "user": {"login": "regreen[bot]", "id": 99, "type": kind},
        "performed_via_github_app": {"id": app, "slug": "regreen"} if app else None,
    }


def a_pull(**change: Any) -> Any:
    end = {"ref": "topic", "sha": "a" * 40, "repo": {"full_name": "o/r"}}
    base = {"ref": "main", "sha": "b" * 40, "repo": {"full_name": "o/r"}}
    user = {"login": "ada", "id": 3, "type": "User"}
    shape = {"number": 5, "title": "t", "state": "open", "head": end, "base": base, "user": user}
    return {**shape, **change}


# --- Errors become what to do next ------------------------------------------------------------


LIMIT = {"message": "You have exceeded a secondary rate limit"}
RESET = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(START.timestamp()) + 90)}
DATE = {"Date": "Sat, 21 Nov 2026 12:00:00 GMT"}


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        pytest.param(Answer(429, LIMIT, {"Retry-After": "7"}), 7, id="429 with Retry-After"),
        pytest.param(Answer(429, LIMIT), 60, id="429 that names no time"),
        pytest.param(Answer(429, LIMIT, RESET | DATE), 90, id="429 with a reset"),
        pytest.param(Answer(403, LIMIT, {"Retry-After": "9"}), 9, id="403 with Retry-After"),
        pytest.param(Answer(403, LIMIT), 60, id="403 secondary that names no time"),
        pytest.param(
            Answer(403, {"message": "API rate limit exceeded"}, RESET | DATE), 90, id="403 primary"
        ),
        pytest.param(Answer(403, b"<html>abuse</html>"), 60, id="403 page"),
    ],
)
def test_a_limit_is_a_wait_and_not_a_retry(github, bot, answer: Answer, wait_s: float) -> None:
    github.on("GET", "/repos/o/r/pulls/5", answer)

    with pytest.raises(TryLater) as refused:
        bot.pulls.read(PULL)

    assert refused.value.after_s == wait_s
    assert len(github.sent("GET", "/repos/o/r/pulls/5")) == 1


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        pytest.param(Answer(404, {"message": "Not Found"}), Gone, "Not Found", id="404"),
        pytest.param(Answer(410, {"message": "deleted"}), Gone, "deleted", id="410"),
        pytest.param(
            Answer(403, {"message": "Resource not accessible by integration"}),
            NeedsPerson,
            "permission pull_requests",
            id="403 names the permission of the path",
        ),
        pytest.param(
            Answer(403, {"message": "no"}, {"X-Accepted-GitHub-Permissions": "contents=read"}),
            NeedsPerson,
            "permission contents=read",
            id="403 names GitHub's own word",
        ),
        pytest.param(
            Answer(403, {"message": "This installation has been suspended"}),
            Gone,
            "suspended",
            id="suspended",
        ),
        pytest.param(
            Answer(422, {"message": "Invalid", "errors": [{"field": "body", "code": "too_long"}]}),
            Broken,
            "Invalid (body too_long)",
            id="422 with its details",
        ),
        pytest.param(Answer(200, {"number": "five"}), Broken, "another shape", id="shape"),
        pytest.param(Answer(200, b"<html>hi</html>"), TryLater, "page", id="page for data"),
        pytest.param(Answer(fault="drop"), TryLater, "no answer", id="dropped"),
        pytest.param(Answer(200, a_pull(), fault="half"), TryLater, "no answer", id="cut"),
    ],
)
def test_an_error_says_what_to_do_next(
    github, bot, answer: Answer, error: type[BotError], says: str
) -> None:
    github.on("GET", "/repos/o/r/pulls/5", answer)

    with pytest.raises(error) as raised:
        bot.pulls.read(PULL)

    assert says in str(raised.value)


def test_a_read_is_repeated_a_few_times(github, bot) -> None:
    github.on("GET", "/repos/o/r/pulls/5", BAD_GATEWAY, Answer(fault="drop"), Answer(body=a_pull()))

    assert bot.pulls.read(PULL).head == "a" * 40


def test_a_read_is_not_repeated_for_ever(github, bot) -> None:
    github.on("GET", "/repos/o/r/pulls/5", BAD_GATEWAY)

    with pytest.raises(TryLater):
        bot.pulls.read(PULL)

    assert len(github.sent("GET", "/repos/o/r/pulls/5")) == 3


def test_requests_name_their_version_and_sender(github, bot) -> None:
    github.on("GET", "/repos/o/r/pulls/5", Answer(body=a_pull()))

    bot.pulls.read(PULL)

    headers = github.sent("GET", "/repos/o/r/pulls/5")[0].headers
    assert headers["x-github-api-version"] == "2022-11-28"
    assert headers["user-agent"] == "regreen"


# --- Comments ---------------------------------------------------------------------------------


LOST = [
    pytest.param(BAD_GATEWAY, id="502"),
    pytest.param(Answer(fault="drop"), id="dropped"),
    pytest.param(Answer(201, a_comment(11, "hi"), fault="half"), id="cut half-way"),
    pytest.param(Answer(200, b"<html>oops</html>"), id="page"),
]


@pytest.mark.parametrize("lost", LOST)
def test_a_comment_that_arrived_is_not_posted_again(github, bot, lost: Answer) -> None:
    others = [a_comment(13, "hi", app=None), a_comment(14, "hi", kind="User"), a_comment(15, "o")]
    others.append(a_comment(16, "hi", app=15368))
    github.on("GET", COMMENTS, Answer(body=[a_comment(11, "hi\r\n"), *others]))
    github.on("POST", COMMENTS, lost, Answer(201, a_comment(12, "hi")))

    assert bot.comments.post(PULL, "hi") == 11
    assert len(github.sent("POST", COMMENTS)) == 1


@pytest.mark.parametrize("lost", LOST)
def test_a_comment_that_did_not_arrive_is_posted_after_looking(github, bot, lost: Answer) -> None:
    github.on("GET", COMMENTS, Answer(body=[a_comment(1, "hi", app=None)]))
    github.on("POST", COMMENTS, lost, Answer(201, a_comment(12, "hi")))

    assert bot.comments.post(PULL, "hi") == 12
    verbs = [r.verb for r in github.requests if r.path == COMMENTS]
    assert verbs == ["POST", "GET", "POST"]


def test_a_limit_on_a_comment_is_not_a_second_comment(github, bot) -> None:
    github.on("POST", COMMENTS, Answer(429, LIMIT, {"Retry-After": "5"}))

    with pytest.raises(TryLater):
        bot.comments.post(PULL, "hi")

    assert len(github.sent("POST", COMMENTS)) == 1


# --- Who we are -------------------------------------------------------------------------------


def test_tokens_are_for_one_repository_and_few_permissions(github, bot) -> None:
    github.on("GET", "/repos/o/r/pulls/5", Answer(body=a_pull()))

    bot.pulls.read(PULL)
    bot.pulls.read(PULL)

    (minted,) = github.sent("POST", TOKENS)
    assert minted.body["repositories"] == ["r"]
    assert minted.body["permissions"]["contents"] == "read"
    assert "workflows" not in minted.body["permissions"]


def test_a_token_to_push_is_minted_for_each_push(github, bot) -> None:
    github.on("GET", "/repos/o/r", Answer(body={"full_name": "o/r", "clone_url": "http://x/o/r"}))
    long = "ghs_4242_" + "x" * 511
    github.mint(token=long)

    first = bot.repos.remote("o/r", write=True)
    bot.repos.remote("o/r", write=True)

    pushes = [
        r for r in github.sent("POST", TOKENS) if r.body["permissions"]["contents"] == "write"
    ]
    assert [r.body["permissions"] for r in pushes] == [
        {"contents": "write", "metadata": "read"}
    ] * 2
    assert first.token == long
    assert long not in repr(first)


def test_a_token_is_renewed_before_it_runs_out(github, bot, clock) -> None:
    github.on("GET", "/repos/o/r/pulls/5", Answer(body=a_pull()))
    bot.pulls.read(PULL)

    clock.at = START + timedelta(minutes=54)
    bot.pulls.read(PULL)
    assert len(github.sent("POST", TOKENS)) == 1

    clock.at = START + timedelta(minutes=56)
    github.mint(token="ghs_second", lives=timedelta(hours=2))
    bot.pulls.read(PULL)
    assert (
        github.sent("GET", "/repos/o/r/pulls/5")[-1].headers["authorization"] == "token ghs_second"
    )


def test_a_token_refused_mid_way_is_renewed_once(github, bot) -> None:
    refused = Answer(401, {"message": "Bad credentials"})
    github.on("POST", COMMENTS, refused, Answer(201, a_comment(12, "hi")))

    assert bot.comments.post(PULL, "hi") == 12
    assert len(github.sent("POST", TOKENS)) == 2
    assert len(github.sent("GET", "/repos/o/r/installation")) == 2


def test_a_renewed_token_that_is_refused_needs_a_person(github, bot) -> None:
    github.on("GET", "/repos/o/r/pulls/5", Answer(401, {"message": "Bad credentials"}))

    with pytest.raises(NeedsPerson):
        bot.pulls.read(PULL)

    assert len(github.sent("GET", "/repos/o/r/pulls/5")) == 2


def test_an_installation_made_anew_is_found(github, bot) -> None:
    github.on("GET", "/repos/o/r/installation", Answer(body={"id": 6}), Answer(body={"id": 7}))
    github.on("GET", "/repos/o/r/pulls/5", Answer(body=a_pull()))
    bot_has_seen_six = {"token": "ghs_six", "expires_at": START.isoformat()}
    github.on(
        "POST", "/app/installations/6/access_tokens", Answer(201, bot_has_seen_six), Answer(404, {})
    )
    bot.pulls.read(PULL)  # this token is already over, so the next call mints again

    bot.pulls.read(PULL)

    assert (
        github.sent("GET", "/repos/o/r/pulls/5")[-1].headers["authorization"] == "token ghs_first"
    )


@pytest.mark.parametrize("minutes", [-5, 5, 60], ids=["slow", "fast", "an hour fast"])
def test_a_clock_that_is_off_is_set_by_the_servers_date(github, bot, clock, minutes: int) -> None:
    clock.at = START + timedelta(minutes=minutes)
    refused = Answer(401, {"message": "'Issued at' claim"}, DATE)
    github.on("GET", "/app", refused, Answer(body={"id": APP_ID, "name": "n", "slug": "regreen"}))

    assert bot.app_slug() == "regreen"

    second = github.sent("GET", "/app")[1].headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(second, options={"verify_signature": False})
    start = int(START.timestamp())
    assert claims == {"iat": start - 60, "exp": start + 300, "iss": str(APP_ID)}


def test_a_wrong_key_needs_a_person(github, bot) -> None:
    github.on("GET", "/app", Answer(401, {"message": "could not be decoded"}, DATE))

    with pytest.raises(NeedsPerson, match="REGREEN_PRIVATE_KEY"):
        bot.whoami()


def test_permissions_that_were_not_accepted_need_a_person(github, bot) -> None:
    github.on("POST", TOKENS, Answer(422, {"message": "permissions requested are not granted"}))

    with pytest.raises(NeedsPerson, match="Accept the App's new permissions"):
        bot.pulls.read(PULL)


# --- Pull requests ----------------------------------------------------------------------------


def test_a_deleted_fork_has_no_repository_and_maybe_no_author(github, bot) -> None:
    head = {"ref": "topic", "sha": "a" * 40, "repo": None, "user": None, "label": None}
    github.on("GET", "/repos/o/r/pulls/5", Answer(body=a_pull(head=head, user=None)))

    pull = bot.pulls.read(PULL)

    assert (pull.head_repo, pull.author, pull.author_id) == ("", "ghost", 0)
    assert pull.fork


def test_a_merged_pull_request_is_not_open(github, bot) -> None:
    github.on("GET", "/repos/o/r/pulls/5", Answer(body=a_pull(state="closed", merged=True)))

    assert not bot.pulls.read(PULL).open


# --- Logs -------------------------------------------------------------------------------------


JOB = Check(name="test", kind=CheckKind.JOB, state=CheckState.FAILED, id=31, workflow_run=8)
LOGS = "/repos/o/r/actions/jobs/31/logs"


def to(link: str) -> Answer:
    return Answer(302, headers={"Location": link})


def test_a_log_is_followed_without_our_token(github, bot) -> None:
    github.on("GET", LOGS, to(f"{github.url}/store/31?sig=s"))
    github.on("GET", "/store/31", Answer(body=b"##[error]boom"))

    assert bot.checks.log("o/r", JOB) == b"##[error]boom"
    assert "authorization" not in github.sent("GET", "/store/31")[0].headers


def test_an_expired_link_is_fetched_anew_once(github, bot) -> None:
    github.on("GET", LOGS, to(f"{github.url}/old"), to(f"{github.url}/new"))
    github.on("GET", "/old", Answer(403, b"expired"))
    github.on("GET", "/new", Answer(body=b"log"))

    assert bot.checks.log("o/r", JOB) == b"log"


def test_a_log_that_is_no_longer_kept_is_gone(github, bot) -> None:
    github.on("GET", LOGS, to(f"{github.url}/old"))

    with pytest.raises(Gone):
        bot.checks.log("o/r", JOB)

    assert len(github.sent("GET", "/old")) == 2


# --- Re-runs ----------------------------------------------------------------------------------


RUN = "/repos/o/r/actions/runs/8"
RERUN = f"{RUN}/rerun-failed-jobs"


def a_workflow_run(status: str = "completed", attempt: int = 1) -> Answer:
    shape = {"id": 8, "path": ".github/workflows/ci.yml", "status": status, "run_attempt": attempt}
    return Answer(body=shape)


def test_jobs_of_one_workflow_run_are_run_again_together(github, bot) -> None:
    github.on("GET", RUN, a_workflow_run())
    github.on("POST", RERUN, Answer(201, {}))

    bot.checks.rerun("o/r", [JOB, JOB])

    assert len(github.sent("POST", RERUN)) == 1


def test_a_run_at_work_is_not_run_again(github, bot) -> None:
    github.on("GET", RUN, a_workflow_run("in_progress"))

    bot.checks.rerun("o/r", [JOB])

    assert not github.sent("POST", RERUN)


def test_already_running_counts_as_done(github, bot) -> None:
    github.on("GET", RUN, a_workflow_run())
    github.on("POST", RERUN, Answer(403, {"message": "This workflow is already running"}))

    bot.checks.rerun("o/r", [JOB])


def test_a_rerun_whose_answer_got_lost_is_not_asked_twice(github, bot) -> None:
    github.on("GET", RUN, a_workflow_run(), a_workflow_run("queued", attempt=2))
    github.on("POST", RERUN, BAD_GATEWAY)

    bot.checks.rerun("o/r", [JOB])

    assert len(github.sent("POST", RERUN)) == 1


def test_a_rerun_that_did_not_arrive_may_be_asked_for_later(github, bot) -> None:
    github.on("GET", RUN, a_workflow_run())
    github.on("POST", RERUN, BAD_GATEWAY)

    with pytest.raises(TryLater):
        bot.checks.rerun("o/r", [JOB])


def test_too_old_a_run_needs_a_person(github, bot) -> None:
    github.on("GET", RUN, a_workflow_run())
    github.on("POST", RERUN, Answer(403, {"message": "created over a month ago"}))

    with pytest.raises(NeedsPerson, match="over a month ago"):
        bot.checks.rerun("o/r", [JOB])


def test_what_is_not_actions_cannot_be_run_again(bot) -> None:
    status = Check(name="circle", kind=CheckKind.STATUS, state=CheckState.FAILED)

    with pytest.raises(NeedsPerson, match="circle"):
        bot.checks.rerun("o/r", [status])


# --- Checks -----------------------------------------------------------------------------------


HEAD = Sha("a" * 40)


def a_run(number: int, name: str, suite: int, **change: Any) -> Any:
    shape = {
        "id": number,
        "name": name,
        "status": "completed",
        "conclusion": "failure",
        "app": {"id": 15368, "slug": "github-actions"},
        "check_suite": {"id": suite},
        "details_url": f"https://github.com/o/r/actions/runs/8/job/{number}",
        "output": {"title": None, "summary": None, "text": None, "annotations_count": 0},
    }
    return {**shape, **change}


def a_suite(number: int, status: str, conclusion: str | None = None, **change: Any) -> Any:
    app = {"id": 15368, "slug": "github-actions"}
    return {"id": number, "status": status, "conclusion": conclusion, "app": app, **change}


@pytest.fixture
def commit(github):
    """Script a commit's checks; what is not named is empty."""

    def script(runs=(), suites=(), workflows=(), statuses=()) -> None:
        at = f"/repos/o/r/commits/{HEAD}"
        github.on("GET", f"{at}/check-runs", Answer(body={"check_runs": list(runs)}))
        github.on("GET", f"{at}/check-suites", Answer(body={"check_suites": list(suites)}))
        github.on("GET", f"{at}/status", Answer(body={"statuses": list(statuses)}))
        found = [
            {"id": 800 + suite, "path": f".github/workflows/{name}@main", "check_suite_id": suite}
            for suite, name in workflows
        ]
        github.on("GET", "/repos/o/r/actions/runs", Answer(body={"workflow_runs": found}))

    return script


def test_a_failing_job_brings_its_workflow_and_failed_steps(github, bot, commit) -> None:
    commit([a_run(31, "test", 1)], [a_suite(1, "completed", "failure")], [(1, "ci.yml")])
    steps = [
        {"name": "Set up", "conclusion": "success"},
        {"name": "pytest", "conclusion": "failure"},
    ]
    github.on(
        "GET", "/repos/o/r/actions/jobs/31", Answer(body={"id": 31, "run_id": 801, "steps": steps})
    )

    (check,) = bot.checks.at("o/r", HEAD)

    assert check == Check(
        name="test",
        kind=CheckKind.JOB,
        state=CheckState.FAILED,
        id=31,
        workflow_run=801,
        workflow_path=".github/workflows/ci.yml",
        failed_steps=("pytest",),
        url="https://github.com/o/r/actions/runs/8/job/31",
    )


def test_our_own_check_and_other_apps_are_told_apart(bot, commit) -> None:
    ours = a_run(1, "regreen", 5, app={"id": APP_ID, "slug": "regreen"})
    other = a_run(2, "codecov", 6, app={"id": 254, "slug": "codecov"}, conclusion="action_required")
    commit([ours, other])

    (check,) = bot.checks.at("o/r", HEAD)

    assert (check.name, check.kind, check.state) == (
        "codecov",
        CheckKind.CHECK_RUN,
        CheckState.FAILED,
    )


def test_a_check_run_that_a_job_made_is_not_a_job(bot, commit) -> None:
    report = a_run(77, "report", 1, details_url="https://github.com/o/r/runs/77")
    commit([report], [a_suite(1, "completed", "failure")], [(1, "ci.yml")])

    (check,) = bot.checks.at("o/r", HEAD)

    assert (check.kind, check.workflow_run) == (CheckKind.CHECK_RUN, 801)


@pytest.mark.parametrize(
    ("runs", "suite", "expected"),
    [
        pytest.param([], a_suite(1, "queued"), [CheckState.PENDING], id="announced"),
        pytest.param(
            [a_run(1, "a", 1, conclusion="success")],
            a_suite(1, "in_progress"),
            [CheckState.PASSED, CheckState.PENDING],
            id="a job that needs another has no check run yet",
        ),
        pytest.param(
            [a_run(1, "a", 1, status="in_progress", conclusion=None)],
            a_suite(1, "in_progress"),
            [CheckState.PENDING],
            id="not counted twice",
        ),
        pytest.param(
            [],
            a_suite(1, "completed", "startup_failure"),
            [CheckState.FAILED],
            id="broken workflow",
        ),
        pytest.param(
            [], a_suite(1, "completed", "action_required"), [CheckState.PENDING], id="needs consent"
        ),
        pytest.param([], a_suite(1, "completed", "success"), [], id="nothing to say"),
        pytest.param([], a_suite(1, "queued", app={"id": 9, "slug": "x"}), [], id="another App"),
    ],
)
def test_a_suite_may_say_more_than_its_check_runs(bot, commit, runs, suite, expected) -> None:
    commit(runs, [suite], [(1, "ci.yml")])

    assert [check.state for check in bot.checks.at("o/r", HEAD)] == expected


@pytest.mark.parametrize(
    ("status", "conclusion", "state"),
    [
        ("queued", None, CheckState.PENDING),
        ("in_progress", None, CheckState.PENDING),
        ("waiting", None, CheckState.PENDING),
        ("completed", "success", CheckState.PASSED),
        ("completed", "failure", CheckState.FAILED),
        ("completed", "timed_out", CheckState.FAILED),
        ("completed", "startup_failure", CheckState.FAILED),
        ("completed", "action_required", CheckState.FAILED),
        ("completed", "cancelled", CheckState.CANCELLED),
        ("completed", "neutral", CheckState.NEUTRAL),
        ("completed", "skipped", CheckState.NEUTRAL),
        ("completed", "stale", CheckState.NEUTRAL),
    ],
)
def test_what_a_check_run_says(bot, commit, status, conclusion, state) -> None:
    other = {"id": 254, "slug": "codecov"}
    commit([a_run(1, "a", 1, app=other, status=status, conclusion=conclusion)])

    assert [check.state for check in bot.checks.at("o/r", HEAD)] == [state]


def test_statuses_are_checks_whose_log_is_their_description(bot, commit) -> None:
    commit(
        statuses=[
            {
                "context": "ci/circle",
                "state": "error",
                "description": "2 failed",
                "target_url": "u",
            },
            {"context": "ci/slow", "state": "pending", "description": None, "target_url": None},
        ]
    )

    red, slow = bot.checks.at("o/r", HEAD)

    assert (red.kind, red.state, red.url) == (CheckKind.STATUS, CheckState.FAILED, "u")
    assert slow.state is CheckState.PENDING
    assert bot.checks.log("o/r", red) == b"2 failed"


def test_the_log_of_another_apps_check_is_its_output(github, bot) -> None:
    output = {"title": "Coverage", "summary": "fell", "text": "to 12 %"}
    github.on("GET", "/repos/o/r/check-runs/9", Answer(body=a_run(9, "codecov", 6, output=output)))
    check = Check(name="codecov", kind=CheckKind.CHECK_RUN, state=CheckState.FAILED, id=9)

    assert bot.checks.log("o/r", check) == b"Coverage\n\nfell\n\nto 12 %"


def test_a_commit_that_is_not_there_is_gone(github, bot) -> None:
    missing = Answer(422, {"message": f"No commit found for SHA: {HEAD}"})
    github.on("GET", f"/repos/o/r/commits/{HEAD}/check-runs", missing)

    with pytest.raises(Gone):
        bot.checks.at("o/r", HEAD)


# --- Repositories -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "permission"),
    [
        pytest.param(Answer(body={"permission": "write"}), "write", id="a writer"),
        pytest.param(Answer(404, {"message": "evil[bot] is not a user"}), "none", id="a bot"),
        pytest.param(Answer(422, {"message": "evil[bot] is not a user"}), "none", id="a bot, 422"),
    ],
)
def test_what_a_person_may_do(github, bot, answer: Answer, permission: str) -> None:
    github.on("GET", "/repos/o/r/collaborators/evil%5Bbot%5D/permission", answer)

    assert bot.repos.permission("o/r", "evil[bot]") == permission


def test_a_large_file_is_asked_for_by_itself(github, bot) -> None:
    large = {"type": "file", "encoding": "none", "content": "", "size": 2_000_000}
    github.on("GET", "/repos/o/r/contents/docs/a%20b.md", Answer(body=large), Answer(body=b"text"))

    assert bot.repos.file("o/r", "docs/a b.md", "main") == "text"


def test_a_folder_is_not_a_file(github, bot) -> None:
    github.on("GET", "/repos/o/r/contents/docs", Answer(body=[{"type": "file", "name": "a"}]))

    assert bot.repos.file("o/r", "docs", "main") is None


def test_suspended_installations_and_archived_repositories_are_left_out(github, bot) -> None:
    listed = [{"id": 7, "suspended_at": None}, {"id": 8, "suspended_at": "2026-11-01T00:00:00Z"}]
    github.on("GET", "/app/installations", Answer(body=listed))
    repositories = [{"full_name": "o/r"}, {"full_name": "o/old", "archived": True}]
    github.on("GET", "/installation/repositories", Answer(body={"repositories": repositories}))

    assert bot.repos.installed() == ["o/r"]


def test_whoami_names_what_is_missing(github, bot) -> None:
    app = {
        "id": APP_ID,
        "name": "Regreen",
        "slug": "regreen",
        "permissions": {"checks": "read", "contents": "write", "metadata": "read"},
        "events": ["check_run"],
    }
    github.on("GET", "/app", Answer(body=app))

    who = bot.whoami()

    assert who.missing_permissions == {
        "actions": "write",
        "checks": "write",
        "issues": "read",
        "pull_requests": "write",
        "statuses": "read",
    }
    assert "pull_request" in who.missing_events
    assert "check_run" not in who.missing_events
