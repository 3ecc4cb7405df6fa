"""A trial of a backend: one small file with an obvious fault, to be mended by one line."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.domain.values import (
    Check,
    CheckKind,
    CheckState,
    Evidence,
    FailingStep,
    FailureType,
    Location,
    PullRef,
    Severity,
    Signal,
    Task,
)

FILE = "calc.py"
RED = '"""Sums."""\n\n\ndef add(a, b):\n    """Return the sum of a and b."""\n    return a - b\n'
_SUMS = ("a + b", "b + a", "sum((a, b))", "sum([a, b])")
_MOST_BYTES = 10_000
_SAID = "assert add(2, 3) == 5: it returns -1, line 6 of calc.py subtracts instead of adding"


def task(pull: PullRef) -> Task:
    """Return what the backend is asked, on the account of *pull*."""
    signal = Signal(
        FailureType.TEST_ASSERT,
        0.97,
        Severity.HIGH,
        _SAID,
        evidence=(Evidence(1, _SAID),),
        locations=(Location(FILE, 6, "it must return a + b"),),
        excerpt=f"FAILED test_add: {_SAID}",
    )
    step = FailingStep(Check("tests", CheckKind.JOB, CheckState.FAILED), signal)
    return Task(pull, "add() subtracts: change `a - b` to `a + b`, and nothing else", (step,))


@contextmanager
def scratch(where: Path | None = None) -> Iterator[Path]:
    """Yield a tree with the file below *where*; it is gone afterwards."""
    with TemporaryDirectory(prefix="regreen-trial-", dir=where) as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        (tree / FILE).write_text(RED, encoding="utf-8")
        yield tree


def judged(tree: Path) -> str:
    """Return why the file is not as it was asked to be, nothing when it is.

    The file is read and never run. Comments and documentation may have changed.
    """
    path = tree / FILE
    if path.is_symlink() or not path.is_file():
        return f"{FILE} is gone"
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_BYTES)
        made = _code(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        return f"{FILE} is no Python any more ({type(error).__name__})"
    if made in {_code(RED.replace("a - b", one)) for one in _SUMS}:
        return ""
    return f"{FILE} was left as it was" if text == RED else f"{FILE} was changed in another way"


def others(tree: Path) -> tuple[str, ...]:
    """Return the other files that were made, by their paths."""
    found = (path for path in sorted(tree.rglob("*")) if path.is_symlink() or path.is_file())
    return tuple(str(path.relative_to(tree)) for path in found if path != tree / FILE)


def _code(text: str) -> str:
    """Return what a text does, without its comments and documentation."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef):
            node.body = [one for one in node.body if not _documents(one)]
    return ast.dump(tree)


def _documents(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
