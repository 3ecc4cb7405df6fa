"""GitHub, the database or a fellow server goes away in the middle: the run waits and ends right."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from bot.simulator.faults import Fault
from bot.simulator.model import ScriptedModel
from bot.simulator.stories import REPO
from tests.support.ends import LINT, MODEL, a_shop, differences, end_of, ended_green, undisturbed
from tests.support.postgres import postgres, postgres_url  # noqa: F401 - fixtures
from tests.support.running import CONFIG, Regreen, running

RESCUE = CONFIG.replace("settle_s = 0.2", "settle_s = 0.2\nrescue_s = 1")


def test_while_github_is_down_the_run_waits_and_then_ends_the_same(tmp_path):
    with (
        a_shop(tmp_path / "down") as github,
        ScriptedModel() as model,
        running(tmp_path / "server", github, model=model) as server,
    ):
        number = LINT.tell(github, model)
        red = github.head(REPO, number)
        github.wait_for(lambda: github.head(REPO, number) != red)
        down = Fault("*", ".*", times=1_000_000, headers={"Retry-After": "1"})
        github.fault(down)
        server.wait_for(lambda: '"waiting"' in server.log, 60, "the run to wait")
        down.times = 0
        server.wait_for(lambda: ended_green(github, server, number), 120, "green")
        server.settle()
        assert differences(end_of(github, server, number), undisturbed(LINT)) == []


def test_postgresql_may_be_restarted_in_the_middle(tmp_path, postgres, postgres_url):  # noqa: F811
    with (
        a_shop(tmp_path / "restarted") as github,
        ScriptedModel() as model,
        running(
            tmp_path / "server", github, model=model, config=RESCUE, database_url=postgres_url
        ) as server,
    ):
        number = LINT.tell(github, model)
        github.wait_for(lambda: bool(github.comments(REPO, number)))
        postgres.stop()
        try:
            server.wait_for(lambda: "the database" in server.log, 30, "the loss to be noticed")
        finally:
            postgres.start()
        server.wait_for(lambda: ended_green(github, server, number), 120, "green")
        server.settle()
        assert differences(end_of(github, server, number), undisturbed(LINT)) == []


def test_a_killed_server_s_work_is_done_by_the_other(tmp_path, postgres_url):  # noqa: F811
    """Both run the same plan: whoever has the backend at work first dies, for good."""
    ledger = tmp_path / "deaths"
    program = ("tests.support.victim", str(ledger), "--once", "backends.run:before")
    with a_shop(tmp_path / "two") as github, ScriptedModel() as model, ExitStack() as stack:
        servers = [
            Regreen(
                tmp_path / name, github, model, RESCUE, database_url=postgres_url, program=program
            )
            for name in ("one", "other")
        ]
        for server in servers:
            stack.callback(server.stop)
            server.start()
        number = MODEL.tell(github, model)
        github.wait_for(lambda: any(not alive(server) for server in servers), 60)
        [left] = [server for server in servers if alive(server)]
        github.set_webhook(f"{left.url}/webhooks/github")
        left.wait_for(lambda: ended_green(github, left, number), 120, "green")
        left.settle()
        end = end_of(github, left, number)
    assert len(ledger.read_text().splitlines()) == 1
    assert differences(end, undisturbed(MODEL)) == []


def test_one_process_takes_in_and_another_works(tmp_path, postgres_url):  # noqa: F811
    """The process that only takes in needs no sandbox, and goes on while no worker is there."""
    serve = ("bot", "serve", "--log-format", "json", "--role")
    with a_shop(tmp_path / "apart") as github, ScriptedModel() as model, ExitStack() as stack:
        worker, web = (
            Regreen(
                tmp_path / role, github, model, database_url=postgres_url, program=(*serve, role)
            )
            for role in ("worker", "web")
        )
        for server in (worker, web):  # the last one started gets the deliveries
            stack.callback(server.stop)
        web.start()
        number = LINT.tell(github, model)
        github.wait_idle()
        assert web.rows("SELECT 1 FROM deliveries WHERE state = 'new' LIMIT 1")
        worker.start()
        github.set_webhook(f"{web.url}/webhooks/github")
        web.wait_for(lambda: ended_green(github, web, number), 60, "green")
        web.settle()
        assert differences(end_of(github, web, number), undisturbed(LINT)) == []
        assert '"pass_ended"' in worker.log
        assert '"pass_ended"' not in web.log


def alive(server: Regreen) -> bool:
    return server.process is not None and server.process.poll() is None


def test_a_second_server_on_the_same_sqlite_file_says_why_it_does_not_start(tmp_path):
    with a_shop(tmp_path) as github, running(tmp_path / "server", github) as first:
        second = Regreen(tmp_path / "second", github, extra={"REGREEN_DATA_DIR": str(first.data)})
        second.folder.mkdir()
        ended = subprocess.run(
            [sys.executable, "-m", *second.program],
            check=False,
            env=second.environ(),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert first.ready()
    assert ended.returncode not in (0, -9)
    assert "is in use by another Regreen server" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Traceback" not in first.log  # nor when it was stopped
