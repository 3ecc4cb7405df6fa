"""A runner of GitHub Actions that really runs the `run:` steps of a job.

Every step is a script file, run by its shell in the checkout with a clean environment, in a process
group of its own that is killed when the step ends, is stopped or takes too long. `uses:` steps run
nothing: the checkout is already there, and the tools are those on the PATH; the log says so. What
the steps print becomes a log as GitHub writes it, with its groups, time stamps and error lines.

Log format: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from bot.simulator import clock
from bot.simulator.expressions import ExpressionError, Scope, evaluate, fill, holds, truth
from bot.simulator.joblog import Annotation, Log
from bot.simulator.workflows import JobSpec, StepSpec, WorkflowError, jobs_of

__all__ = [
    "JobResult",
    "JobSpec",
    "StepResult",
    "WorkflowError",
    "jobs_of",
    "run_job",
    "should_run",
]

_JOB_MINUTES = 360.0
_KILL_AFTER_S = 2.0  # between SIGTERM and SIGKILL
_LOOK_S = 0.1  # how often a running step looks whether it must stop
_LINE = 1024 * 1024  # bytes of one line of output
_SHELLS: Mapping[str, str] = {
    "": "bash -e {0}",
    "bash": "bash --noprofile --norc -e -o pipefail {0}",
    "sh": "sh -e {0}",
    "python": "python {0}",
}
_STANDS_FOR: Mapping[str, str] = {
    "actions/checkout": "The commit is already checked out in the workspace.",
    "actions/setup-": "The tools found on the PATH are used as they are.",
    "actions/cache": "Nothing is cached here.",
    "actions/upload-artifact": "No artifact is kept here.",
}


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step as the jobs API shows it; `number` counts from 1."""

    name: str
    number: int
    conclusion: str
    started_at: datetime
    completed_at: datetime


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended: success, failure or cancelled, step by step, with its whole log."""

    conclusion: str
    steps: tuple[StepResult, ...]
    log: bytes
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a job may see besides its environment: conclusions of needed jobs by id, and secrets."""

    needs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


def should_run(job: JobSpec, needs: Mapping[str, str], env: Mapping[str, str]) -> bool:
    """Decide the job's own `if:` from the conclusions of the jobs that it needs."""
    ends = {needs.get(name, "skipped") for name in job.needs} - {"success", "neutral"}
    worst = next((end for end in ("cancelled", "failure", "skipped") if end in ends), "success")
    contexts = {"github": _github(env), "needs": _results(needs), "vars": {}, "inputs": {}}
    try:
        return holds(job.condition, Scope(contexts, worst))
    except ExpressionError as error:
        raise WorkflowError(f"The `if` of the job `{job.id}` is not understood: {error}") from error


def run_job(
    job: JobSpec,
    checkout: Path,
    *,
    env: Mapping[str, str],
    stopped: Callable[[], bool],
    inputs: Inputs | None = None,
) -> JobResult:
    """Run *job* in *checkout* and return when it has ended.

    `env` is all that the steps get of the outside: PATH and the `GITHUB_*` of the run. `stopped` is
    asked ten times a second.
    """
    with tempfile.TemporaryDirectory(prefix="runner-", ignore_cleanup_errors=True) as folder:
        return _Runner(job, checkout, Path(folder), stopped).run(env, inputs or Inputs())


class _Runner:
    """One job while it runs; `status` is how it stands so far."""

    def __init__(
        self, job: JobSpec, checkout: Path, folder: Path, stopped: Callable[[], bool]
    ) -> None:
        self._job = job
        self._checkout = checkout
        self._folder = folder
        self._stopped = stopped
        self._log = Log()
        self._status = "success"
        self._results: list[StepResult] = []
        self._base: dict[str, str] = {}
        self._env: dict[str, str] = {}  # what the workflow, the job and GITHUB_ENV set
        self._contexts: dict[str, Any] = {"steps": {}, "env": self._env}
        self._minutes = _JOB_MINUTES
        self._deadline = time.monotonic() + self._minutes * 60

    def run(self, env: Mapping[str, str], inputs: Inputs) -> JobResult:
        self._log = Log(tuple(inputs.secrets.values()))
        self._account("Set up job", lambda: self._set_up(env, inputs))
        for step in self._job.steps:
            self._account(self._title(step), lambda step=step: self._take(step))  # type: ignore[misc]  # mypy cannot infer the default
        self._account("Complete job", self._complete)
        annotations = tuple(self._log.annotations)
        return JobResult(self._status, tuple(self._results), self._log.content(), annotations)

    def _account(self, name: str, work: Callable[[], str]) -> None:
        started = clock.now()
        try:
            conclusion = work()
        except ExpressionError as error:
            self._log.error(f"The template is not valid. {error}")
            conclusion = "failure"
        number = len(self._results) + 1
        self._results.append(StepResult(name, number, conclusion, started, clock.now()))
        if self._status == "success" and conclusion in {"failure", "cancelled"}:
            self._status = conclusion

    def _set_up(self, env: Mapping[str, str], inputs: Inputs) -> str:
        home, temp = self._folder / "home", self._folder / "temp"
        home.mkdir()
        temp.mkdir()
        self._base = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "GITHUB_RUN_ATTEMPT": "1",
            **env,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_JOB": self._job.id,
            "GITHUB_WORKFLOW": self._job.workflow_name,
            "GITHUB_WORKSPACE": str(self._checkout),
            "HOME": str(home),
            "TMPDIR": str(temp),
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(temp),
        }
        self._contexts |= {
            "github": _github(self._base),
            "matrix": dict(self._job.matrix),
            "runner": {"os": "Linux", "arch": "X64", "name": "simulator", "temp": str(temp)},
            "needs": _results(inputs.needs),
            "secrets": {"GITHUB_TOKEN": env.get("GITHUB_TOKEN", ""), **inputs.secrets},
            "vars": {},
            "inputs": {},
        }
        self._log.line("Current runner version: 'simulated'")
        self._log.group("Operating System", ["This machine, without isolation"])
        for name, value in self._job.env.items():
            self._env[name] = self._fill(value)
        self._minutes = self._number(self._job.timeout_minutes, _JOB_MINUTES)
        self._deadline = time.monotonic() + self._minutes * 60
        self._log.line(f"Complete job name: {self._job.name}")
        return "success"

    def _complete(self) -> str:
        self._log.line("Cleaning up orphan processes")
        return "success"

    def _title(self, step: StepSpec) -> str:
        try:
            return self._fill(step.name)
        except ExpressionError:
            return step.name

    def _take(self, step: StepSpec) -> str:
        if self._status == "cancelled" or not holds(step.condition, self._scope()):
            return "skipped"
        outputs: dict[str, str] = {}
        try:
            outcome = self._stand_in(step) if step.uses else self._script(step, outputs)
        except ExpressionError as error:
            self._log.error(f"The template is not valid. {error}")
            outcome = "failure"
        forgiven = outcome == "failure" and self._flag(step.continue_on_error)
        conclusion = "success" if forgiven else outcome
        if step.id:
            seen = {"outcome": outcome, "conclusion": conclusion, "outputs": outputs}
            self._contexts["steps"][step.id] = seen
        return conclusion

    def _stand_in(self, step: StepSpec) -> str:
        name = step.uses.partition("@")[0]
        meaning = next((text for key, text in _STANDS_FOR.items() if name.startswith(key)), "")
        self._log.group(
            f"Run {step.uses}",
            ["with:", *(f"  {key}: {value}" for key, value in step.inputs.items())],
        )
        if meaning:
            self._log.line(meaning)
        else:
            self._log.output(f"::warning::The action {name} does not run here; it is passed over.")
        return "success"

    def _script(self, step: StepSpec, outputs: dict[str, str]) -> str:
        env = self._env | {name: self._fill(value) for name, value in step.env.items()}
        shell = self._fill(step.shell or self._job.shell)
        template = _SHELLS.get(shell, shell)
        script = self._fill(step.run)
        self._announce(script, template, env)
        where = self._checkout / self._fill(step.working_directory or self._job.working_directory)
        if "{0}" not in template or not where.is_dir():
            wrong = f"No such directory: {where}" if "{0}" in template else f"No shell: {shell}"
            self._log.error(wrong)
            return "failure"
        file = self._folder / f"step-{len(self._results)}{'.py' if shell == 'python' else '.sh'}"
        file.write_text(script if script.endswith("\n") else script + "\n")
        files = self._files()
        minutes = self._number(step.timeout_minutes, _JOB_MINUTES)
        command = [word.replace("{0}", str(file)) for word in shlex.split(template)]
        ended = self._execute(command, where, self._base | env | files, minutes * 60)
        self._read_back(files, outputs)
        return self._verdict(ended, step, minutes)

    def _announce(self, script: str, template: str, env: Mapping[str, str]) -> None:
        lines = script.rstrip("\n").split("\n")
        shown = [f"\x1b[36;1m{line}\x1b[0m" for line in lines]
        shown.append(f"shell: {template}")
        if env:
            shown += ["env:", *(f"  {name}: {value}" for name, value in env.items())]
        self._log.group(f"Run {lines[0]}", shown)

    def _verdict(self, ended: "_Ended", step: StepSpec, minutes: float) -> str:
        match ended:
            case "stopped":
                self._log.error("The operation was canceled.")
                return "cancelled"
            case "job timed out":
                self._log.error(
                    f"The job has exceeded the maximum execution time of {self._minutes:g} minutes."
                )
                return "cancelled"
            case "timed out":
                self._log.error(
                    f"The action '{self._title(step)}' has timed out after {minutes:g} minutes."
                )
                return "failure"
            case 0:
                return "success"
            case _:
                self._log.error(f"Process completed with exit code {ended}.")
                return "failure"

    def _execute(
        self, command: Sequence[str], where: Path, env: Mapping[str, str], limit_s: float
    ) -> "_Ended":
        try:
            process = subprocess.Popen(  # noqa: S603  # running the repository's commands is the purpose
                command,
                cwd=where,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._log.output(f"{command[0]}: {error.strerror}")
            return 127
        assert process.stdout is not None
        reader = threading.Thread(target=self._copy, args=(process.stdout,), daemon=True)
        reader.start()
        ended = self._wait(process, min(time.monotonic() + limit_s, self._deadline))
        _kill(process)
        reader.join(_KILL_AFTER_S)
        return ended

    def _wait(self, process: subprocess.Popen[bytes], deadline: float) -> "_Ended":
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_LOOK_S)
                return code if code >= 0 else 128 - code
            if self._stopped():
                return "stopped"
            if time.monotonic() >= deadline:
                return "job timed out" if deadline == self._deadline else "timed out"

    def _copy(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LINE):
                self._log.output(line.decode(errors="replace").rstrip("\r\n"))

    def _files(self) -> dict[str, str]:
        names = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
        files = {}
        for name in names:
            path = self._folder / f"{name.lower()}-{len(self._results)}"
            path.touch()
            files[name] = str(path)
        return files

    def _read_back(self, files: Mapping[str, str], outputs: dict[str, str]) -> None:
        self._env.update(_pairs(Path(files["GITHUB_ENV"]).read_text(errors="replace")))
        outputs.update(_pairs(Path(files["GITHUB_OUTPUT"]).read_text(errors="replace")))
        for line in Path(files["GITHUB_PATH"]).read_text(errors="replace").splitlines():
            self._base["PATH"] = f"{line}{os.pathsep}{self._base['PATH']}"

    def _scope(self) -> Scope:
        return Scope(self._contexts | {"job": {"status": self._status}}, self._status)

    def _fill(self, text: str) -> str:
        return fill(text, self._scope())

    def _flag(self, text: str) -> bool:
        return truth(text) and truth(evaluate(self._fill(text), self._scope()))

    def _number(self, text: str, default: float) -> float:
        try:
            return float(self._fill(text) or default)
        except ValueError as error:
            raise ExpressionError(f"timeout-minutes must be a number, not '{text}'") from error


_Ended = int | str


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the step's process group, politely first while its leader lives."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_AFTER_S)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _github(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the `github` context that these `GITHUB_*` variables describe."""
    context: dict[str, Any] = {
        name.removeprefix("GITHUB_").lower(): value
        for name, value in env.items()
        if name.startswith("GITHUB_")
    }
    event = context.get("event_path")
    with contextlib.suppress(OSError, ValueError):
        context["event"] = json.loads(Path(event).read_bytes()) if event else {}
    return context


def _results(needs: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"result": end, "outputs": {}} for name, end in needs.items()}


def _pairs(text: str) -> dict[str, str]:
    """Read `name=value` lines and `name<<END … END` blocks."""
    pairs: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, block, end = line.partition("<<")
        if block and "=" not in name:
            value = list(iter(lambda: next(lines, end), end))  # noqa: B023  # called at once
            pairs[name] = "\n".join(value)
        elif "=" in line:
            name, _, rest = line.partition("=")
            pairs[name] = rest
    return pairs
