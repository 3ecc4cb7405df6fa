"""Logs and artifacts are kept as long as the limits say."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bot.cli import app
from bot.config import load
from bot.config.schema import RetentionConfig
from bot.domain.values import Verification
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.retention import Kept, Retention, surplus
from tests.support.sandboxes import PlainSandbox

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
AT = NOW.timestamp()
DAY, MB = 86400, 1 << 20
NONE = RetentionConfig(0, 0, 0)
REJECTED = Verification(approved=False, reason="no")


def aged(*days: float, size: int = 10) -> list[Kept]:
    return [Kept(f"{day} days", size, AT - day * DAY) for day in days]


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        pytest.param(NONE, [], id="no limit"),
        pytest.param(RetentionConfig(7, 0, 0), ["9 days", "8 days"], id="by age"),
        pytest.param(RetentionConfig(0, 2, 0), ["9 days", "8 days", "2 days"], id="by number"),
        pytest.param(RetentionConfig(0, 0, 3), ["9 days", "8 days"], id="by size"),
        pytest.param(
            RetentionConfig(7, 1, 200), ["9 days", "8 days", "2 days", "1 days"], id="all"
        ),
        pytest.param(
            RetentionConfig(0, 0, 1), ["9 days", "8 days", "2 days", "1 days"], id="small"
        ),
    ],
)
def test_what_is_over_a_limit_goes_the_oldest_first(limits, gone):
    files = aged(8, 1, 9, 2, 0, size=MB)
    assert [one.path for one in surplus(files, limits, AT)] == gone


FILES = st.lists(
    st.builds(
        Kept,
        path=st.uuids().map(str),
        size=st.integers(0, 3 * MB),
        written=st.floats(AT - 20 * DAY, AT),
    )
)
LIMITS = st.builds(RetentionConfig, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


@given(files=FILES, limits=LIMITS)
def test_what_is_left_is_within_the_limits_and_newer_than_what_goes(files, limits):
    out = surplus(files, limits, AT)
    left = [one for one in files if one not in out]
    settled = [one for one in left if AT - one.written > 3600]
    assert all(a.written <= b.written for a in out for b in left)
    if settled:
        assert not limits.keep_files or len(left) <= limits.keep_files
        assert not limits.max_total_mb or sum(one.size for one in left) <= limits.max_total_mb * MB
        assert not limits.keep_days or AT - settled[0].written <= limits.keep_days * DAY
    assert surplus(left, limits, AT) == ()


def write(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" * 100)
    os.utime(path, (AT - days * DAY, AT - days * DAY))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for days in (1, 9):
        write(tmp_path / "logs" / f"{days}.log", days)
        write(tmp_path / "logs" / "deep" / f"{days}.log.1", days)
        write(tmp_path / "logs" / f"{days}.txt", days)
        write(tmp_path / "features" / f"run{days}" / "gatekeeper" / f"{days}.json", days)
        write(tmp_path / "features" / f"run{days}" / "other" / f"{days}.json", days)
        write(tmp_path / "mirrors" / "o" / "r.git" / f"{days}.log", days)
    write(tmp_path / "regreen.log", 9)
    return tmp_path


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


LOGS = {"logs/9.log", "logs/deep/9.log.1"}
ARTIFACTS = {"features/run9/gatekeeper/9.json"}


@pytest.mark.parametrize(("artifacts", "gone"), [(False, LOGS), (True, LOGS | ARTIFACTS)])
def test_only_logs_and_artifacts_go(data, artifacts, gone):
    before = names(data)
    done = Retention(data, RetentionConfig).prune(NOW, artifacts=artifacts)
    assert before - names(data) == gone
    assert {
        Path(one.path).relative_to(data).as_posix() for kind in done for one in kind.removed
    } == gone
    assert (done[0].kind, done[0].files, done[0].size) == ("logs", 2, 200)


def test_a_run_whose_artifacts_are_gone_leaves_no_empty_folder(data):
    (data / "features" / "run9" / "other" / "9.json").unlink()
    (data / "features" / "run9" / "other").rmdir()
    Retention(data, RetentionConfig).prune(NOW, artifacts=True)
    assert sorted(path.name for path in (data / "features").iterdir()) == ["run1"]


def test_a_dry_run_removes_nothing(data):
    before = names(data)
    done = Retention(data, RetentionConfig).prune(NOW, artifacts=True, dry=True)
    assert names(data) == before
    assert sum(len(kind.removed) for kind in done) == 3


def test_no_link_leads_to_a_file_that_is_not_ours(data, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    write(outside / "gatekeeper" / "old.json", 90)
    write(outside / "old.log", 90)
    (data / "logs" / "link").symlink_to(outside)
    (data / "logs" / "old.log").symlink_to(outside / "old.log")
    (data / "features" / "link").symlink_to(outside)
    Retention(data, RetentionConfig).prune(NOW, artifacts=True)
    assert names(outside) == {"gatekeeper/old.json", "old.log"}
    assert (data / "logs" / "old.log").is_symlink()


def test_a_folder_of_logs_that_is_a_link_is_left_alone(tmp_path):
    write(tmp_path / "outside" / "old.log", 90)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "logs").symlink_to(tmp_path / "outside")
    Retention(tmp_path / "data", RetentionConfig).prune(NOW, artifacts=True)
    assert names(tmp_path / "outside") == {"old.log"}


def test_a_round_prunes_once_an_hour_by_the_limits_in_force(data):
    limits = [RetentionConfig(prune_artifacts=True)]
    retention = Retention(data, lambda: limits[0])
    assert [len(kind.removed) for kind in retention.round(NOW)] == [2, 1]
    limits[0] = RetentionConfig(keep_files=1)
    assert retention.round(NOW.replace(minute=59)) == ()
    assert [len(kind.removed) for kind in retention.round(NOW.replace(hour=13))] == [1]


def test_what_the_gatekeeper_records_is_what_is_pruned(tmp_path):
    path = LocalGatekeeper(PlainSandbox(), tmp_path).record("r", REJECTED, NOW)
    os.utime(tmp_path / path, (AT - 9 * DAY, AT - 9 * DAY))
    (_, artifacts) = Retention(tmp_path, RetentionConfig).prune(NOW, artifacts=True)
    assert [one.path for one in artifacts.removed] == [str(tmp_path / path)]


# --- The settings and the command -------------------------------------------------------------


def configured(tmp_path: Path, text: str, environ: Mapping[str, str]) -> RetentionConfig:
    (tmp_path / "llm_config.toml").write_text(text)
    return load.configuration(tmp_path / "llm_config.toml", environ).retention


def test_the_file_and_the_variables_of_the_seed_set_the_limits(tmp_path):
    assert configured(tmp_path, "", {}) == RetentionConfig(7, 200, 200, prune_artifacts=False)
    text = "[retention]\nkeep_days = 1\nkeep_files = 2\nmax_total_mb = 3\nprune_artifacts = true\n"
    assert configured(tmp_path, text, {}) == RetentionConfig(1, 2, 3, prune_artifacts=True)
    variables = {
        "AUTOCODER_LOGS_KEEP_DAYS": "4",
        "AUTOCODER_LOGS_KEEP_FILES": "5",
        "AUTOCODER_LOGS_MAX_TOTAL_MB": "6",
        "AUTOCODER_LOGS_PRUNE_ARTIFACTS": "0",
    }
    assert configured(tmp_path, text, variables) == RetentionConfig(4, 5, 6, prune_artifacts=False)


def test_the_command_tells_what_it_does(data, monkeypatch):
    monkeypatch.chdir(data)
    monkeypatch.setenv("REGREEN_DATA_DIR", str(data))
    before = names(data)
    dry = CliRunner().invoke(app, ["prune", "--include-artifacts", "--dry-run"])
    assert (dry.exit_code, names(data)) == (0, before)
    assert f"{data}/features/run9/gatekeeper/9.json" in dry.output.splitlines()
    assert "would be removed" in dry.output
    done = CliRunner().invoke(app, ["prune"])
    assert done.exit_code == 0
    assert done.output.splitlines() == ["logs: 4 removed (0.0 MB), 0 kept (0.0 MB)"]
    assert CliRunner().invoke(app, ["prune", "--include-artifacts"]).exit_code == 0
    assert not {name for name in names(data) if "gatekeeper" in name}
