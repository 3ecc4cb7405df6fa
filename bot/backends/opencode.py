"""OpenCode, headless: `opencode run --format json`, over an OpenAI-compatible API.

All its settings come in one variable. It has no event for its end: a last step whose reason is
"stop" is one. A reply that is no model's, such as a web page, is a step for the reason "unknown" to
it, and it asks again, for ever.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from bot.backends import account, prompt
from bot.backends.account import Said
from bot.backends.base import Invocation, Job
from bot.backends.flags import Flag, merged
from bot.domain.answers import Answer, Ending
from bot.domain.ports import Finished
from bot.domain.values import Usage

_PROVIDER = "regreen"
_CALL_MS = 600_000
_CHUNK_MS = 120_000
_LIMIT = {"context": 128_000, "output": 8_000}  # what any model can do; unknown ones need a number
_EDIT = {"*": "allow"}
_ASK = {"*": "deny", "read": "allow", "grep": "allow", "glob": "allow", "list": "allow"}
_OFF = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")
_SECONDS = re.compile(r"[0-9]{1,9}")
_UNREADABLE = 3  # steps in a row for the reason "unknown"


def command(job: Job) -> Invocation | Answer:
    """Return the program to start, or why there is none."""
    if not job.model:
        return Answer(Ending.NOT_FOUND, detail=f"backend {job.config.name} names no model")
    model = f"{_PROVIDER}/{job.model}"
    flags = (
        Flag(("--format", "json"), ours=True),
        Flag(("-m", model), ("--model",), ours=True),  # the gateway is its only provider
        Flag(("--title", f"regreen {job.session}")),
        *((Flag(("--session", job.resume), ("-s", "--continue", "-c")),) if job.resume else ()),
    )
    env = {f"OPENCODE_DISABLE_{name}": "1" for name in _OFF}
    return Invocation(
        ("opencode", "run", *merged(flags, job)),
        prompt.asked(job.task, job.question),
        env={"OPENCODE_CONFIG_CONTENT": msgspec.json.encode(_settings(job, model)).decode(), **env},
        circle='"reason":"unknown"',
    )


def read(job: Job, finished: Finished) -> Answer:
    """Return what the run comes to."""
    said, unreadable = Said(), 0
    for event in account.events(finished.output):
        said = _heard(said, event)
        if event.get("type") == "step_finish":
            unknown = account.part(event, "part").get("reason") == "unknown"
            unreadable = unreadable + 1 if unknown else 0
    if unreadable >= _UNREADABLE and not said.error:
        error = "the model's replies cannot be read; check base_url"
        said = replace(said, done=False, error=error, ending=Ending.INVALID)
    return account.judged(job, finished, said)


def _settings(job: Job, model: str) -> dict[str, Any]:
    options = {
        "baseURL": f"{job.url}/v1",
        "apiKey": job.key,
        "timeout": _CALL_MS,
        "chunkTimeout": _CHUNK_MS,
    }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": options,
        "models": {job.model: {"limit": _LIMIT}},
    }
    return {
        "autoupdate": False,
        "share": "disabled",
        "enabled_providers": [_PROVIDER],
        "small_model": model,
        "permission": _ASK if job.question else _EDIT,
        "provider": {_PROVIDER: provider},
    }


def _heard(said: Said, event: Mapping[str, Any]) -> Said:
    said = replace(said, session=account.text(event, "sessionID") or said.session)
    part = account.part(event, "part")
    match event.get("type"):
        case "text":
            return replace(said, text=account.text(part, "text"))
        case "tool_use":
            return replace(said, acted=True)
        case "step_finish":
            done = part.get("reason") == "stop"
            return replace(said, done=done, error="", usage=_sum(said.usage, part))
        case "error":
            return _failed(said, account.part(event, "error"))
        case _:
            return said


def _sum(before: Usage, step: Mapping[str, Any]) -> Usage:
    tokens = account.part(step, "tokens")
    cached = account.count(account.part(tokens, "cache"), "read", "write")
    return Usage(
        before.input_tokens + account.count(tokens, "input") + cached,
        before.output_tokens + account.count(tokens, "output", "reasoning"),
    )


def _failed(said: Said, error: Mapping[str, Any]) -> Said:
    data = account.part(error, "data")
    overflow = error.get("name") == "ContextOverflowError"
    wait = account.text(account.part(data, "responseHeaders"), "retry-after")
    return replace(
        said,
        done=False,
        error=account.text(data, "message") or account.text(error, "name"),
        status=account.count(data, "statusCode"),
        ending=Ending.CONTEXT_EXCEEDED if overflow else None,
        retry_after_s=float(wait) if _SECONDS.fullmatch(wait) else None,
    )
