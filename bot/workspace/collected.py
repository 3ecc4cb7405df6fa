"""Which tests a project has: asked of its own runners, in the sandbox, over one tree.

The same is asked over the tree before the change and over the changed one, and the difference is
judged in `bot/repair/counted.py`. Whoever changes the code could make its runner lie here, as it
could make a test pass; what a diff shows of that is for `bot/repair/weakened.py`.

Answers are files in a home folder of the listing's own. Programs that we do not trust wrote them,
so they are read without following a link, and only so much of them.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bot.domain.ports import Kit, Sandbox
from bot.domain.values import Command, Counted
from bot.workspace import listings
from bot.workspace.listings import Listing, Runner

SETUP = "setup"
_GUESTS = Path(__file__).parent / "guests"
_MOST_BYTES = 16 * 1024 * 1024  # of one answer
_MOST_REPORTS = 2_000
_TREE = "/tree"  # where the sandbox shows the tree


class Collector:
    """Asks the runners of a project for its tests."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def tests(
        self, tree: Path, commands: Sequence[Command], stop: Callable[[], bool], *, ran: bool
    ) -> tuple[Counted, ...]:
        """Return the tests that *commands* would run in *tree*; none where nobody can tell.

        With *ran* the commands have just been run there: reports that they left are only read, and
        nothing is set up anew.
        """
        package = _text(tree / "package.json")
        asked = [(one, listings.listings(one.run, package)) for one in commands]
        if not any(found for _, found in asked):
            return ()
        found: list[Counted] = []
        for command, wanted in asked:
            if command.name == SETUP and not ran:
                self._sandbox.run(
                    ("sh", "-c", command.run), tree, timeout_s=command.timeout_s, stop=stop
                )
            for listing in wanted:
                found += self._ask(tree, command, listing, stop, ran=ran)
        return listings.unique(found)

    def _ask(
        self,
        tree: Path,
        command: Command,
        listing: Listing,
        stop: Callable[[], bool],
        *,
        ran: bool,
    ) -> list[Counted]:
        if stop():
            return []
        with tempfile.TemporaryDirectory(prefix="regreen-tests-") as folder:
            home = Path(folder)
            shutil.copytree(_GUESTS, home / listings.GUESTS)
            if listing.runner is not Runner.JUNIT or not ran:
                self._sandbox.run(
                    ("sh", "-c", listing.script),
                    tree,
                    timeout_s=command.timeout_s,
                    stop=stop,
                    kit=Kit(home=home),
                )
            return list(_read(listing.runner, home, tree))


def _read(runner: Runner, home: Path, tree: Path) -> Iterator[Counted]:
    match runner:
        case Runner.PYTHON:
            yield from listings.read_own(_text(home / listings.OWN))
        case Runner.GO:
            yield from listings.read_go(_text(home / listings.PRINTED))
        case Runner.CARGO:
            every, ignored = _text(home / listings.PRINTED), _text(home / listings.IGNORED)
            yield from listings.read_cargo(every, ignored)
        case Runner.NODE:
            report = _text(home / listings.REPORT)
            root = str(tree) if str(tree) in report else _TREE
            yield from listings.read_jest(report, root)
        case Runner.JUNIT:
            for path in _reports(tree):
                yield from listings.read_junit(_text(path))


def _reports(tree: Path) -> Iterator[Path]:
    """Yield files that may be JUnit reports; links are not followed."""
    count = 0
    for folder, _, names in os.walk(tree):
        where = folder.casefold()
        for name in names:
            plain = name.casefold()
            likely = "junit" in plain or plain.startswith("test") or "test-re" in where
            if plain.endswith(".xml") and likely and count < _MOST_REPORTS:
                count += 1
                yield Path(folder, name)


def _text(path: Path) -> str:
    """Return a file's text, empty when it is no ordinary file or cannot be read."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(number, "rb") as file:  # noqa: PTH123  # the descriptor is open already
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return ""
        return file.read(_MOST_BYTES).decode(errors="replace")
