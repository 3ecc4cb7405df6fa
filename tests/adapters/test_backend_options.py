"""The command lines that agents get from options as auto-coder's files have them."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from bot.backends.base import Agent, Invocation, Job
from bot.backends.registry import BACKENDS, kind
from bot.config import load
from bot.config.schema import BackendConfig
from bot.gateway.chat import Chat
from tests.support.autocoder import FALLBACK_EXAMPLE
from tests.support.sandboxes import PlainSandbox
from tests.support.tasks import a_task


def line(config: BackendConfig, *, question: str = "", inside: bool = False) -> str:
    """Return the command line of a backend; *inside* our own sandbox or not."""
    sandbox = PlainSandbox("bubblewrap" if inside else "plain")
    job = Job(config, a_task(), Path(), sandbox, Chat(), lambda: False, question=question)
    agent = BACKENDS[kind(config)]
    assert isinstance(agent, Agent)
    made = agent.command(replace(job, session="s-1", prompt_file="p.md", url="http://gw"))
    assert isinstance(made, Invocation)
    return re.sub(r" (-c|--disable) (?!model_provider=)\S+( \S*\})?", "", shlex.join(made.argv))


@pytest.mark.parametrize(
    ("name", "question", "expected"),
    [
        (
            "codex",
            "",
            (
                "codex exec --json --skip-git-repo-check -s danger-full-access"
                " -c model_provider=regreen --model gpt-5.1-codex-max -"
            ),
        ),
        (
            "codex",
            "Why?",
            (
                "codex exec --json --skip-git-repo-check -s danger-full-access"
                " -c model_provider=regreen --model gpt-5.1-codex-max -"
            ),
        ),
        (
            "qwen-openrouter",
            "",
            (
                "codex exec --json --skip-git-repo-check -s danger-full-access"
                " -c model_provider=regreen --model qwen/qwen3-coder:free -"
            ),
        ),
        ("gemini", "", "gemini -o stream-json --model gemini-2.5-pro --yolo"),
        (
            "gemini",
            "Why?",
            "gemini -o stream-json --approval-mode default --model gemini-2.5-pro",
        ),
        (
            "qwen",
            "",
            (
                "qwen --auth-type openai -o stream-json --max-wall-time 1800s -y"
                " -m qwen3-coder-plus --yolo"
            ),
        ),
        (
            "claude",
            "",
            (
                "claude -p --output-format stream-json --verbose --strict-mcp-config --model sonnet"
                " --dangerously-skip-permissions --allow-dangerously-skip-permissions"
            ),
        ),
        (
            "claude",
            "Why?",
            (
                "claude -p --output-format stream-json --verbose --strict-mcp-config"
                " --permission-mode plan --model sonnet"
            ),
        ),
        (
            "MiniMax-M2",
            "",
            (
                "claude -p --output-format stream-json --verbose --strict-mcp-config"
                " --model MiniMax-M2 --settings /home/user/minimax/settings.json"
                " --dangerously-skip-permissions"
            ),
        ),
    ],
)
def test_the_examples_options_make_a_command_line_that_the_agent_takes(
    tmp_path, name, question, expected
):
    path = tmp_path / "llm_config.toml"
    path.write_text(FALLBACK_EXAMPLE.replace("SECTION", "backend_for_failed_pr"))
    config = load.configuration(path, {}).backends[name]
    assert line(config, question=question, inside=True) == expected


@pytest.mark.parametrize(
    ("cli", "options", "has", "has_not"),
    [
        ("codex", ["-c", "model_provider=x"], "model_provider=regreen", "model_provider=x"),
        ("codex", ["-c", "approval_policy=x"], "approval_policy=x", "approval_policy=never"),
        ("codex", ["--config", "model_reasoning_effort=high"], "wire_api", "effort=high -c"),
        ("codex", ["--disable", "memories"], "--disable plugins", "--search"),
        ("codex", ["--search", "--full-auto", "--json"], "--json", "--full-auto"),
        ("gemini", ["--prompt", "a text", "--debug"], "--debug", "a text"),
        ("qwen", ["--openai-api-key", "sk-real", "--debug"], "--debug", "sk-real"),
        ("qwen", ["-p"], "--approval-mode yolo", " -p"),
    ],
)
def test_an_option_takes_nothing_away_but_its_own_choice(cli, options, has, has_not):
    config = BackendConfig("mine", cli, "m", options=tuple(options))
    job = Job(config, a_task(), Path(), PlainSandbox(), Chat(), lambda: False, url="http://gw")
    agent = BACKENDS[cli]
    assert isinstance(agent, Agent)
    made = agent.command(job)
    assert isinstance(made, Invocation)
    text = " ".join(made.argv)
    assert has in text
    assert has_not not in text
