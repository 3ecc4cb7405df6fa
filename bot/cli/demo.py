"""`regreen demo`: six red pull requests become green, live, by the real server.

A simulated GitHub and a scripted model run on loopback; the server is a process of its own, the
same that `regreen serve` starts, with real webhooks, real git, real commands and a real sandbox.
This module opens the pull requests, watches GitHub as a person would, and tells what it sees.
"""

import re
import signal
import socket
import subprocess  # the server is the product itself, started as a user starts it
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bot.config.load import environment
from bot.config.schema import SandboxConfig
from bot.domain.errors import Broken
from bot.simulator import stories
from bot.simulator.model import ScriptedModel
from bot.simulator.serve import SimOptions, Simulator
from bot.simulator.stories import FALLBACK, PRIMARY, REPO, SCENES, Scene
from bot.workspace.sandbox import Bubblewrap
from bot.workspace.toolpath import host_path

DEADLINE_S = 180.0
LOOK_S = 0.2
ANNOUNCED = re.compile(
    r"(?:Switched to fallback backend for PR #\d+ \(attempt \d+\)|Using fallback backend: [\w.-]+)"
)

CONFIG = """\
[backend]
default = "primary"
order = ["primary"]

[backends.primary]
backend_type = "openai"
model = "{primary}"
base_url = "{model_url}"
api_key = "not-a-key"

[backend_for_failed_pr]
backend_type = "openai"
model = "{fallback}"
base_url = "{model_url}"
api_key = "not-a-key"

[regreen]
autofix = true
settle_s = 0.3
write_pause_s = 0.05

[retry]
rejected_base_s = 0.5

[sandbox]
driver = "{driver}"
"""


@dataclass
class Watched:
    """One scene's pull request, and what has been told about it."""

    scene: Scene
    number: int
    told: set[str] = field(default_factory=set)
    ended_at: float | None = None
    ended_as: str = ""
    approved: bool = False


def command(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything up at the end, until Ctrl-C.")
    ] = False,
) -> None:
    """Play the demo; exit with 0 only if all six scenes ended as told."""
    console = Console(highlight=False, soft_wrap=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # so that no server is left behind
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="regreen-demo-") as folder:
        ended_well = Demo(Path(folder), console).play(keep=keep)
    raise typer.Exit(0 if ended_well else 1)


class Demo:
    """The simulated GitHub, the scripted model, the server, and the narrator."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console
        self._began = time.monotonic()
        self._log = folder / "server.log"
        self._log_read = 0

    def play(self, *, keep: bool) -> bool:
        """Play all scenes; return whether each ended as told."""
        self._introduce()
        base = self._folder / "shop"
        stories.make_repository(base)
        options = SimOptions(repos={REPO: base}, data=self._folder / "github")
        with ScriptedModel() as model, Simulator(options) as github:
            port = _free_port()
            github.set_webhook(f"http://127.0.0.1:{port}/webhooks/github", github.webhook_secret)
            with self._server(github, model, port) as server:
                watched = [self._open(github, model, scene) for scene in SCENES]
                self._watch(github, watched, server)
                ended_well = self._tell_the_end(github, model, watched)
                if keep:
                    self._stay(github, port)
        return ended_well

    def _introduce(self) -> None:
        say = self._console.print
        say("[bold]Regreen's demo.[/] Six red pull requests, repaired by the real server.")
        say("GitHub is [bold]simulated[/] on loopback; git, webhooks, CI commands are real.")
        say("The model is [bold]scripted[/]: its answers are fixed, and sometimes wrong.")
        if reason := _no_sandbox():
            say(
                f"[yellow]No sandbox:[/] {reason}. The demo's own code runs without one; "
                "a server would refuse to run yours."
            )
        else:
            say("Mends are proved in a bubblewrap sandbox without network.")
        say()

    @contextmanager
    def _server(
        self, github: Simulator, model: ScriptedModel, port: int
    ) -> Iterator["subprocess.Popen[bytes]"]:
        config = self._folder / "llm_config.toml"
        config.write_text(
            CONFIG.format(
                primary=PRIMARY,
                fallback=FALLBACK,
                model_url=model.url,
                driver="none"
                if Bubblewrap(SandboxConfig(), host_path()).available()
                else "bubblewrap",
            )
        )
        env = {
            **environment(),
            "REGREEN_APP_ID": str(github.app_id),
            "REGREEN_PRIVATE_KEY": github.private_key,
            "REGREEN_WEBHOOK_SECRET": github.webhook_secret,
            "REGREEN_GITHUB_URL": github.url,
            "REGREEN_DATABASE_URL": "",
            "REGREEN_DATA_DIR": str(self._folder / "data"),
            "REGREEN_CONFIG": str(config),
            "REGREEN_HOST": "127.0.0.1",
            "REGREEN_PORT": str(port),
            "REGREEN_ENV": "development",
        }
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "bot", "serve", "--log-format", "json"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        try:
            self._await_ready(process, port)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _await_ready(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        with httpx.Client(trust_env=False) as client:
            for _ in range(900):
                if process.poll() is not None:
                    break
                with suppress(httpx.TransportError):
                    if client.get(f"http://127.0.0.1:{port}/readyz").is_success:
                        return
                time.sleep(0.1)
        raise Broken(f"the server did not start; its log says:\n{self._log.read_text()[-3000:]}")

    def _open(self, github: Simulator, model: ScriptedModel, scene: Scene) -> Watched:
        number = github.open_pull(REPO, files=dict(scene.files), title=scene.title)
        key = f"{REPO}#{number}"
        model.will_answer(PRIMARY, *scene.primary, key=key)
        model.will_answer(FALLBACK, *scene.fallback, key=key)
        self._say(number, f"opened: [bold]{scene.title}[/] [dim]({scene.letter}: {scene.story})[/]")
        return Watched(scene, number)

    # --- narrating ---

    def _say(self, number: int, text: str) -> None:
        seconds = time.monotonic() - self._began
        self._console.print(f"[dim]{seconds:5.1f} s[/]  [cyan]#{number}[/]  {text}")

    def _watch(
        self,
        github: Simulator,
        watched: list[Watched],
        server: "subprocess.Popen[bytes]",
    ) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while any(one.ended_at is None for one in watched):
            if server.poll() is not None or time.monotonic() > deadline:
                why = "the server ended" if server.poll() is not None else "time is up"
                self._console.print(
                    f"[red]{why}.[/] Its log ends:\n{self._log.read_text()[-3000:]}"
                )
                return
            self._tell_log()
            for one in watched:
                self._look(github, one)
            time.sleep(LOOK_S)

    def _look(self, github: Simulator, one: Watched) -> None:
        head = github.head(REPO, one.number)
        for comment in github.comments(REPO, one.number):
            line = comment["body"].partition("\n")[0].removeprefix("### ")
            if line.startswith("/"):
                line = f"{comment['user']['login']} says: {line}"
            if line not in one.told:
                one.told.add(line)
                self._say(one.number, line.replace("[", "\\["))
        ours = [check for check in github.checks(REPO, head) if check["name"] == "regreen"]
        others = [check for check in github.checks(REPO, head) if check["name"] != "regreen"]
        red = sorted(check["name"] for check in others if check["conclusion"] == "failure")
        done = others and all(check["status"] == "completed" for check in others)
        if done:
            state = f"CI on {head[:7]} is " + (
                f"[red]red[/]: {', '.join(red)}" if red else "[green]green[/]"
            )
            if state not in one.told:
                one.told.add(state)
                self._say(one.number, state)
        if ours and _held(ours[-1]) and one.scene.approved:
            if not one.approved:
                one.approved = True
                github.comment(REPO, one.number, f"/regreen approve {head[:10]}", by="owner")
            return
        if ours and ours[-1]["conclusion"] and one.ended_at is None and done:
            one.ended_as = ours[-1]["conclusion"]
            one.ended_at = time.monotonic()
            title = (ours[-1]["output"] or {}).get("title") or ""
            self._say(one.number, f"check run [bold]regreen[/]: {one.ended_as} [dim]({title})[/]")

    def _tell_log(self) -> None:
        text = self._log.read_text()
        for line in ANNOUNCED.findall(text[self._log_read :]):
            self._console.print(f"[dim]         the log:[/]  {line}")
        self._log_read = text.rfind("\n") + 1

    def _tell_the_end(
        self, github: Simulator, model: ScriptedModel, watched: list[Watched]
    ) -> bool:
        self._tell_log()
        columns = ("", "scene", "ended", "mended by", "attempts", "calls", "s")
        table = Table(*columns, box=SIMPLE)
        well = True
        for one in watched:
            calls = sum(call.key == f"{REPO}#{one.number}" for call in model.calls)
            bodies = [comment["body"] for comment in github.comments(REPO, one.number)]
            count, by = _attempts(bodies), _by(bodies)
            expected = len(one.scene.primary) + len(one.scene.fallback)
            right = (one.ended_as, count, by, calls) == (
                one.scene.ends,
                one.scene.attempts,
                one.scene.by,
                expected,
            )
            well = well and right
            table.add_row(
                "[green]✓[/]" if right else "[red]✗[/]",
                f"{one.scene.letter} #{one.number}",
                one.ended_as or "[red]not at all[/]",
                by,
                str(count),
                str(calls),
                "" if one.ended_at is None else f"{one.ended_at - self._began:.0f}",
            )
        self._console.print()
        self._console.print(table)
        whole = time.monotonic() - self._began
        verdict = "[green]All six ended as told[/]" if well else "[red]Not all ended as told[/]"
        self._console.print(f"{verdict}, in {whole:.0f} s.")
        return well

    def _stay(self, github: Simulator, port: int) -> None:
        say = self._console.print
        say(f"\nGitHub (simulated): {github.url}/repos/{REPO}/pulls")
        say(f"Regreen:            http://127.0.0.1:{port}/metrics")
        say(f"The server's log:   {self._log}")
        say(f"A person's token:   {github.tokens['owner']}")
        say("Both stay up until Ctrl-C.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            say("Bye.")


def _held(check: Mapping[str, Any]) -> bool:
    """Say whether our check run asks for an approval."""
    return "waits for an approval" in ((check["output"] or {}).get("title") or "")


def _attempts(bodies: list[str]) -> int:
    """Return the number of attempts that comments tell of, retired ones included."""
    pattern = re.compile(r"<!-- regreen (?:retired )?attempt=(\d+) ")
    return max((int(match[1]) for body in bodies if (match := pattern.search(body))), default=0)


def _by(bodies: list[str]) -> str:
    """Return who mended the pull request, as its comments tell it."""
    proved = [body for body in bodies if "**Proved**" in body]
    if proved and (match := re.search(r"\*\*Mended\*\* by `([^`]+)`", proved[-1])):
        return match[1]
    return "a re-run" if any("green again" in body for body in bodies) else "nobody"


def _no_sandbox() -> str | None:
    """Return why this machine has no sandbox, or None."""
    return Bubblewrap(SandboxConfig(), host_path()).available()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
