"""How the project itself runs what failed: the `run:` lines of a job in a workflow file.

The file comes from the base branch, so that a pull request cannot choose its own proof.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any

import yaml

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PLACEHOLDER = re.compile(r"\$\{\{.*?\}\}")


def run_lines(workflow: str, job: str, failed: Sequence[str]) -> tuple[str, ...]:
    """Return the commands of the job named *job*, those of its failed steps first.

    A step whose command needs a value of GitHub's (`${{ … }}`) is left out: it cannot be run here.
    """
    steps = [step for step in _steps(workflow, job) if not PLACEHOLDER.search(step[1])]
    first = [command for name, command in steps if name in failed]
    rest = [command for name, command in steps if name not in failed]
    return tuple(dict.fromkeys([*first, *rest]))


def _steps(workflow: str, job: str) -> Iterator[tuple[str, str]]:
    """Yield name and command of each `run:` step, with its folder."""
    try:
        document = yaml.safe_load(workflow)
    except (yaml.YAMLError, RecursionError):
        return
    found = _job(document, job)
    shared = {**_environment(document), **_environment(found)}
    folder = _default_folder(document) or ""
    folder = _default_folder(found) or folder
    steps = found.get("steps")
    for step in steps if isinstance(steps, list) else []:
        command = step.get("run") if isinstance(step, Mapping) else None
        if not isinstance(command, str) or step.get("shell", "bash") not in ("bash", "sh"):
            continue
        first = command.strip().splitlines()[0] if command.strip() else ""
        where = step.get("working-directory", folder)
        there = [f"cd {quote(str(where))}"] if where else []
        values = {**shared, **_environment(step)}
        exports = [f"export {name}={quote(value)}" for name, value in values.items()]
        text = "\n".join([*exports, *there, command.strip()])
        yield str(step.get("name") or f"Run {first}"), text


def _environment(owner: Any) -> dict[str, str]:
    """Return the variables that are set in the file itself, not by GitHub."""
    found = owner.get("env") if isinstance(owner, Mapping) else None
    values = found.items() if isinstance(found, Mapping) else ()
    texts = {str(name): _text(value) for name, value in values if NAME.fullmatch(str(name))}
    return {name: text for name, text in texts.items() if not PLACEHOLDER.search(text)}


def _text(value: Any) -> str:
    """Return a YAML scalar as Actions passes it on."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _job(document: Any, job: str) -> Mapping[str, Any]:
    """Find a job by its name as checks show it: `name (matrix value)`, `caller / name`."""
    jobs = document.get("jobs") if isinstance(document, Mapping) else None
    if not isinstance(jobs, Mapping):
        return {}
    short = job.rpartition(" / ")[2]
    plain = short.partition(" (")[0]
    for wanted in (short, plain):
        for key, value in jobs.items():
            if isinstance(value, Mapping) and wanted in (value.get("name"), str(key)):
                return value
    return {}


def _default_folder(owner: Any) -> str | None:
    defaults = owner.get("defaults") if isinstance(owner, Mapping) else None
    run = defaults.get("run") if isinstance(defaults, Mapping) else None
    folder = run.get("working-directory") if isinstance(run, Mapping) else None
    return folder if isinstance(folder, str) else None
