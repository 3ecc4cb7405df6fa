"""The agents themselves, in the real sandbox, through the real gateway, before a scripted model.

They run where `make agents` was done, and are skipped with a reason elsewhere. One worker runs them
all: each takes a processor for itself.
"""

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bot.backends.registry import Registry
from bot.cli import backends
from bot.config.schema import BackendConfig, Configuration, SandboxConfig
from bot.domain.answers import Answer, Ending
from bot.domain.ports import ORDINARY, Gateway, Terms
from bot.domain.values import Secret
from bot.gateway.chat import Chat
from bot.simulator.model import Reply, ScriptedModel
from bot.workspace.sandbox import Bubblewrap
from tests.support.agents import folder, skip_without
from tests.support.autocoder import FALLBACK_EXAMPLE
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.gateways import running
from tests.support.tasks import a_failing_step, a_task, fill, texts

pytestmark = pytest.mark.xdist_group("agents")
SHELLS = {
    "claude": ("Bash", "command"),
    "codex": ("exec_command", "cmd"),
    "gemini": ("run_shell_command", "command"),
    "opencode": ("bash", "command"),
    "qwen": ("run_shell_command", "command"),
}
SLOW = ("gemini", "opencode", "aider")  # to start: `make thorough` runs them
BLOCK = """\
calc.py
```python
<<<<<<< SEARCH
    return a - b
=======
    return a + b
>>>>>>> REPLACE
```
"""
KEY = "sk-real-canary-0815"
CALC = {"calc.py": "def add(a, b):\n    return a - b\n"}
MENDED = {"calc.py": "def add(a, b):\n    return a + b\n"}
MEND = "sed 's/a - b/a + b/' calc.py > new; mv new calc.py"
# Looks for keys, for the prompt's file and for what the pull request brought along.
LOOK = "cat /proc/*/environ | tr '\\0' '\\n' | grep -iE 'key|token|secret'; ls -A"
FIRED = "touch /tree/fired"
HOOK = {"hooks": [{"type": "command", "command": FIRED}]}
SERVER = json.dumps({"mcpServers": {"x": {"command": "sh", "args": ["-c", FIRED]}}})
BROUGHT = {
    ".claude/settings.json": json.dumps({"hooks": {"SessionStart": [HOOK]}}),
    ".mcp.json": SERVER,
    ".gemini/settings.json": SERVER,
    ".qwen/settings.json": SERVER,
    ".codex/config.toml": f'notify = ["sh", "-c", "{FIRED}"]\n',
    "opencode.json": json.dumps(
        {"mcp": {"x": {"type": "local", "command": ["sh", "-c", FIRED], "enabled": True}}}
    ),
    ".aider.conf.yml": f"lint-cmd: {FIRED}\nauto-lint: true\n",
}


def agents(*names: str) -> list[Any]:
    """Return these agents as parameters, the slow ones with their mark."""
    thorough = pytest.mark.thorough
    return [pytest.param(name, marks=[thorough] if name in SLOW else []) for name in names]


@dataclass
class Stage:
    """One agent, its model and its gateway; `play` runs it once."""

    cli: str
    model: ScriptedModel
    gateway: Gateway
    tree: Path
    homes: Path

    def turns(self, *commands: str, then: str) -> None:
        """Have the model run *commands* and then speak; aider's model cannot but speak."""
        if self.cli in SHELLS:
            tool, key = SHELLS[self.cli]
            extra = {"description": "a command"} if self.cli in {"claude", "opencode"} else {}
            for command in commands:
                self.model.will_answer("m", Reply(tool=tool, arguments={key: command, **extra}))
        self.model.will_answer("m", then)

    def config(self, **changes) -> BackendConfig:
        """Return the agent as a backend that leads to the model."""
        versioned = self.cli not in {"claude", "gemini"}
        url = self.model.url if versioned else self.model.url.removesuffix("/v1")
        given = {"base_url": url, "api_key": Secret(KEY), "max_retries": 0, **changes}
        return BackendConfig(self.cli, self.cli, "m", **given)

    def play(self, terms: Terms = ORDINARY, **changes) -> Answer:
        config = self.config(**changes)
        configuration = Configuration(backends={self.cli: config})
        sandbox = Bubblewrap(SandboxConfig(), f"{folder()}:{os.defpath}")
        registry = Registry(
            lambda: configuration, sandbox, Chat(), gateway=self.gateway, homes=self.homes
        )
        return registry.run(
            self.cli,
            fallback=False,
            task=a_task(a_failing_step(at=("calc.py",))),
            tree=self.tree,
            stop=lambda: False,
            terms=terms,
        )

    def heard(self) -> str:
        """Return all that the model was sent."""
        return json.dumps([call.body for call in self.model.calls])


@pytest.fixture(params=agents("codex", "claude", "gemini", "qwen", "opencode", "aider"))
def stage(request, tmp_path):
    skip_without_bubblewrap()
    skip_without(request.param)
    with ScriptedModel() as model, running() as (gateway, _, _):
        yield Stage(
            request.param, model, gateway, fill(tmp_path / "tree", CALC), tmp_path / "homes"
        )


def example_options(cli: str) -> tuple[str, ...]:
    """Return the options that auto-coder's example gives an agent."""
    return tuple(tomllib.loads(FALLBACK_EXAMPLE)["backends"][cli]["options"])


@pytest.mark.parametrize("stage", agents("codex", "claude", "gemini", "qwen"), indirect=True)
def test_an_agent_works_through_a_provider_and_takes_the_options_of_auto_coders_example(stage):
    stage.turns(f"env | grep REGION; {MEND}", then="Mended.")
    way = stage.config(
        api_key=Secret(f"{KEY}-other"),
        options=example_options(stage.cli),
        env={"REGION": "elsewhere", "OPENAI_API_KEY": "theirs", "ANTHROPIC_API_KEY": "theirs"},
        provider="other",
    )
    answer = stage.play(Terms(provider="other"), base_url="http://nowhere", ways={"other": way})
    assert answer.ending is Ending.EDITED, answer.detail
    assert texts(stage.tree)["calc.py"] == MENDED["calc.py"]
    assert "REGION=elsewhere" in stage.heard()
    keys = {call.authorization.removeprefix("Bearer ") for call in stage.model.calls}
    assert keys == {f"{KEY}-other"}
    assert KEY not in stage.heard()


def test_an_agent_mends_a_file_holds_no_key_and_obeys_no_settings_of_the_pull_request(stage):
    fill(stage.tree, BROUGHT)
    stage.turns(LOOK, MEND, then=f"I mend it.\n\n{BLOCK}" if stage.cli == "aider" else "Mended.")
    answer = stage.play()
    left = {name: text for name, text in texts(stage.tree).items() if ".aider.chat" not in name}
    assert answer.ending is Ending.EDITED, answer.detail
    assert left == {**MENDED, **BROUGHT}, "nothing else was made"
    assert "mend" in answer.text.lower()
    assert answer.usage.input_tokens > 0
    assert KEY not in stage.heard()
    assert stage.cli == "aider" or "sk-regreen" in stage.heard(), "it looked, and saw the dummy"
    assert {call.authorization.removeprefix("Bearer ") for call in stage.model.calls} == {KEY}


def test_a_session_goes_on_where_it_ended(stage):
    if stage.cli == "aider":
        pytest.skip("aider keeps no sessions")
    stage.turns(then="First.")
    first = stage.play()
    calls = len(stage.model.calls)
    second = stage.play(Terms(question="And then?", resume=first.session))
    assert (first.ending, second.ending) == (Ending.EDITED, Ending.EDITED)
    later = json.dumps([call.body for call in stage.model.calls[calls:]])
    assert "First." in later
    assert "And then?" in later


def test_it_mends_a_line_when_it_is_tried(stage, tmp_path):
    stage.turns(MEND, then=f"I mend it.\n\n{BLOCK}" if stage.cli == "aider" else "Mended.")
    versioned = stage.cli not in {"claude", "gemini"}
    url = stage.model.url if versioned else stage.model.url.removesuffix("/v1")
    config = tmp_path / "llm_config.toml"
    config.write_text(
        f'[backends.{stage.cli}]\nmodel = "m"\napi_key = "{KEY}"\nbase_url = "{url}"\n'
    )
    env = {
        "REGREEN_CONFIG": str(config),
        "REGREEN_DATA_DIR": str(tmp_path / "data"),
        "PATH": f"{folder()}:{TOOLS}",
    }
    listed = CliRunner().invoke(backends.app, ["list", "--json"], env=env)
    (row,) = json.loads(listed.stdout)
    assert re.fullmatch(r"\d+\.\d+\.\d+", row["program"]["version"]), row
    tried = CliRunner().invoke(backends.app, ["test", "--json"], env=env)
    (told,) = json.loads(tried.stdout)
    assert (tried.exit_code, told["ok"]) == (0, True), told
    assert told["edit"]["input_tokens"] > 0
    assert KEY not in listed.output + tried.output


def test_what_the_gateway_saw_is_how_it_ended(stage):
    stage.model.will_answer("m", Reply("No.", status=401))
    answer = stage.play()
    assert answer.ending is Ending.AUTH, answer.detail
    assert "401" in answer.detail
    assert texts(stage.tree).keys() - {".aider.chat.history.md"} == CALC.keys()
