"""The gatekeeper: which commands run, and what its artifact says."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from bot.config.schema import SandboxConfig
from bot.domain.errors import NeedsPerson
from bot.domain.values import (
    Command,
    CommandResult,
    Review,
    ReviewFinding,
    Stage,
    Verification,
)
from bot.workspace.artifacts import HEAD, TAIL, Artifact, Entry, Resources, SandboxFacts
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


@pytest.mark.parametrize("name", ["slow", "setup"])
def test_a_command_has_its_own_time(gatekeeper, tmp_path, name):
    commands = [Command(name, "echo begun; sleep 300", timeout_s=0.5)]
    (result,) = gatekeeper.verify(tmp_path, commands, never)
    assert (result.passed, result.timed_out, result.note) == (False, True, "out of time")
    assert result.output.startswith("begun")
    assert result.cpu_s is not None


def test_a_stopped_verification_runs_nothing_more(gatekeeper, tmp_path):
    commands = [Command("a", "touch begun; sleep 300"), Command("b", "true")]
    (result,) = gatekeeper.verify(tmp_path, commands, (tmp_path / "begun").exists)
    assert not result.passed


def test_a_failing_test_alone_ends_the_verification(gatekeeper, tmp_path):
    commands = [
        Command("test: failing test", "echo 1 failed; exit 1", part_of="test", telling=(1,)),
        Command("test", "touch never"),
    ]
    (result,) = gatekeeper.verify(tmp_path, commands, never)
    assert (result.passed, result.allow_fail, result.part_of) == (False, False, "test")
    assert not (tmp_path / "never").exists()


def test_a_test_that_is_not_there_any_more_decides_nothing(gatekeeper, tmp_path):
    commands = [
        Command("test: failing test", "exit 5", part_of="test", telling=(1,)),
        Command("test", "true"),
    ]
    part, whole = gatekeeper.verify(tmp_path, commands, never)
    assert (part.passed, part.allow_fail) == (False, True)
    assert part.note == "this tells nothing: test decides"
    assert whole.passed


def test_a_part_that_hangs_decides(gatekeeper, tmp_path):
    part = Command("alone", "sleep 300", timeout_s=0.3, part_of="test", telling=(1,))
    results = gatekeeper.verify(tmp_path, [part, Command("test", "true")], never)
    assert [(one.timed_out, one.allow_fail) for one in results] == [(True, False)]


def test_what_was_used_is_measured(gatekeeper, tmp_path):
    busy = "import time; x = bytearray(60_000_000); e = time.monotonic() + 1.5\n"
    busy += "while time.monotonic() < e: pass"
    command = Command("large", f"{sys.executable} -c '{busy}'")
    result = gatekeeper.run(tmp_path, command, never)
    assert 60 < result.max_rss_mb < 150
    assert 0 < result.cpu_s < result.seconds


def test_a_command_can_be_run_by_itself_in_any_tree(gatekeeper, tmp_path):
    for tree in (tmp_path / "before", tmp_path / "after"):
        tree.mkdir()
        (tree / "named").write_text(tree.name)
        result = gatekeeper.run(tree, Command("collect", "cat named"), never)
        assert (result.passed, result.output) == (True, tree.name)


def test_of_a_long_output_the_head_and_the_tail_are_kept(gatekeeper, tmp_path):
    command = Command("loud", "echo begin; seq 1 40000; echo end; exit 1")
    result = gatekeeper.run(tmp_path, command, never)
    assert result.output.startswith("begin\n1\n")
    assert result.output.endswith("40000\nend\n")
    assert "characters left out" in result.output
    assert len(result.output) < HEAD + TAIL + 100


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
        "weakened": [],
    }


def test_a_verification_that_ran_nothing_is_recorded_as_well(gatekeeper):
    nothing = Verification(approved=False, reason="the patch does not apply")
    content = json.loads(written(gatekeeper, "r", nothing, AT).read_text())
    assert (content["verification"], content["reason"]) == ({}, "the patch does not apply")


def test_the_artifact_keeps_to_its_shape(gatekeeper):
    full = msgspec.structs.replace(
        REJECTED,
        stage=Stage.CI,
        review=Review(
            approved=False,
            skipped=False,
            reason="no",
            mode="gate",
            engines=("judy",),
            findings=(ReviewFinding("high", "wrong", "a.py"),),
        ),
        merge_commit="1" * 40,
        evidence=(("silent", "no check ran"),),
        test_results={"before": {"collected": 3}, "after": {"collected": 2}},
    )
    content = written(gatekeeper, "r", full, AT).read_bytes()
    read = msgspec.json.decode(content, type=Artifact, strict=True)
    assert (read.stage, read.review, read.merge_commit) == ("ci", full.review, "1" * 40)
    assert read.evidence == {"silent": "no check ran"}
    assert isinstance(read.test_results, dict)
    assert read.test_results["after"] == {"collected": 2}
    raw = json.loads(content)["review"]
    assert raw["findings"] == [{"severity": "high", "message": "wrong", "file": "a.py"}]


def test_each_field_of_the_artifact_is_documented():
    text = (Path(__file__).parents[2] / "docs/gatekeeper.md").read_text()
    for shape in (Artifact, Entry, Resources, SandboxFacts):
        for field in shape.__struct_fields__:
            assert f"`{field}`" in text, field


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
