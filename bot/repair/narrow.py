"""The narrowest proof first: the failing test alone, then its command, then the rest.

A mend that does not do is known for it after seconds instead of minutes. The test alone never
decides that a mend is good, since its command runs in whole afterwards; and it decides that a mend
is bad only by the exit codes by which its runner says that a test failed, for the name that we
took from a log may mean nothing any more.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import msgspec

from bot.domain.values import Command, FailingStep, FailureType

SETUP = "setup"
MOST_TESTS = 20
ALONE_S = 300.0  # the longest that a test alone may take
NAMES: dict[FailureType, tuple[str, ...]] = {
    FailureType.TEST_ASSERT: ("test",),
    FailureType.LINT: ("lint", "format"),
    FailureType.TYPECHECK: ("typecheck",),
    FailureType.RUNTIME: ("build",),
}
_SHELL = re.compile(r"[|&;<>$`*?{}()\\]")
_BEFORE = re.compile(r"set -e$|export [A-Za-z_]\w*=|cd ")
# Options of these runners that take no value, and those that take one as the next word.
_SWITCHES = frozenset(
    "-q -qq -v -vv -vvv -x -s -l -ra -rA -i --strict-markers --strict-config --exitfirst --quiet "  # noqa: SIM905
    "--verbose --no-header --lf --ff --sw --ci --silent --run --coverage --runInBand".split()
)
_VALUED = frozenset(
    "-k -m -n -p -c -o -W --maxfail --tb --timeout --rootdir --config".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Runner:
    """A test runner: how its logs name a failing test, and how it is told to run that alone.

    `alone` takes the words of the command and the tests, and returns the words that run only them,
    none when that cannot be told. `told` are the exit codes by which it says that a test failed.
    """

    name: str
    failing: re.Pattern[str]
    alone: Callable[[Sequence[str], Sequence[str]], list[str]]
    told: tuple[int, ...]


def first(commands: Sequence[Command], steps: Sequence[FailingStep]) -> tuple[Command, ...]:
    """Return the commands with those first that failed, and before them their failing tests.

    What is called `setup` stays in front; the others keep their order.
    """
    leading = [one for one in commands if one.name == SETUP]
    others = [one for one in commands if one.name != SETUP]
    blamed = [one for one in others if any(_failed(one, step) for step in steps)]
    alone = [part for one in blamed for part in _alone(one, steps)]
    rest = [one for one in others if one not in blamed]
    return (*leading, *alone, *blamed, *rest)


def _failed(command: Command, step: FailingStep) -> bool:
    """Say whether this is the command that the step's log tells of: by its tool, else its name."""
    tool = step.signal.tool
    if tool and re.search(rf"(?<![\w-]){re.escape(tool)}(?![\w-])", command.run):
        return True
    return command.name in NAMES.get(step.signal.type, ())


def _alone(command: Command, steps: Sequence[FailingStep]) -> Iterator[Command]:
    """Yield the command that runs only its failing tests, if that can be told."""
    if command.allow_fail:
        return
    *before, last = command.run.splitlines()
    if _SHELL.search(last) or not all(_BEFORE.match(line) for line in before):
        return
    try:
        words = shlex.split(last)
    except ValueError:
        return
    for runner in RUNNERS:
        tests = tuple(_tests(runner, steps))[:MOST_TESTS]
        narrowed = runner.alone(words, tests) if tests else []
        if narrowed:
            yield msgspec.structs.replace(
                command,
                name=f"{command.name}: failing test" + ("s" if len(tests) > 1 else ""),
                run="\n".join([*before, shlex.join(narrowed)]),
                timeout_s=min(command.timeout_s, ALONE_S),
                part_of=command.name,
                telling=runner.told,
            )
            return


def _tests(runner: Runner, steps: Sequence[FailingStep]) -> Iterator[str]:
    """Yield the names of failing tests, each once; they come from a log, so their form is bound."""
    seen: set[str] = set()
    for step in steps:
        if step.signal.tool != runner.name:
            continue
        lines = [one.text for one in step.signal.evidence]
        for line in [*lines, *step.signal.excerpt.splitlines()]:
            found = runner.failing.search(line)
            test = _named(found.groups()) if found else ""
            if test and test not in seen:
                seen.add(test)
                yield test


def _named(parts: Sequence[str]) -> str:
    """Return a test's name; unittest writes `test_a (module.Case.test_a)`, or without the end."""
    *short, whole = parts
    if not short:
        return whole
    path = [*whole.split("."), *([] if whole.endswith(f".{short[0]}") else short)]
    return ".".join(path[-2:])


# --- the runners ---------------------------------------------------------------------------------


def _at(words: Sequence[str], *names: str) -> int:
    """Return where the runner's name stands among the words, -1 when it does not."""
    plain = [PurePosixPath(word).name for word in words]
    for start in range(len(words) - len(names) + 1):
        if tuple(plain[start : start + len(names)]) == names:
            return start + len(names)
    return -1


def _options(words: Sequence[str]) -> list[str] | None:
    """Return the words without what chooses files; None when that cannot be told apart."""
    kept: list[str] = []
    open_option = ""
    for word in words:
        if word.startswith("-"):
            kept.append(word)
            open_option = "" if word in _SWITCHES or "=" in word else word
        elif open_option in _VALUED:
            kept.append(word)
            open_option = ""
        elif open_option:
            return None
    return kept


def _pytest(words: Sequence[str], tests: Sequence[str]) -> list[str]:
    at = _at(words, "pytest")
    kept = _options(words[at:]) if at > 0 else None
    return [] if kept is None else [*words[:at], *kept, *tests]


def _unittest(words: Sequence[str], tests: Sequence[str]) -> list[str]:
    if _at(words, "-m", "unittest") < 0:
        return []
    return [*words, *(word for test in tests for word in ("-k", test))]


def _go(words: Sequence[str], tests: Sequence[str]) -> list[str]:
    if _at(words, "go", "test") < 0 or any(word.startswith(("-run", "-args")) for word in words):
        return []
    return [*words, "-run", f"^({'|'.join(tests)})$"]


def _cargo(words: Sequence[str], tests: Sequence[str]) -> list[str]:
    return (
        []
        if _at(words, "cargo", "test") < 0 or "--" in words
        else [
            *words,
            "--",
            "--exact",
            *tests,
        ]
    )


def _jest(words: Sequence[str], tests: Sequence[str]) -> list[str]:
    at = max(_at(words, "jest"), _at(words, "vitest", "run"))
    kept = _options(words[at:]) if at > 0 else None
    return [] if kept is None else [*words[:at], *kept, "--passWithNoTests", *tests]


_FILE = r"[\w][\w./-]*"
RUNNERS = (
    Runner(
        "pytest",
        re.compile(rf"^(?:FAILED|ERROR) ({_FILE}\.py(?:::[\w\[\]., :/=+-]+?)?)(?= - |$)"),
        _pytest,
        (1,),
    ),
    Runner("unittest", re.compile(r"^(?:FAIL|ERROR): (\w+) \(([\w.]+)\)"), _unittest, (1,)),
    Runner("go test", re.compile(r"FAIL: (Test\w+)"), _go, (1,)),
    Runner("cargo test", re.compile(r"^test ([\w:]+) \.\.\. FAILED"), _cargo, (101,)),
    Runner("jest", re.compile(rf"^\s*FAIL +({_FILE}\.[cm]?[jt]sx?)\b"), _jest, (1,)),
    Runner("vitest", re.compile(rf"^\s*FAIL +({_FILE}\.[cm]?[jt]sx?)\b"), _jest, (1,)),
)
