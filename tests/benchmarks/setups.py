"""What does a stored set-up save? A set-up that installs, beside a copy of what it made.

The set-up is `python -m venv` and `pip install` of twenty packages from an index on loopback,
through the fetch proxy, in the sandbox.
The measures, of a whole verification whose only other command is `true`:

- none: a set-up in the tree itself, as a run does that may store nothing;
- first: one that is made and stored, and then copied into the tree;
- stored: one that is copied.

Besides, what the copy costs for trees of files of 4 kB, and what hard links would cost: these are
not used, for a file that two trees share is one that the first can change for the second.
"""

import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bot.domain.values import Ground
from tests.support.fetching import Web
from tests.support.setups import OURS, gatekeeper, verified, wheel

PACKAGES, MODULES, ROUNDS = 20, 50, 3
FILES = (1_000, 10_000, 30_000)


def run(console: Console) -> None:
    """Measure and print both tables."""
    with console.status("set-ups"), tempfile.TemporaryDirectory() as folder:
        none, first, stored, files = _measured(Path(folder))
    table = Table(title="A set-up, in seconds", box=SIMPLE, padding=(0, 1))
    for name in ("files", "none", "first", "stored", "none / stored"):
        table.add_column(name, justify="right")
    ratio = f"{median(none) / median(stored):.0f}x"
    cells = (f"{median(times):.2f}" for times in (none, first, stored))
    table.add_row(f"{files:,}", *cells, ratio)
    console.print(table)
    table = Table(title="Copying, in milliseconds", box=SIMPLE, padding=(0, 1))
    for name in ("files", "cp -a", "cp -al (not used)"):
        table.add_column(name, justify="right")
    for number in FILES:
        with console.status("copies"), tempfile.TemporaryDirectory() as folder:
            copied, linked = _copies(Path(folder), number)
        table.add_row(f"{number:,}", f"{copied * 1000:,.0f}", f"{linked * 1000:,.0f}")
    console.print(table)


def _index() -> Web:
    pages: dict[str, bytes] = {}
    for number in range(PACKAGES):
        name = f"demo{number}"
        file = f"{name}-1.0-py3-none-any.whl"
        modules = {f"{name}_{one}": f"VALUE = {one}\n" * 50 for one in range(MODULES)}
        pages[f"/simple/{name}/"] = f'<a href="/files/{file}">{file}</a>'.encode()
        pages[f"/files/{file}"] = wheel(name, "1.0", "", **modules)
    return Web(pages)


def _measured(folder: Path) -> tuple[list[float], list[float], list[float], int]:
    none, first, stored = list[float](), list[float](), list[float]()
    tree = folder
    with _index().served() as web:
        install = f".venv/bin/pip install -q -i http://127.0.0.1:{web.port}/simple/"
        setup = f"python -m venv .venv && {install} -r requirements.txt"
        for number in range(ROUNDS):
            keeper = gatekeeper(folder / f"data{number}", fetch=(f"127.0.0.1:{web.port}",))
            for times, ground in ((none, Ground()), (first, OURS), (stored, OURS)):
                tree = folder / f"tree{number}{len(none)}{len(first)}{len(stored)}"
                tree.mkdir()
                names = "".join(f"demo{one}\n" for one in range(PACKAGES))
                (tree / "requirements.txt").write_text(names)
                began = time.perf_counter()
                results = verified(keeper, tree, ("setup", setup), ("test", "true"), ground=ground)
                times.append(time.perf_counter() - began)
                assert results[-1].passed, results[-1].output
        files = sum(1 for path in tree.rglob("*") if path.is_file())
    return none, first, stored, files


def _copies(folder: Path, number: int) -> tuple[float, float]:
    source = folder / "source"
    for one in range(number):
        path = source / f"{one // 100}" / f"{one}"
        if one % 100 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 4096)
    taken = list[float]()
    for words in (("-a", "--reflink=auto"), ("-al",)):
        began = time.perf_counter()
        subprocess.run(["cp", *words, source, folder / f"copy{len(taken)}"], check=True)
        taken.append(time.perf_counter() - began)
    return taken[0], taken[1]


if __name__ == "__main__":
    run(Console())
