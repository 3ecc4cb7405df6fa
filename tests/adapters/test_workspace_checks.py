"""The gatekeeper: which commands run, and what its artifact says."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.config.schema import SandboxConfig
from bot.domain.errors import NeedsPerson
from bot.domain.values import Command, CommandResult, Verification
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.sandbox import NoSandbox
from tests.support.bubblewrap import skip_without_bubblewrap

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
RESULT = CommandResult(
    name="test",
    command="pytest",
    exit_code=1,
    passed=False,
    allow_fail=False,
    seconds=1.5,
    output="x" * 9000 + "the end",
    timed_out=True,
)
REJECTED = Verification(
    approved=False,
    reason="`test` failed",
    results=(RESULT,),
    diff_fingerprint="f00",
    sandbox="none",
)


@pytest.fixture
def gatekeeper(tmp_path) -> LocalGatekeeper:
    sandbox = NoSandbox(SandboxConfig(), f"{Path(sys.executable).parent}:/usr/bin:/bin")
    return LocalGatekeeper(sandbox, tmp_path / "artifacts")


def never() -> bool:
    return False


def test_commands_run_in_order_up_to_the_first_failure(gatekeeper, tmp_path):
    commands = [
        Command("lint", "echo fine > seen"),
        Command("format", "exit 2", allow_fail=True),
        Command("test", "cat seen; exit 3"),
        Command("build", "touch never"),
    ]
    results = gatekeeper.verify(tmp_path, commands, never)
    told = [(result.name, result.exit_code, result.passed) for result in results]
    assert told == [("lint", 0, True), ("format", 2, False), ("test", 3, False)]
    assert results[-1].output == "fine\n"
    assert not (tmp_path / "never").exists()


def test_a_command_has_its_own_time(gatekeeper, tmp_path):
    commands = [Command("slow", "echo begun; sleep 300", timeout_s=0.5)]
    (result,) = gatekeeper.verify(tmp_path, commands, never)
    assert (result.passed, result.timed_out) == (False, True)
    assert result.output.startswith("begun")


def test_a_stopped_verification_runs_nothing_more(gatekeeper, tmp_path):
    commands = [Command("a", "touch begun; sleep 300"), Command("b", "true")]
    (result,) = gatekeeper.verify(tmp_path, commands, (tmp_path / "begun").exists)
    assert not result.passed


def written(gatekeeper, run, verification, at) -> Path:
    return Path(gatekeeper._root, gatekeeper.record(run, verification, at))


def test_the_artifact_has_the_known_fields(gatekeeper, tmp_path):
    path = written(gatekeeper, "o/r 7", REJECTED, AT)
    expected = tmp_path / "artifacts/features/o_r_7/gatekeeper/20260102_030405_000678.json"
    assert path == expected
    text = path.read_text()
    content = json.loads(text)
    assert text == json.dumps(content, indent=2, sort_keys=True) + "\n"
    assert content == {
        "approved": False,
        "reason": "`test` failed",
        "verification": {
            "test": {
                "success": False,
                "passed": False,
                "exit_code": 1,
                "command": "pytest",
                "output": RESULT.output,
                "errors": RESULT.output[-4000:],
                "allow_fail": False,
                "seconds": 1.5,
                "resources": {},
                "timeout": True,
            }
        },
        "order": ["test"],
        "seconds": 1.5,
        "stage": "gatekeeper",
        "timestamp": "2026-01-02T03:04:05.000678+00:00",
        "diff_fingerprint": "f00",
        "sandbox": {"driver": "none", "memory_mb": 0, "network": "none", "processes": 0},
    }


def test_a_verification_that_ran_nothing_is_recorded_as_well(gatekeeper):
    nothing = Verification(approved=False, reason="the patch does not apply")
    content = json.loads(written(gatekeeper, "r", nothing, AT).read_text())
    assert (content["verification"], content["reason"]) == ({}, "the patch does not apply")


def test_recording_twice_leaves_one_file(gatekeeper):
    first = written(gatekeeper, "r", REJECTED, AT)
    second = written(gatekeeper, "r", REJECTED, AT)
    assert list(first.parent.iterdir()) == [second]


@pytest.mark.parametrize("run", ["../../etc", "/etc", "..", ""])
def test_a_run_cannot_name_another_folder(gatekeeper, tmp_path, run):
    path = written(gatekeeper, run, REJECTED, AT)
    assert path.parent.parent.parent == tmp_path / "artifacts" / "features"


FULL = """
import pathlib, sys
from datetime import UTC, datetime
from bot.config.schema import SandboxConfig
from bot.domain.errors import TryLater
from bot.domain.values import Verification
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.sandbox import NoSandbox

root = pathlib.Path(sys.argv[1])
gatekeeper = LocalGatekeeper(NoSandbox(SandboxConfig(), ""), root)
try:
    gatekeeper.record("r", Verification(False, "x" * 1_000_000), datetime.now(UTC))
except TryLater as error:
    print(error, [path.name for path in root.rglob("*") if path.is_file()])
"""


def test_a_full_disk_is_tried_later_and_leaves_no_half_file(tmp_path):
    skip_without_bubblewrap()
    bwrap = shutil.which("bwrap")
    assert bwrap is not None
    disk = ("--dev-bind", "/", "/", "--size", "65536", "--tmpfs", str(tmp_path))
    command = [bwrap, *disk, sys.executable, "-c", FULL, str(tmp_path)]
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith("The disk is full"), ended.stderr
    assert ended.stdout.endswith("cannot be written. []\n")


def test_a_folder_that_cannot_be_made_needs_a_person(tmp_path):
    (tmp_path / "artifacts").write_text("a file")
    gatekeeper = LocalGatekeeper(NoSandbox(SandboxConfig(), ""), tmp_path / "artifacts")
    with pytest.raises(NeedsPerson, match="cannot be written"):
        gatekeeper.record("r", REJECTED, AT)
