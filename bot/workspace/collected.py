"""Which tests a project has: asked of its own runners, in the sandbox, over one tree.

The same is asked over the tree before the change and over the changed one, and the difference is
judged in `bot/repair/counted.py`. Whoever changes the code could make its runner lie here, as it
could make a test pass; what a diff shows of that is for `bot/repair/weakened.py`.

A listing finds the home folder that the set-up left, for what was installed there the tests need as
well. Answers are files in a new folder of it. Programs that we do not trust wrote them, so they are
read from the folder that we made, without following a link, and only so much of them.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bot.domain.ports import NO_KIT, Kit, Sandbox
from bot.domain.values import Command, Counted
from bot.workspace import listings
from bot.workspace.listings import Listing, Runner

_GUESTS = Path(__file__).parent / "guests"
_MOST_BYTES = 16 * 1024 * 1024  # of one answer
_MOST_REPORTS = 2_000
_TREE = "/tree"  # where the sandbox shows the tree


class Collector:
    """Asks the runners of a project for its tests."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def asks(self, tree: Path, commands: Sequence[Command], *, ran: bool) -> bool:
        """Tell whether `tests` would run something in *tree*."""
        package = _text(tree / "package.json")
        wanted = [one for command in commands for one in listings.listings(command.run, package)]
        return any(not (ran and one.runner is Runner.JUNIT) for one in wanted)

    def tests(
        self,
        tree: Path,
        commands: Sequence[Command],
        stop: Callable[[], bool],
        kit: Kit = NO_KIT,
        *,
        ran: bool,
    ) -> tuple[Counted, ...]:
        """Return the tests that *commands* would run in *tree*; none where nobody can tell.

        With *ran* the commands have just been run there: reports that they left are only read.
        The tree is set up, and *kit* has the home folder that it was set up with.
        """
        package = _text(tree / "package.json")
        asked = [(one, listings.listings(one.run, package)) for one in commands]
        found: list[Counted] = []
        for command, wanted in asked:
            for listing in wanted:
                found += self._ask(tree, command, listing, stop, kit, ran=ran)
        return listings.unique(found)

    def _ask(
        self,
        tree: Path,
        command: Command,
        listing: Listing,
        stop: Callable[[], bool],
        kit: Kit,
        *,
        ran: bool,
    ) -> list[Counted]:
        if stop():
            return []
        with tempfile.TemporaryDirectory(prefix="regreen-tests-") as empty:
            home = kit.home or Path(empty)
            folder = Path(tempfile.mkdtemp(prefix=".regreen-tests-", dir=home))
            shutil.copytree(_GUESTS, folder / listings.GUESTS)
            place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if listing.runner is not Runner.JUNIT or not ran:
                    where = f'export {listings.WHERE}="$HOME/{folder.name}"'
                    self._sandbox.run(
                        ("sh", "-c", f"{where}\n{listing.script}"),
                        tree,
                        timeout_s=command.timeout_s,
                        stop=stop,
                        kit=Kit(home=home),
                    )
                return list(_read(listing.runner, place, tree))
            finally:
                os.close(place)


def _read(runner: Runner, place: int, tree: Path) -> Iterator[Counted]:
    """Yield what the answers tell in *place*, an open folder: its name may lead elsewhere now."""
    match runner:
        case Runner.PYTHON:
            yield from listings.read_own(_text(listings.OWN, place))
        case Runner.GO:
            yield from listings.read_go(_text(listings.PRINTED, place))
        case Runner.CARGO:
            every, ignored = _text(listings.PRINTED, place), _text(listings.IGNORED, place)
            yield from listings.read_cargo(every, ignored)
        case Runner.NODE:
            report = _text(listings.REPORT, place)
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


def _text(path: Path | str, place: int | None = None) -> str:
    """Return a file's text, empty when it is no ordinary file or cannot be read.

    *place* is the open folder that it lies in.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        number = os.open(path, flags, dir_fd=place)
    except OSError:
        return ""
    with open(number, "rb") as file:  # noqa: PTH123  # the descriptor is open already
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return ""
        return file.read(_MOST_BYTES).decode(errors="replace")
