"""How each test runner is asked for its tests, and how its answer is read.

A listing is a shell text made of the project's own command, so that it finds what that command
would run. It leaves its answer in the folder that `$REGREEN_TESTS` names. Python's, Go's and Rust's
runners list without running; jest and vitest are run, for they tell of skips only then; what writes
JUnit XML is run as it is.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from xml.etree import ElementTree as ET

from bot.domain.values import Counted, Value

OWN = "counted.jsonl"  # what `guests/regreen_tests.py` writes
PRINTED = "printed.txt"
IGNORED = "ignored.txt"
REPORT = "report.json"
GUESTS = "guests"
WHERE = "REGREEN_TESTS"  # the variable that names the folder of a listing, inside its sandbox

PYTEST = re.compile(r"\b(py\.test|pytest)\b")
UNITTEST = re.compile(r"-m unittest\b")
GO = re.compile(r"\bgo test\b")
CARGO = re.compile(r"\bcargo (?:\+\S+ )?test\b[^&|;\n]*")
JEST = re.compile(r"\b(?:jest|react-scripts test)\b(?! *--(?:version|init))[^&|;\n]*")
VITEST = re.compile(r"\bvitest\b[^&|;\n]*")
SCRIPT = re.compile(
    r"\b(?P<how>npm (?:run |run-script )?(?:test|t)\b|(?:yarn|pnpm|bun) (?:run )?test\b)"
    r"(?P<more>[^&|;\n]*)"
)
JUNIT = re.compile(
    r"junit|surefire|\b(?:mvn|mvnw|gradle|gradlew|gotestsum)\b.*\b(?:test|check|verify|build)\b"
)
_LINE = re.compile(r" \(line \d+\)")  # where a doc-test stands
STOPPING = re.compile(r"^\s*set -\w*e\w*\s*$", re.MULTILINE)


class Runner(StrEnum):
    """Who lists, and so how the answer is read."""

    PYTHON = "python"
    GO = "go"
    CARGO = "cargo"
    NODE = "node"
    JUNIT = "junit"


class Listing(Value, frozen=True):
    """A shell text that lists the tests of one runner."""

    runner: Runner
    script: str


def listings(command: str, package_json: str = "") -> tuple[Listing, ...]:
    """Return how the tests of a command are listed, none when it runs no tests that we know.

    `package_json` tells what `npm test` means.
    """
    # One step that fails must not keep the rest from being asked: nothing is proved here.
    text = STOPPING.sub("", command).replace("&&", ";")
    found: list[Listing] = []
    if PYTEST.search(text):
        variables = (
            f'export PYTHONPATH="${WHERE}/{GUESTS}${{PYTHONPATH:+:$PYTHONPATH}}" '
            'PYTEST_ADDOPTS="$PYTEST_ADDOPTS --collect-only -q -p regreen_tests"'
        )
        found.append(Listing(Runner.PYTHON, f"{variables}\n{text}"))
    if UNITTEST.search(text):
        listed = UNITTEST.sub(lambda _: f'"${WHERE}/{GUESTS}/regreen_tests.py"', text)
        found.append(Listing(Runner.PYTHON, listed))
    if GO.search(text):
        found.append(Listing(Runner.GO, _printed(GO.sub("go test -list .", text), PRINTED)))
    if CARGO.search(text):
        every = CARGO.sub(lambda one: _cargo(one[0], "--list"), text)
        ignored = CARGO.sub(lambda one: _cargo(one[0], "--list --ignored"), text)
        script = f"{_printed(every, PRINTED)}\n{_printed(ignored, IGNORED)}"
        found.append(Listing(Runner.CARGO, script))
    if script := _node(text, package_json):
        found.append(Listing(Runner.NODE, script))
    if not found and JUNIT.search(text):
        found.append(Listing(Runner.JUNIT, text))
    return tuple(found)


def _printed(script: str, name: str) -> str:
    return f'(\n{script}\n) > "${WHERE}/{name}" 2>&1'


def _cargo(words: str, flags: str) -> str:
    head, found, rest = words.rstrip().partition(" -- ")
    return f"{head} -- {flags} {rest}" if found else f"{head} -- {flags}"


def _node(text: str, package_json: str) -> str:
    """Return the text with jest or vitest made to report in JSON; empty when neither is there."""
    for pattern, flags in ((JEST, "--json --outputFile"), (VITEST, "--reporter=json --outputFile")):
        told = f'{flags}="${WHERE}/{REPORT}"'
        if pattern.search(text):
            return pattern.sub(lambda one, told=told: f"{one[0].rstrip()} {told}", text)  # type: ignore[misc]  # bound now, not when called
        if SCRIPT.search(text) and pattern.search(_script(package_json)):
            return SCRIPT.sub(lambda one, told=told: _passed_on(one, told), text)  # type: ignore[misc]  # as above
    return ""


def _script(package_json: str) -> str:
    try:
        read = json.loads(package_json)
        return str(read["scripts"]["test"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""


def _passed_on(found: re.Match[str], told: str) -> str:
    """Hand flags on to the script: npm takes its own unless they stand behind `--`."""
    more = found["more"].rstrip()
    between = " --" if found["how"].startswith("npm") and " -- " not in f"{more} " else ""
    return f"{found['how']}{more}{between} {told}"


# --- reading --------------------------------------------------------------------------------------


def read_own(text: str) -> Iterator[Counted]:
    """Yield the tests that our guest in pytest or unittest told of."""
    for line in text.splitlines():
        one = _json(line)
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            asserts = one.get("asserts")
            yield Counted(
                _steady(one["id"]),
                skipped=one.get("skipped") is True,
                asserts=asserts if isinstance(asserts, int) else None,
            )


def read_go(text: str) -> Iterator[Counted]:
    """Yield the tests of `go test -list .`: the names of a package stand above its line."""
    names: list[str] = []
    for line in text.splitlines():
        if re.fullmatch(r"(?:Test|Example|Fuzz|Benchmark)\w*", line):
            names.append(line)
        elif package := re.match(r"ok\s+(\S+)", line):
            yield from (Counted(f"{package[1]}.{name}") for name in names)
            names = []


def read_cargo(every: str, ignored: str) -> Iterator[Counted]:
    """Yield the tests of `cargo test -- --list`, those of `--ignored` as skipped."""
    skipped = set(_cargo_names(ignored))
    yield from (Counted(name, skipped=name in skipped) for name in _cargo_names(every))


def _cargo_names(text: str) -> Iterator[str]:
    target = ""
    for line in text.splitlines():
        if begins := re.match(r"\s*(?:Running|Doc-tests) (?:unittests )?(\S+)", line):
            target = begins[1]
        elif line.endswith(": test"):
            yield f"{target} {_LINE.sub('', line.removesuffix(': test'))}"


def read_jest(text: str, root: str) -> Iterator[Counted]:
    """Yield the tests of jest's report, which vitest writes as well; *root* is cut off paths."""
    for file in _tables(_json(text), "testResults"):
        path = str(file.get("name", "")).removeprefix(root).lstrip("/")
        for one in _tables(file, "assertionResults"):
            skipped = one.get("status") in {"pending", "skipped", "todo", "disabled"}
            yield Counted(f"{path} > {one.get('fullName', '')}", skipped=skipped)


def _tables(read: object, key: str) -> Iterator[Mapping[str, object]]:
    """Yield the tables of a list at *key*; whatever is something else is left out."""
    found = read.get(key) if isinstance(read, dict) else None
    yield from (one for one in (found if isinstance(found, list) else ()) if isinstance(one, dict))


def read_junit(text: str) -> Iterator[Counted]:
    """Yield the tests of a report in JUnit's XML; one that defines entities is not read."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return
    try:
        root = ET.fromstring(text)  # noqa: S314  # without entities nothing grows
    except ET.ParseError:
        return
    for case in root.iter("testcase"):
        group = case.get("classname") or case.get("file") or ""
        skipped = case.find("skipped") is not None or case.get("status") == "notrun"
        yield Counted(_steady(f"{group}.{case.get('name', '')}".lstrip(".")), skipped=skipped)


def unique(found: Iterable[Counted]) -> tuple[Counted, ...]:
    """Return each test once, in order of its id; it is skipped only if it is so everywhere."""
    known: dict[str, Counted] = {}
    for one in found:
        before = known.get(one.id)
        if before is None or (before.skipped and not one.skipped):
            known[one.id] = one
    return tuple(known[name] for name in sorted(known))


def _steady(name: str) -> str:
    """Return an id without what differs from run to run: addresses of objects."""
    return re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x…", name)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
