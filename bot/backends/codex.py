"""OpenAI's Codex, headless: `codex exec --json`.

It knows the gateway as a model provider of its own, because it heeds no OPENAI_BASE_URL. Inside our
sandbox its own is switched off, whatever the options say: ours forbids the namespaces that it would
make, so every command of it would fail while it ends with exit code 0. Every failure ends with exit
code 1; the words of `turn.failed` tell them apart. `Reconnecting…` is no failure yet.
"""

import re
from dataclasses import replace
from typing import Any

from bot.backends import account, prompt
from bot.backends.account import Said
from bot.backends.base import Invocation, Job
from bot.backends.flags import Flag, merged
from bot.domain.answers import Answer
from bot.domain.ports import Finished
from bot.domain.values import Usage

_KEY = "REGREEN_MODEL_KEY"
_IDLE_MS = 120_000  # without an event of a stream
_OFF = ("unbounded_connection_retries", "plugins", "apps")
_SANDBOX = (
    *("-s", "--sandbox", "--approve-for-me", "--yolo"),
    "--dangerously-bypass-approvals-and-sandbox",
)
_REFUSED = ("--full-auto", "--search")  # auto-coder's files hold them; `exec` takes them no more
_ACTS = frozenset({"command_execution", "file_change", "mcp_tool_call", "web_search"})
_RETRY = re.compile(r"Reconnecting\.\.\. [^(]*\((.*)\)", re.DOTALL)


def command(job: Job) -> Invocation | Answer:
    """Return the program to start."""
    resume = ("resume", job.resume) if job.resume else ()
    return Invocation(
        ("codex", "exec", *merged(_flags(job), job), *resume, "-"),
        prompt.asked(job.task, job.question),
        env={_KEY: job.key},
    )


def read(job: Job, finished: Finished) -> Answer:
    """Return what the run comes to."""
    said = Said()
    for event in account.events(finished.output):
        said = _heard(said, event)
    if job.resume:  # its counts include those of the runs before
        said = replace(said, usage=Usage())
    return account.judged(job, finished, said)


def _flags(job: Job) -> tuple[Flag, ...]:
    inside = job.sandbox.name in {"bubblewrap", "podman", "docker"}
    mode = "danger-full-access" if inside else "workspace-write"
    provider = (
        f'{{name="regreen",base_url="{job.url}/v1",env_key="{_KEY}",wire_api="responses",'
        f"request_max_retries={job.retries},stream_max_retries={job.retries},"
        f"stream_idle_timeout_ms={_IDLE_MS}}}"
    )
    settings = (
        "approval_policy=never",
        "analytics.enabled=false",
        "check_for_update_on_startup=false",
    )
    ours = ("model_provider=regreen", f"model_providers.regreen={provider}")
    return (
        Flag(("--json",), ours=True),
        Flag(("--skip-git-repo-check",), ours=True),  # a tree holds no `.git`
        Flag(("-s", mode), _SANDBOX, ours=inside),
        *((Flag(("-m", job.model), ("--model",)),) if job.model else ()),
        *(Flag(("--disable", feature)) for feature in _OFF),
        *(Flag(("-c", setting)) for setting in settings),
        *(Flag(("-c", setting), ours=True) for setting in ours),
        *(Flag((word,), barred=True) for word in _REFUSED),
    )


def _heard(said: Said, event: dict[str, Any]) -> Said:
    match event.get("type"):
        case "thread.started":
            return replace(said, session=account.text(event, "thread_id"))
        case "item.completed":
            return _item(said, account.part(event, "item"))
        case "error":
            message = account.text(event, "message")
            retry = _RETRY.match(message)
            return replace(said, error=retry[1] if retry else message)
        case "turn.failed":
            return replace(said, error=account.text(account.part(event, "error"), "message"))
        case "turn.completed":
            spent = account.part(event, "usage")
            usage = Usage(
                account.count(spent, "input_tokens"), account.count(spent, "output_tokens")
            )
            return replace(said, done=True, error="", usage=usage)
        case _:
            return said


def _item(said: Said, item: dict[str, Any]) -> Said:
    if item.get("type") == "agent_message":
        return replace(said, text=account.text(item, "text"))
    return replace(said, acted=said.acted or item.get("type") in _ACTS)
