"""`bot.github` against the simulated GitHub, over real HTTP: what it reads, makes and finds."""

import importlib.util
import itertools
import os
import subprocess
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bot.domain.errors import Gone, NeedsPerson, TryLater
from bot.domain.values import (
    Annotation,
    Card,
    CheckKind,
    CheckState,
    Conclusion,
    PullRef,
    Secret,
    Sha,
)
from bot.github.card import BUTTONS
from bot.github.connect import GitHub, connect
from bot.simulator.clock import now
from bot.simulator.faults import Fault, Kind
from bot.simulator.hub import Limits
from bot.simulator.serve import SimOptions, Simulator
from tests.support.scripted_github import a_server

REPO = "octo/app"
NUMBERS = itertools.count()
CHECK_RUNS = r"/check-runs$"


class RealClock:
    """The simulator's own time."""

    def now(self) -> datetime:
        return now()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Make a small repository to be served."""
    path: Path = tmp_path_factory.mktemp("source")
    (path / "a.py").write_text("print('hello')\n")
    (path / "large.txt").write_text("0123456789" * 120_000)
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(["git", *command], cwd=path, check=True)
    return path


@pytest.fixture(scope="module")
def sim(source: Path) -> Iterator[Simulator]:
    people = {"owner": "admin", "wanda": "write", "stranger": "none"}
    options = SimOptions(repos={REPO: source}, people=people, run_workflows=False)
    with Simulator(options) as running:
        yield running


@pytest.fixture(scope="module")
def bot(sim: Simulator) -> Iterator[GitHub]:
    connected = connected_to(sim)
    yield connected
    connected.close()


@pytest.fixture
def pull(sim: Simulator) -> Iterator[PullRef]:
    # Equal files in one second would make equal commits, and their checks would mingle.
    number = sim.open_pull(REPO, {"a.py": "import os\n", "own": str(next(NUMBERS))})
    yield PullRef(REPO, number)
    sim.door.faults.planned.clear()


def connected_to(sim: Simulator, prefix: str = "") -> GitHub:
    server = a_server(sim.url + prefix, Secret(sim.private_key), sim.app_id)
    return connect(server, RealClock(), seconds_between_writes=0)


def head_of(sim: Simulator, pull: PullRef) -> Sha:
    return Sha(sim.head(REPO, pull.number))


def a_card(pull: PullRef, head: Sha, *, done: bool = True, **change) -> Card:
    conclusion = Conclusion.NEUTRAL if done else None
    return Card(
        **{"pull": pull, "head": head, "title": "t", "summary": "s", **change},
        conclusion=conclusion,
    )


def ours(sim: Simulator, head: Sha) -> list[dict[str, Any]]:
    return [c for c in sim.checks(REPO, head) if c["app"]["id"] == sim.app_id]


# --- Pull requests ----------------------------------------------------------------------------


def test_a_pull_request_is_read_as_it_is_now(sim, bot, pull) -> None:
    read = bot.pulls.read(pull)

    assert (read.ref, read.open, read.fork, read.base_branch) == (pull, True, False, "main")
    assert read.head == head_of(sim, pull)
    assert read.author == "owner"
    assert pull in [p.ref for p in bot.pulls.open(REPO)]


def test_a_closed_pull_request_is_not_open(sim, bot, pull) -> None:
    sim.close(REPO, pull.number)

    assert not bot.pulls.read(pull).open
    assert pull not in [p.ref for p in bot.pulls.open(REPO)]


def test_a_fork_and_a_deleted_fork(sim, bot) -> None:
    pull = PullRef(REPO, sim.open_pull(REPO, {"a.py": "x\n"}, fork=True))
    assert bot.pulls.read(pull).head_repo == "stranger/app"

    sim.delete_fork(REPO, pull.number)

    read = bot.pulls.read(pull)
    assert (read.head_repo, read.fork) == ("", True)


def test_an_unknown_pull_request_is_gone(bot) -> None:
    with pytest.raises(Gone):
        bot.pulls.read(PullRef(REPO, 99_999))


def test_a_repository_without_the_app_is_gone(bot) -> None:
    with pytest.raises(Gone, match="not installed"):
        bot.pulls.read(PullRef("octo/other", 1))


# --- Comments ---------------------------------------------------------------------------------


def test_comments_are_read_over_all_pages_and_ours_are_known_by_the_app(sim, bot, pull) -> None:
    for number in range(120):
        sim.comment(REPO, pull.number, f"remark {number}")
    sim.comment(REPO, pull.number, "<!-- regreen attempt=9 -->", by=f"{sim.bot}x")
    mine = bot.comments.post(pull, "<!-- regreen attempt=1 -->")

    found = bot.comments.all(pull)

    assert len(found) == 122
    assert [c.id for c in found if c.mine] == [mine]


def test_a_comment_is_edited_in_place_and_reacted_to(sim, bot, pull) -> None:
    comment = bot.comments.post(pull, "working")
    asked = sim.comment(REPO, pull.number, "/regreen status")

    bot.comments.edit(pull, comment, "done")
    bot.comments.react(pull, asked, "eyes")
    bot.comments.react(pull, asked, "eyes")

    assert bot.comments.read(pull, comment).body == "done"
    (theirs,) = [c for c in sim.comments(REPO, pull.number) if c["id"] == asked]
    assert theirs["reactions"]["eyes"] == 1


@pytest.mark.parametrize("kind", [Kind.AFTER, Kind.CUT_AFTER, Kind.ANSWER, Kind.CUT])
def test_a_lost_answer_never_makes_two_comments(sim, bot, pull, kind: Kind) -> None:
    sim.fault(Fault("POST", r"/issues/\d+/comments$", kind=kind))

    comment = bot.comments.post(pull, f"attempt <!-- regreen key={kind.value} -->")

    assert [c["id"] for c in sim.comments(REPO, pull.number)] == [comment]


def test_a_comment_that_is_too_long_is_shortened(sim, bot, pull) -> None:
    bot.comments.post(pull, "x" * 80_000 + "\n<!-- regreen attempt=2 -->")

    (comment,) = sim.comments(REPO, pull.number)
    assert len(comment["body"]) == 65_536
    assert comment["body"].endswith("<!-- regreen attempt=2 -->")


def test_a_rate_limit_parks_the_call(sim, bot, pull) -> None:
    sim.fault(Fault("POST", r"/comments$", status=429, headers={"Retry-After": "42"}))

    with pytest.raises(TryLater) as parked:
        bot.comments.post(pull, "hello")

    assert parked.value.after_s == 42
    assert sim.comments(REPO, pull.number) == []


# --- Checks -----------------------------------------------------------------------------------


def test_a_failing_job_with_its_steps_and_log(sim, bot, pull) -> None:
    job = sim.fail_check(REPO, pull.number, "lint", "a.py:1:1: F401 unused\n")

    (check,) = bot.checks.at(REPO, head_of(sim, pull))

    assert (check.name, check.kind, check.state) == ("lint", CheckKind.JOB, CheckState.FAILED)
    assert check.id == job
    assert check.workflow_run
    assert check.workflow_path == ".github/workflows/ci.yml"
    assert check.failed_steps
    assert b"F401" in bot.checks.log(REPO, check)


def test_checks_are_read_over_all_pages_without_our_own(sim, bot, pull) -> None:
    head = head_of(sim, pull)
    for number in range(110):
        sim.finish_check(REPO, head, f"other {number}", "success")
        sim.status(REPO, head, f"ci/{number}", "failure")
    bot.checks.show(a_card(pull, head))

    found = bot.checks.at(REPO, head)

    assert len([c for c in found if c.kind is CheckKind.CHECK_RUN]) == 110
    assert len([c for c in found if c.kind is CheckKind.STATUS]) == 110
    assert {c.state for c in found} == {CheckState.PASSED, CheckState.FAILED}


def test_the_log_of_another_apps_check_is_what_it_says(sim, bot, pull) -> None:
    head = head_of(sim, pull)
    sim.finish_check(REPO, head, "cover", "failure", title="Coverage fell", summary="to 12 %")

    (check,) = bot.checks.at(REPO, head)

    assert check.summary == "Coverage fell"
    assert bot.checks.log(REPO, check) == b"Coverage fell\n\nto 12 %"


def test_failed_jobs_are_run_again(sim, bot, pull) -> None:
    sim.fail_check(REPO, pull.number, "flaky", "timeout\n", rerun="success")
    head = head_of(sim, pull)

    bot.checks.rerun(REPO, bot.checks.at(REPO, head))
    sim.wait_idle()
    bot.checks.rerun(REPO, bot.checks.at(REPO, head))

    assert [c.state for c in bot.checks.at(REPO, head)] == [CheckState.PASSED]
    reruns = [e for e in sim.effects() if e.path.endswith("/rerun-failed-jobs")]
    assert len(reruns) == 1


# --- Our check run ----------------------------------------------------------------------------


def test_one_check_run_goes_from_work_to_its_end(sim, bot, pull) -> None:
    head = head_of(sim, pull)

    bot.checks.show(a_card(pull, head, done=False))
    (working,) = ours(sim, head)
    bot.checks.show(a_card(pull, head, buttons=("fix", "rerun", "stop"), title="Mended"))
    (ended,) = ours(sim, head)

    assert (working["name"], working["status"]) == ("regreen", "in_progress")
    assert (ended["id"], ended["conclusion"]) == (working["id"], "neutral")
    assert ended["output"]["title"] == "Mended"
    for button in ("fix", "rerun", "stop"):
        sim.press(REPO, pull.number, button)


@pytest.mark.parametrize("name", sorted(BUTTONS))
def test_every_button_keeps_githubs_limits(sim, bot, pull, name: str) -> None:
    head = head_of(sim, pull)

    bot.checks.show(a_card(pull, head, buttons=(name,)))
    sim.press(REPO, pull.number, name)

    assert [action["identifier"] for action in actions(sim, head)] == [name]


def test_three_buttons_at_most_and_none_that_were_taken_back(sim, bot, pull) -> None:
    head = head_of(sim, pull)

    bot.checks.show(a_card(pull, head, buttons=("approve", "reject", "stop", "fix")))
    assert [action["label"] for action in actions(sim, head)] == ["Approve", "Reject", "Stop"]

    bot.checks.show(a_card(pull, head))
    assert actions(sim, head) == []


def actions(sim: Simulator, head: Sha) -> list[dict[str, str]]:
    """Return what our check run offers, which GitHub's API takes but never shows."""
    with sim.hub.state.lock:
        found = [c for c in sim.hub.state.checks.values() if c.suite.head_sha == head]
    (check,) = found
    return check.actions


@pytest.mark.parametrize("kind", [Kind.AFTER, Kind.CUT_AFTER, Kind.ANSWER, Kind.CUT])
def test_a_lost_answer_never_makes_two_check_runs(sim, bot, pull, kind: Kind) -> None:
    head = head_of(sim, pull)
    sim.fault(Fault("POST", CHECK_RUNS, kind=kind))

    bot.checks.show(a_card(pull, head))

    assert len(every_check(sim, head)) == 1


def every_check(sim: Simulator, head: Sha) -> list[int]:
    """List our check runs at a commit, also those that a newer one of the same name hides."""
    with sim.hub.state.lock:
        checks = sim.hub.state.checks.values()
        return [c.id for c in checks if c.suite.head_sha == head and c.name == "regreen"]


@pytest.mark.parametrize("lost", [None, Kind.AFTER, Kind.CUT_AFTER])
def test_annotations_go_in_batches_and_are_not_repeated(sim, bot, pull, lost) -> None:
    head = head_of(sim, pull)
    notes = tuple(Annotation("a.py", line, f"wrong {line}") for line in range(1, 121))
    if lost:
        sim.fault(Fault("PATCH", r"/check-runs/\d+$", kind=lost))

    bot.checks.show(a_card(pull, head, annotations=notes))
    bot.checks.show(a_card(pull, head, annotations=(*notes, Annotation("a.py", 0, "one more"))))

    (check,) = ours(sim, head)
    assert check["output"]["annotations_count"] == 121


def test_a_summary_is_cut_by_bytes_and_a_title_by_characters(sim, bot, pull) -> None:
    head = head_of(sim, pull)

    bot.checks.show(a_card(pull, head, title="é" * 300, summary="🟢" * 40_000))

    (check,) = ours(sim, head)
    assert len(check["output"]["title"]) == 255
    assert 65_000 < len(check["output"]["summary"].encode()) <= 65_535


def test_two_pull_requests_at_one_head_have_each_their_own(sim, bot) -> None:
    first = PullRef(REPO, sim.open_pull(REPO, {"a.py": "y\n"}))
    head = head_of(sim, first)
    sibling = PullRef(REPO, first.number + 1)

    bot.checks.show(a_card(first, head, title="first"))
    bot.checks.show(a_card(sibling, head, title="sibling"))
    bot.checks.show(a_card(first, head, title="first again"))

    with sim.hub.state.lock:
        found = [c for c in sim.hub.state.checks.values() if c.suite.head_sha == head]
    assert {c.external_id: c.title for c in found} == {
        str(first): "first again",
        str(sibling): "sibling",
    }


# --- Repositories and tokens ------------------------------------------------------------------


def test_files_at_a_commit(sim, bot, pull) -> None:
    head = head_of(sim, pull)

    assert bot.repos.file(REPO, "a.py", head) == "import os\n"
    assert bot.repos.file(REPO, "a.py", "main") == "print('hello')\n"
    assert bot.repos.file(REPO, "none.toml", head) is None
    assert bot.repos.file(REPO, "large.txt", head) == "0123456789" * 120_000


@pytest.mark.parametrize(
    ("login", "permission"), [("owner", "admin"), ("wanda", "write"), ("nobody-at-all", "none")]
)
def test_what_people_may_do(bot, login: str, permission: str) -> None:
    assert bot.repos.permission(REPO, login) == permission


@pytest.mark.parametrize(
    "branch", ["feature/x", "heads/main", "fix/#12%2F+é&ref=main;v", 'it\'s"a"']
)
def test_the_tip_of_a_branch(sim, bot, pull, branch: str) -> None:
    head = head_of(sim, pull)
    sim.move_branch(REPO, branch, head)

    assert bot.repos.tip(REPO, branch) == head
    assert bot.repos.tip(REPO, "main") == bot.pulls.read(pull).base != head


@pytest.mark.parametrize("branch", ["none", "only", "only/one/more", "refs/heads/main"])
def test_a_branch_that_is_not_there_is_gone(sim, bot, pull, branch: str) -> None:
    sim.move_branch(REPO, "only/one", head_of(sim, pull))

    with pytest.raises(Gone, match=f"{branch}.*404"):
        bot.repos.tip(REPO, branch)


@pytest.mark.parametrize(("write", "level"), [(True, "write"), (False, "read")])
def test_git_gets_a_token_for_one_repository_and_one_use(
    sim, bot, *, write: bool, level: str
) -> None:
    remote = bot.repos.remote(REPO, write=write)

    issued = sim.hub.state.tokens[remote.token]
    assert issued.permissions == {"contents": level, "metadata": "read"}
    assert len(issued.repos) == 1
    assert len(remote.token) == 520
    assert remote.url.startswith(sim.url)


def test_every_installed_repository_is_listed(bot) -> None:
    assert bot.repos.installed() == [REPO]


def test_the_app_has_what_it_needs(bot) -> None:
    who = bot.whoami()

    assert (who.missing_permissions, who.missing_events) == ({}, ())
    assert bot.app_slug() == "regreen"


def test_tokens_that_die_mid_way_are_renewed(sim, bot, pull) -> None:
    bot.comments.post(pull, "before")
    assert sim.expire_tokens() > 0

    bot.comments.post(pull, "after")

    assert [c["body"] for c in sim.comments(REPO, pull.number)] == ["before", "after"]


def test_enterprise_servers_have_a_path_before_everything(sim, pull) -> None:
    enterprise = connected_to(sim, "/api/v3")
    sim.fail_check(REPO, pull.number, "lint", "a.py:1:1: F401 unused\n")

    (check,) = enterprise.checks.at(REPO, head_of(sim, pull))

    assert b"F401" in enterprise.checks.log(REPO, check)
    enterprise.close()


def test_threads_share_one_token(source: Path) -> None:
    options = SimOptions(repos={REPO: source}, run_workflows=False)
    with Simulator(options) as sim, ThreadPoolExecutor(8) as threads:
        pull = PullRef(REPO, sim.open_pull(REPO, {"a.py": "z\n"}))
        bot = connected_to(sim)

        read = list(threads.map(lambda _: bot.pulls.read(pull).head, range(16)))
        posted = list(threads.map(lambda n: bot.comments.post(pull, f"{n}"), range(8)))
        bot.close()

        assert set(read) == {sim.head(REPO, pull.number)}
        assert len(set(posted)) == 8
        assert len(sim.hub.state.tokens) == 1


def test_short_lives_and_missing_permissions(source: Path) -> None:
    permissions = {
        "actions": "write",
        "contents": "write",
        "issues": "write",
        "pull_requests": "write",
    }
    options = SimOptions(
        repos={REPO: source},
        run_workflows=False,
        permissions=permissions,
        limits=Limits(log_link_s=0),
    )
    with Simulator(options) as sim:
        bot = connected_to(sim)

        with pytest.raises(NeedsPerson, match="Accept the App's new permissions"):
            bot.pulls.open(REPO)
        assert bot.whoami().missing_permissions == {
            "checks": "write",
            "metadata": "read",
            "statuses": "read",
        }
        bot.close()


def test_tokens_and_log_links_that_hardly_live(source: Path) -> None:
    limits = Limits(token_s=60, log_link_s=0)
    with Simulator(SimOptions({REPO: source}, run_workflows=False, limits=limits)) as sim:
        bot = connected_to(sim)
        pull = PullRef(REPO, sim.open_pull(REPO, {"a.py": "z\n"}))
        sim.fail_check(REPO, pull.number, "lint", "boom\n")

        (check,) = bot.checks.at(REPO, head_of(sim, pull))
        with pytest.raises(Gone):
            bot.checks.log(REPO, check)
        bot.close()

        assert len(sim.hub.state.tokens) == 1


# --- GitHub's own description -----------------------------------------------------------------


def checker_of(shared: str) -> tuple[ModuleType, Any]:
    """Load the checker that lies beside the project, and GitHub's description with it."""
    place = Path(shared) / "conformance"
    spec = importlib.util.spec_from_file_location("conform", place / "conform.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing its files to Python
        return module, module.Conform(place / "extract")


def test_what_we_send_is_in_githubs_description(source: Path) -> None:
    shared = os.environ.get("REGREEN_SHARED")  # noqa: TID251 - where the checker lies
    if not shared:
        pytest.skip("REGREEN_SHARED is not set: no description of GitHub to check against")
    checker, rules = checker_of(shared)
    seen = []

    def wrap(app):
        seen.append(checker.ConformMiddleware(app, rules))
        return seen[0]

    with Simulator(SimOptions({REPO: source}, run_workflows=False), wrap=wrap) as sim:
        bot = connected_to(sim)
        pull = PullRef(REPO, sim.open_pull(REPO, {"a.py": "z\n"}))
        head = head_of(sim, pull)
        sim.fail_check(REPO, pull.number, "lint", "boom\n")
        sim.finish_check(REPO, head, "cover", "failure", title="Coverage")
        notes = tuple(Annotation("a.py", line, f"wrong {line}") for line in range(1, 61))
        bot.checks.show(a_card(pull, head, done=False, annotations=notes))
        bot.checks.show(a_card(pull, head, buttons=tuple(BUTTONS)[-3:], annotations=notes))
        found = bot.checks.at(REPO, head)
        for check in found:
            bot.checks.log(REPO, check)
        bot.checks.rerun(REPO, found)
        comment = bot.comments.post(pull, "hello")
        bot.comments.edit(pull, comment, "changed")
        bot.comments.react(pull, comment, "eyes")
        bot.comments.all(pull)
        bot.pulls.open(REPO)
        bot.repos.file(REPO, "a.py", head)
        bot.repos.permission(REPO, "owner")
        bot.repos.tip(REPO, "main")
        bot.repos.remote(REPO, write=True)
        bot.repos.installed()
        bot.whoami()
        bot.close()

    assert seen[0].bad == []
    assert len(seen[0].seen) > 20
