"""How soon is a tree ready? Beside `git clone --depth 1` from the same server, in one run.

The server speaks git over HTTP on loopback. Three repositories: this one, the Python packages
installed here, and a made-up one of 20,000 files. Each has three commits, the last of which the
mirror does not know at first. The measures:

- clone: `git clone --depth 1` of the branch, as a CI job does it;
- new: a tree written from the warm mirror, none lying ready;
- same: a tree that lies ready at this commit; other: at another commit that the mirror knows;
- fetched: the same when the commit must be fetched first, as after a push;
- back: what giving a used tree back takes, after the run; a file was changed and some were made.
"""

import os
import random
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bot.domain.values import Remote, Sha
from bot.simulator.git import Access, git_app
from bot.simulator.loopback import served
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees, Reuse

ROUNDS = {"this repository": 5, "installed packages": 3, "20,000 files": 2}
GOALS = {"this repository": 4, "installed packages": 10, "20,000 files": 10}
ROOT = Path(__file__).parents[2]
MEASURES = ("clone", "new", "same", "other", "fetched", "back")
WORDS = ("def", "return", "value", "total", "self", "for", "in", "if", "not", "None", "print")

Times = dict[str, list[float]]


def run(console: Console) -> None:
    """Measure all three and print the table."""
    table = Table(
        title="A tree is ready: milliseconds, and how many times faster than a clone",
        caption="medians; only ratios carry over",
        box=SIMPLE,
        padding=(0, 1),
    )
    table.add_column("repository")
    table.add_column("files", justify="right")
    for name in MEASURES:
        table.add_column(name, justify="right")
    for name, make in SOURCES.items():
        with console.status(f"trees: {name}"), tempfile.TemporaryDirectory() as folder:
            files, times = _measured(Path(folder), make, ROUNDS[name])
        table.add_row(name, f"{files:,}", *_cells(times, GOALS[name]))
    console.print(table)


def _cells(times: Times, goal: int) -> Iterator[str]:
    clone = median(times["clone"])
    for name in MEASURES:
        took = median(times[name])
        if name == "clone":
            yield f"{took * 1000:,.0f}"
            continue
        ratio = clone / took
        missed = name in {"same", "other"} and ratio < goal
        style = "red" if missed else "default"
        yield f"{took * 1000:,.0f} ([{style}]{ratio:.1f}x[/])"


def _measured(folder: Path, make: Callable[[Path], None], rounds: int) -> tuple[int, Times]:
    origin = folder / "served" / "o" / "r.git"
    source = folder / "source"
    source.mkdir()
    make(source)
    _git(source, "init", "--quiet", "--initial-branch=main")
    _git(source, "add", "--all", "--force")
    _git(source, "commit", "--quiet", "--message=one")
    paths = _git(source, "ls-files", "-z").split("\0")[:-1]
    chosen = [path for path in paths if path.endswith(".py")][:: max(1, len(paths) // 12)][:12]
    heads = [_changed(source, chosen, number) for number in range(2 + rounds)]
    _git(folder, "clone", "--quiet", "--bare", str(source), str(origin))
    times: Times = {name: [] for name in MEASURES}
    with served(git_app(folder / "served", lambda *_: Access.GRANTED, lambda *_: None)) as url:
        remote = Remote(f"{url}/o/r.git", "")
        _compare(folder, remote, heads, times)
    return len(paths), times


def _compare(folder: Path, remote: Remote, heads: list[Sha], times: Times) -> None:
    git = Git(protocols=("http",))
    cold, warm = (
        GitTrees(folder / "state", git=git, reuse=reuse) for reuse in (Reuse(each=0), Reuse())
    )
    first, second, *later = heads
    for head in (first, second, first):
        _used(warm, head, remote, {})
    for number, head in enumerate(later):
        clone = ("clone", "--quiet", "--depth=1", remote.url, str(folder / f"clone{number}"))
        began = time.perf_counter()
        _git(folder, *clone)
        times["clone"].append(time.perf_counter() - began)
        _used(cold, first, remote, times, "new")
        _used(warm, first, remote, times, "same", "back")
        _used(warm, second, remote, times, "other", "back")
        _used(warm, head, remote, times, "fetched", "back")
        _used(warm, first, remote, {})
    cold.close()
    warm.close()


def _used(
    trees: GitTrees, head: Sha, remote: Remote, times: Times, ready: str = "", back: str = ""
) -> None:
    """Open a tree, use it as a run does, give it back; note how long the first and last took."""
    began = time.perf_counter()
    with trees.open("o/r", head, remote) as tree:
        opened = time.perf_counter()
        (tree.path / "made").mkdir()
        for number in range(50):
            (tree.path / "made" / f"{number}.txt").write_text("made\n")
        next(path for path in tree.path.rglob("*.py") if path.is_file()).write_text("changed\n")
        done = time.perf_counter()
    closed = time.perf_counter()
    times.get(ready, []).append(opened - began)
    times.get(back, []).append(closed - done)


def _changed(source: Path, paths: list[str], number: int) -> Sha:
    for path in paths:
        with (source / path).open("a") as file:
            file.write(f"# {number}\n")
    _git(source, "commit", "--quiet", "--all", f"--message=change {number}")
    return Sha(_git(source, "rev-parse", "HEAD").strip())


def _this_repository(folder: Path) -> None:
    """Copy the files that are under version control here."""
    for name in _git(ROOT, "ls-files", "-z").split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def _installed_packages(folder: Path) -> None:
    """Copy what pip has unpacked: real code, of many authors."""
    packages = Path(sysconfig.get_path("purelib"))
    for path in sorted(packages.rglob("*.py"))[:5000]:
        target = folder / path.relative_to(packages)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _made_up(folder: Path) -> None:
    """Write 20,000 files of about 2 KB each in some 4,000 folders."""
    chance = random.Random(1)
    for number in range(20_000):
        path = folder / f"package{number % 97}" / f"module{number // 97 % 41}" / f"part{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (" ".join(chance.choices(WORDS, k=8)) for _ in range(chance.randrange(5, 90)))
        path.write_text("\n".join(lines))


def _git(folder: Path, *words: str) -> str:
    ann = {
        f"GIT_{role}_{part}": "ann"
        for role in ("AUTHOR", "COMMITTER")
        for part in ("NAME", "EMAIL")
    }
    environment = {"PATH": os.defpath, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **ann}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


SOURCES: dict[str, Callable[[Path], None]] = {
    "this repository": _this_repository,
    "installed packages": _installed_packages,
    "20,000 files": _made_up,
}
