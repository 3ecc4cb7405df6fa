"""Workflow files of GitHub Actions: which jobs an event starts, and what their steps say.

Read by PyYAML with YAML 1.1's words, so the key `on` arrives as True. Expressions stay as they are
written, but for `matrix`, which decides how many jobs there are; the runner fills in the rest.

Reference: https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from bot.simulator.expressions import ExpressionError, Scope, evaluate, fill, shown

_DEFAULT_TYPES = {"pull_request": ("opened", "synchronize", "reopened")}
_MATRIX = re.compile(r"\$\{\{\s*matrix\.[^}]*\}\}")
_MATRIX_LIMIT = 256  # jobs of one matrix, as at GitHub


class WorkflowError(Exception):
    """A workflow file that cannot be run; the message is for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step as written; exactly one of `run` and `uses` is set."""

    name: str
    run: str = ""
    uses: str = ""
    id: str = ""
    condition: str = ""
    shell: str = ""
    working_directory: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    continue_on_error: str = ""
    timeout_minutes: str = ""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job to run; the jobs of a matrix share an `id` and differ in `name` and `matrix`."""

    id: str
    name: str
    needs: tuple[str, ...]
    steps: tuple[StepSpec, ...]
    workflow_name: str
    env: Mapping[str, str] = field(default_factory=dict)
    condition: str = ""
    matrix: Mapping[str, Any] = field(default_factory=dict)
    shell: str = ""
    working_directory: str = ""
    timeout_minutes: str = ""
    continue_on_error: str = ""
    runs_on: tuple[str, ...] = ()


def jobs_of(
    workflow_text: str,
    event: str,
    *,
    action: str = "",
    branch: str = "",
    paths: Sequence[str] | None = None,
) -> list[JobSpec]:
    """Return the jobs that *event* starts, those needed by others first; none when it starts none.

    `action` is the event's own (such as `synchronize`), `branch` the pushed or the base branch,
    `paths` the changed files. What is not told here is not filtered by.
    """
    workflow = _mapping(_parsed(workflow_text), "The workflow")
    if not _starts(workflow, event, _Told(action, branch, paths)):
        return []
    written = _mapping(workflow.get("jobs"), "`jobs`")
    jobs = {key: _job(str(key), job, workflow) for key, job in written.items()}
    return [job for key in _ordered(jobs) for job in jobs[key]]


@dataclass(frozen=True, slots=True)
class _Told:
    action: str
    branch: str
    paths: Sequence[str] | None


def _parsed(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" on line {mark.line + 1}" if mark else ""
        raise WorkflowError(f"The workflow is not valid YAML{place}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise WorkflowError(f"The workflow is not valid YAML: {error}") from error


def _starts(workflow: Mapping[Any, Any], event: str, told: _Told) -> bool:
    triggers = workflow.get("on", workflow.get(True))  # YAML 1.1 reads a bare `on` as true
    match triggers:
        case str():
            return triggers == event
        case list():
            return event in triggers
        case dict() if event in triggers:
            return _passes(triggers[event], event, told)
        case dict():
            return False
        case _:
            raise WorkflowError("The workflow does not say what starts it: `on` is missing.")


def _passes(filters: object, event: str, told: _Told) -> bool:
    rules = _mapping(filters or {}, f"`on.{event}`")
    types = _words(rules.get("types") or _DEFAULT_TYPES.get(event, ()))
    if told.action and types and told.action not in types:
        return False
    if told.branch:
        if "branches" in rules and not _matches(_words(rules["branches"]), told.branch):
            return False
        if _matches(_words(rules.get("branches-ignore")), told.branch):
            return False
        if event == "push" and "tags" in rules and "branches" not in rules:
            return False
    if told.paths is not None:
        if "paths" in rules:
            return any(_matches(_words(rules["paths"]), path) for path in told.paths)
        ignored = _words(rules.get("paths-ignore"))
        return not ignored or not all(_matches(ignored, path) for path in told.paths)
    return True


def _matches(patterns: Sequence[str], text: str) -> bool:
    """Apply filter patterns in order; `!` takes back what an earlier one let in."""
    matched = False
    for pattern in patterns:
        if re.fullmatch(_regex(pattern.removeprefix("!")), text):
            matched = not pattern.startswith("!")
    return matched


def _regex(pattern: str) -> str:
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    parts = re.split(r"(\*\*/|\*\*|[*?+]|\[[^\]]+\])", pattern)
    return "".join(
        signs.get(part, part if part.startswith("[") else re.escape(part)) for part in parts
    )


def _job(key: str, written: object, workflow: Mapping[Any, Any]) -> list[JobSpec]:
    job = _mapping(written, f"The job `{key}`")
    if "uses" in job:
        raise WorkflowError(f"The job `{key}` calls a reusable workflow, which does not run here.")
    steps = job.get("steps")
    if not isinstance(steps, list) or not steps:
        raise WorkflowError(f"The job `{key}` has no steps.")
    shells = _defaults(workflow) | _defaults(job)
    base = JobSpec(
        id=key,
        name=_text(job.get("name") or key),
        needs=tuple(_words(job.get("needs"))),
        steps=tuple(_step(step, number, key) for number, step in enumerate(steps, 1)),
        workflow_name=_text(workflow.get("name")),
        env=_texts(workflow.get("env"), "`env`") | _texts(job.get("env"), f"`{key}.env`"),
        condition=_text(job.get("if")),
        shell=shells.get("shell", ""),
        working_directory=shells.get("working-directory", ""),
        timeout_minutes=_text(job.get("timeout-minutes")),
        continue_on_error=_text(job.get("continue-on-error")),
        runs_on=tuple(_words(job.get("runs-on")))
        if not isinstance(job.get("runs-on"), dict)
        else (),
    )
    strategy = _mapping(job.get("strategy") or {}, f"`{key}.strategy`")
    if not strategy.get("matrix"):
        return [base]
    named = bool(job.get("name"))
    return [_of_matrix(base, values, named=named) for values in _matrix(strategy["matrix"], key)]


def _defaults(holder: Mapping[Any, Any]) -> dict[str, str]:
    defaults = _mapping(holder.get("defaults") or {}, "`defaults`")
    return _texts(defaults.get("run"), "`defaults.run`")


def _step(written: object, number: int, job: str) -> StepSpec:
    step = _mapping(written, f"Step {number} of `{job}`")
    run, uses = _text(step.get("run")), _text(step.get("uses"))
    if bool(run) == bool(uses):
        raise WorkflowError(f"Step {number} of `{job}` must have either `run` or `uses`.")
    title = f"Run {run.strip().splitlines()[0] if run.strip() else ''}" if run else f"Run {uses}"
    return StepSpec(
        name=_text(step.get("name")) or title,
        run=run,
        uses=uses,
        id=_text(step.get("id")),
        condition=_text(step.get("if")),
        shell=_text(step.get("shell")),
        working_directory=_text(step.get("working-directory")),
        env=_texts(step.get("env"), f"The `env` of step {number} of `{job}`"),
        inputs=_texts(step.get("with"), f"The `with` of step {number} of `{job}`"),
        continue_on_error=_text(step.get("continue-on-error")),
        timeout_minutes=_text(step.get("timeout-minutes")),
    )


def _matrix(written: object, key: str) -> list[dict[str, Any]]:
    """Return every combination, less `exclude`, with `include` merged in as GitHub does."""
    if isinstance(written, str):
        written = _dynamic(written, key)
    matrix = dict(_mapping(written, f"The matrix of `{key}`"))
    included, excluded = matrix.pop("include", None) or [], matrix.pop("exclude", None) or []
    axes = {str(name): _axis(values, name, key) for name, values in matrix.items()}
    combined = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]
    kept = [one for one in combined if axes and not any(_within(out, one) for out in excluded)]
    originals = [dict(one) for one in kept]
    for extra in included:
        fits = [at for at, one in enumerate(originals) if _agrees(extra, one)]
        for at in fits:
            kept[at] |= extra
        if not fits:
            kept.append(dict(extra))
    if not 0 < len(kept) <= _MATRIX_LIMIT:
        raise WorkflowError(f"The matrix of `{key}` makes {len(kept)} jobs.")
    return kept


def _axis(values: object, name: object, key: str) -> list[Any]:
    if isinstance(values, str):
        values = _dynamic(values, key)
    if not isinstance(values, list):
        raise WorkflowError(f"The matrix value `{name}` of `{key}` must be a list.")
    return values


def _dynamic(text: str, key: str) -> object:
    try:
        return evaluate(text.strip().removeprefix("${{").removesuffix("}}"), Scope({}))
    except ExpressionError as error:
        raise WorkflowError(f"The matrix of `{key}` is not understood: {error}") from error


def _within(part: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    return all(whole.get(name) == value for name, value in part.items())


def _agrees(extra: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """Tell whether *extra* adds to *one* without overwriting a value of its own."""
    return all(one.get(name, value) == value for name, value in extra.items()) and bool(one)


def _of_matrix(base: JobSpec, values: Mapping[str, Any], *, named: bool) -> JobSpec:
    scope = Scope({"matrix": values})
    if named and _MATRIX.search(base.name):
        name = _MATRIX.sub(lambda found: fill(found[0], scope), base.name)
    else:
        name = f"{base.name} ({', '.join(shown(value) for value in values.values())})"
    return replace(base, name=name, matrix=values)


def _ordered(jobs: Mapping[str, list[JobSpec]]) -> list[str]:
    """Return the keys so that every job stands after those it needs."""
    done: list[str] = []
    waiting = list(jobs)
    for key, (job, *_) in jobs.items():
        for need in job.needs:
            if need not in jobs:
                raise WorkflowError(f"The job `{key}` needs `{need}`, which does not exist.")
    while waiting:
        ready = [key for key in waiting if all(need in done for need in jobs[key][0].needs)]
        if not ready:
            raise WorkflowError(f"The jobs {', '.join(waiting)} need each other in a circle.")
        done += ready
        waiting = [key for key in waiting if key not in ready]
    return done


def _mapping(value: object, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise WorkflowError(f"{what} must be a mapping.")
    return value


def _texts(value: object, what: str) -> dict[str, str]:
    return {str(name): _text(item) for name, item in _mapping(value or {}, what).items()}


def _text(value: object) -> str:
    return shown(value) if not isinstance(value, float) else str(value)


def _words(value: object) -> list[str]:
    if value is None:
        return []
    return [_text(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
