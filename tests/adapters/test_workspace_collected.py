# ruff: noqa: E501 (what runners print is quoted whole)
"""Which tests a tree has, told by the project's own runners in the real sandbox."""

import json
import shutil
from pathlib import Path

import pytest

from bot.config.schema import SandboxConfig
from bot.domain.values import Command, Counted
from bot.repair.counted import fewer
from bot.workspace import listings
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.collected import Collector
from bot.workspace.sandbox import Bubblewrap, NoSandbox
from bot.workspace.toolpath import host_path
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.sandboxes import PlainSandbox

TESTS = """\
import os
import unittest

import pytest


def test_a_sum():
    assert 1 + 1 == 2


@pytest.mark.skipif(os.sep == "/", reason="not here")
def test_skipped():
    raise AssertionError


@pytest.mark.skipif(os.sep == "?", reason="elsewhere")
@pytest.mark.parametrize("number", [1, 2])
def test_each(number):
    with pytest.raises(ZeroDivisionError):
        number / 0


class Old(unittest.TestCase):
    def test_old(self):
        self.assertEqual(1, 1)

    @unittest.expectedFailure
    def test_failing(self):
        self.fail()
"""


@pytest.fixture
def collector() -> Collector:
    skip_without_bubblewrap()
    return Collector(Bubblewrap(SandboxConfig(), f"{TOOLS}:{host_path()}"))


def never() -> bool:
    return False


def put(tree: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    return tree


def counted(collector: Collector, tree: Path, command: str, *, ran: bool = False):
    found = collector.tests(tree, [Command("test", command)], never, ran=ran)
    return [(one.id, one.skipped, one.asserts) for one in found]


@pytest.mark.parametrize("command", ["python -m pytest -q", "set -e\nfalse\ncd . && pytest -x"])
def test_pytest_tells(collector, tmp_path, command):
    put(tmp_path, {"tests/test_all.py": TESTS})
    assert counted(collector, tmp_path, command) == [
        ("tests/test_all.py::Old::test_failing", False, 1),
        ("tests/test_all.py::Old::test_old", False, 1),
        ("tests/test_all.py::test_a_sum", False, 1),
        ("tests/test_all.py::test_each[1]", False, 1),
        ("tests/test_all.py::test_each[2]", False, 1),
        ("tests/test_all.py::test_skipped", True, 0),
    ]


def test_unittest_tells(collector, tmp_path):
    text = "import unittest\n\n\nclass Old" + TESTS.split("class Old", 1)[1]
    skipped = "\n\n@unittest.skip('later')\nclass Later(unittest.TestCase):\n    def test_it(self):\n        pass\n"
    put(tmp_path, {"tests/test_all.py": text + skipped, "tests/test_bad.py": "import nothing_here"})
    assert counted(collector, tmp_path, "python -B -m unittest discover -s tests") == [
        ("test_all.Later.test_it", True, 0),
        ("test_all.Old.test_failing", True, 1),
        ("test_all.Old.test_old", False, 1),
    ]


def test_a_hook_that_deselects_is_seen(collector, tmp_path):
    put(tmp_path, {"tests/test_all.py": TESTS})
    command = [Command("test", "pytest")]
    before = collector.tests(tmp_path, command, never, ran=False)
    put(tmp_path, {"widgets.py": "", "conftest.py": HOOK})
    after = collector.tests(tmp_path, command, never, ran=True)
    assert fewer(before, after) == (
        "1 test is not collected any more: tests/test_all.py::test_a_sum",
    )


HOOK = """\
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if item.name != "test_a_sum"]
"""


def test_an_answer_is_not_read_through_a_link(collector, tmp_path):
    (tmp_path / "outside.jsonl").write_text(json.dumps({"id": "secret"}))
    tree = put(tmp_path / "tree", {"test_a.py": "def test_a(): pass\n"})
    command = f"ln -s {tmp_path}/outside.jsonl $REGREEN_TESTS/counted.jsonl; pytest"
    assert counted(collector, tree, command) == []


def test_an_answer_is_not_read_from_another_folder(tmp_path):
    """With its own home the listing may put a link where our folder was."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/counted.jsonl").write_text(json.dumps({"id": "secret"}))
    tree = put(tmp_path / "tree", {"test_a.py": "def test_a(): pass\n"})
    collector = Collector(NoSandbox(SandboxConfig(driver="none"), f"{TOOLS}:{host_path()}"))
    swap = f"rm -r $REGREEN_TESTS; ln -s {tmp_path}/outside $REGREEN_TESTS; true || pytest"
    assert counted(collector, tree, swap) == []


def test_what_a_set_up_puts_in_its_home_is_there(tmp_path):
    skip_without_bubblewrap()
    sandbox = Bubblewrap(SandboxConfig(), f"{TOOLS}:{host_path()}")
    gatekeeper = LocalGatekeeper(sandbox, tmp_path / "data")
    setup = "mkdir ~/lib && echo 'SUM = 2' > ~/lib/installed.py"
    proof = [
        Command("setup", setup),
        Command("test", "PYTHONPATH=~/lib:$PYTHONPATH python -m pytest -q"),
    ]
    tests = "import installed\n\n\ndef test_a():\n    assert installed.SUM == 2\n"
    tree = put(tmp_path / "tree", {"test_a.py": tests})
    for ran in (False, True):
        found = gatekeeper.tests(tree, proof, never, ran=ran)
        assert found == (Counted("test_a.py::test_a", asserts=1),)


def test_reports_that_lie_there_need_no_set_up(tmp_path):
    sandbox = PlainSandbox()
    gatekeeper = LocalGatekeeper(sandbox, tmp_path / "data")
    proof = [Command("setup", "exit 1"), Command("test", "mvn test")]
    tree = put(tmp_path / "tree", {"target/surefire-reports/TEST-a.xml": REPORT})
    assert len(gatekeeper.tests(tree, proof, never, ran=True)) == 2
    assert sandbox.ran == []


def test_rust_tells(collector, tmp_path):
    if shutil.which("cargo", path=host_path()) is None:
        pytest.skip("cargo is not installed")
    put(
        tmp_path,
        {
            "Cargo.toml": '[package]\nname = "widgets"\nversion = "0.1.0"\nedition = "2021"\n',
            "src/lib.rs": "#[test]\nfn adds() {}\n\n#[test]\n#[ignore]\nfn later() {}\n",
        },
    )
    assert counted(collector, tmp_path, "cargo test --offline --lib -- --nocapture") == [
        ("src/lib.rs adds", False, None),
        ("src/lib.rs later", True, None),
    ]


REPORT = """\
<testsuites><testsuite name="a"><testcase classname="a.B" name="one"/>
<testcase classname="a.B" name="two"><skipped/></testcase></testsuite></testsuites>
"""


def test_a_report_in_junits_xml_tells(collector, tmp_path):
    put(tmp_path, {"report.txt": REPORT})
    command = "mkdir -p target/surefire-reports && cp report.txt target/surefire-reports/TEST-a.xml"
    told = [("a.B.one", False, None), ("a.B.two", True, None)]
    assert counted(collector, tmp_path, command) == told
    assert counted(collector, tmp_path, f"exit 1; {command}", ran=True) == told


def test_a_command_without_tests_starts_nothing(tmp_path):
    sandbox = PlainSandbox()
    lint = [Command("lint", "ruff check .")]
    assert Collector(sandbox).tests(tmp_path, lint, never, ran=False) == ()
    assert sandbox.ran == []


NODE = '{"scripts": {"test": "%s"}}'


@pytest.mark.parametrize(
    ("command", "script", "asked"),
    [
        ("npx jest src", "", 'npx jest src --json --outputFile="$REGREEN_TESTS/report.json"'),
        ("npm test", "jest", 'npm test -- --json --outputFile="$REGREEN_TESTS/report.json"'),
        (
            "npm test -- -i",
            "jest",
            'npm test -- -i --json --outputFile="$REGREEN_TESTS/report.json"',
        ),
        ("yarn test", "jest", 'yarn test --json --outputFile="$REGREEN_TESTS/report.json"'),
        (
            "npm ci && npm run test",
            "vitest run",
            'npm ci ; npm run test -- --reporter=json --outputFile="$REGREEN_TESTS/report.json"',
        ),
        ("npm test", "mocha", None),
        ("npm test", "\\ud800", None),
    ],
)
def test_how_node_is_asked(command, script, asked):
    found = listings.listings(command, NODE % script)
    assert [one.script for one in found] == ([asked] if asked else [])


JEST = {
    "testResults": [
        {
            "name": "/tree/src/a.test.js",
            "assertionResults": [
                {"fullName": "area squares", "status": "passed"},
                {"fullName": "area later", "status": "pending"},
            ],
        }
    ]
}


def test_jests_report_is_read():
    assert list(listings.read_jest(json.dumps(JEST), "/tree")) == [
        Counted("src/a.test.js > area squares"),
        Counted("src/a.test.js > area later", skipped=True),
    ]


def test_gos_list_is_read():
    text = "TestA\nExampleB\nok  \texample.org/w\t0.003s\n?   \texample.org/x\t[no test files]\nTestA\nok  \texample.org/y\t0.1s\n"
    assert [one.id for one in listings.read_go(text)] == [
        "example.org/w.TestA",
        "example.org/w.ExampleB",
        "example.org/y.TestA",
    ]
    (asked,) = listings.listings("go test -race ./...")
    assert "go test -list . -race ./..." in asked.script


NONSENSE = ["{}", "null", "<", "\0", '{"testResults": [3, {"assertionResults": [null]}]}']


@pytest.mark.parametrize("text", ["[" * 100_000, *NONSENSE])
def test_nonsense_is_no_test(text):
    assert list(listings.read_jest(text, "/tree")) == []
    assert list(listings.read_own(text)) == []
    assert list(listings.read_junit(text)) == []
    assert list(listings.read_go(text)) == []


def test_a_report_that_grows_is_not_read():
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><a><testcase name="&b;"/></a>'
    assert list(listings.read_junit(bomb)) == []


def test_what_counts_as_less():
    before = [
        Counted("kept", asserts=2),
        Counted("lost"),
        Counted("skipped"),
        Counted("emptied", asserts=1),
        Counted("always skipped", skipped=True),
    ]
    after = [
        Counted("kept", asserts=1),
        Counted("skipped", skipped=True),
        Counted("emptied", asserts=0),
        Counted("always skipped", skipped=True),
        Counted("new", skipped=True, asserts=0),
    ]
    assert fewer(before, after) == (
        "1 test is not collected any more: lost",
        "1 test is skipped now: skipped",
        "1 test asserts nothing any more: emptied",
    )
    assert fewer([], after) == ()
    many = [Counted(f"t{number}") for number in range(7)]
    assert fewer(many, []) == ("7 tests are not collected any more: t0, t1, t2, t3, t4 and 2 more",)
