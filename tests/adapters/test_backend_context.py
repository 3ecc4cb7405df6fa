from pathlib import Path

import pytest

from bot.backends import context
from bot.backends.tree import TreeView
from bot.domain.values import FailureType, Location, Severity, Signal
from tests.support.tasks import a_failing_step, a_task, fill


def chosen(tree: Path, files: dict[str, str], *, at: tuple[str, ...] = (), log: str = ""):
    view = TreeView(fill(tree, files))
    return context.choose(view, a_task(a_failing_step(at=at, excerpt=log)))


@pytest.mark.parametrize(
    ("files", "at", "log", "expected"),
    [
        pytest.param({"a.py": "", "b.py": ""}, ("b.py",), "", ("b.py",), id="located"),
        pytest.param(
            {"src/a.py": "", "b.py": ""},
            (),
            'File "/w/r/r/src/a.py", line 3',
            ("src/a.py",),
            id="log",
        ),
        pytest.param(
            {"x/a.py": "", "y/a.py": ""}, (), "a.py broke", (), id="a name of two files is neither"
        ),
        pytest.param({"x/a.py": "", "y/a.py": ""}, ("y/a.py",), "", ("y/a.py",), id="by its end"),
        pytest.param(
            {"pkg/a.py": "from .b import c\nfrom . import d\n", "pkg/b.py": "", "pkg/d.py": ""},
            ("pkg/a.py",),
            "",
            ("pkg/a.py", "pkg/b.py", "pkg/d.py"),
            id="relative imports",
        ),
        pytest.param(
            {"pkg/sub/a.py": "from ..b import c\n", "pkg/b.py": "", "src/q.py": "", "b.py": ""},
            ("pkg/sub/a.py",),
            "",
            ("pkg/sub/a.py", "pkg/b.py"),
            id="imports from above",
        ),
        pytest.param(
            {"t.py": "import os, q.r as z\n", "src/q/r.py": ""},
            ("t.py",),
            "",
            ("t.py", "src/q/r.py"),
            id="imports from src",
        ),
        pytest.param(
            {"web/a.ts": "import x from './lib/b'\nimport y from '../c.js'\n", "web/lib/b.tsx": ""}
            | {"c.js": "", "d.js": ""},
            ("web/a.ts",),
            "",
            ("web/a.ts", "web/lib/b.tsx", "c.js"),
            id="imports of scripts",
        ),
        pytest.param(
            {"src/price.py": "", "tests/test_price.py": "", "tests/test_other.py": ""},
            ("src/price.py",),
            "",
            ("src/price.py", "tests/test_price.py"),
            id="the tests of a source",
        ),
        pytest.param(
            {"a.ts": "", "a.spec.ts": ""}, ("a.spec.ts",), "", ("a.spec.ts", "a.ts"), id="spec"
        ),
        pytest.param(
            {"p/Sum.java": "", "t/SumTest.java": ""},
            ("t/SumTest.java",),
            "",
            ("t/SumTest.java", "p/Sum.java"),
            id="a test class",
        ),
        pytest.param(
            {"a.py": "", "pyproject.toml": "", "poetry.lock": ""},
            ("a.py", "poetry.lock"),
            "",
            ("a.py", "pyproject.toml"),
            id="manifests, but no lock files",
        ),
        pytest.param(
            {"node_modules/x/a.js": "", ".git/a.py": ""}, ("a.js", "a.py"), "", (), id="not ours"
        ),
        pytest.param({"a.py": ""}, ("../a.py",), "", (), id="out of the tree"),
    ],
)
def test_the_files_that_matter_are_chosen(tmp_path, files, at, log, expected):
    assert chosen(tmp_path, files, at=at, log=log) == expected


def test_a_long_file_is_shown_around_the_lines_that_matter(tmp_path):
    lines = [f"line number {number}" for number in range(1, 4001)]
    view = TreeView(fill(tmp_path, {"long.py": "\n".join(lines)}))
    signal = Signal(
        FailureType.LINT, 1.0, Severity.LOW, "m", locations=(Location("long.py", 2000),)
    )
    step = a_failing_step()
    shown = context.files(view, a_task(type(step)(step.check, signal)))

    assert "long.py, in part; it has 4000 lines" in shown
    assert "line number 1\n" in shown
    assert "line number 2000\n" in shown
    assert "line number 1000\n" not in shown
    assert "[… lines 62 to 1939 left out …]" in shown


def test_binary_and_huge_files_and_deep_folders_are_left_out(tmp_path):
    fill(tmp_path, {"a.bin": "\0", "huge.py": "x" * 1_000_001, "d/" * 45 + "deep.py": ""})
    view = TreeView(tmp_path)

    assert view.text("a.bin") is None
    assert view.text("huge.py") is None
    assert view.files == ("a.bin", "huge.py")
    assert view.text("missing.py") is None


def test_a_log_without_a_blank_is_read_in_time(tmp_path):
    assert chosen(tmp_path, {"a.py": "\n" * 50_000}, at=("a.py",), log="a" * 200_000) == ("a.py",)
