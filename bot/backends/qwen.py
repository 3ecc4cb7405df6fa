"""Qwen Code, headless: `qwen -o stream-json`, over an OpenAI-compatible API.

It retries limits for minutes, then for rounds of minutes; only `--max-wall-time` ends that, with
exit code 55 and no `result`. On the way it says `Retrying in 60s …` on standard error.
"""

import math
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

_CALL_MS = 300_000
_YOLO = ("--yolo", "-y")
# auto-coder's options end with it; our prompt is on standard input.
_PROMPT = Flag(("-p", ""), ("--prompt", "-i", "--prompt-interactive"), barred=True)
# The gateway's address and a dummy key are in variables.
_API = Flag(("--openai-api-key", ""), ("--openai-base-url", "--api-key", "--base-url"), barred=True)
_ENDS = {53: Ending.TIMEOUT, 55: Ending.TIMEOUT}  # out of turns; out of time or of tool calls


def command(job: Job) -> Invocation | Answer:
    """Return the program to start."""
    approval = "default" if job.question else "yolo"
    flags = (
        Flag(("--auth-type", "openai"), ours=True),
        Flag(("-o", "stream-json"), ("--output-format",), ours=True),
        Flag(("--approval-mode", approval), _YOLO, ours=bool(job.question)),
        _PROMPT,
        _API,
        Flag(("--max-wall-time", f"{math.ceil(job.timeout_s)}s")),
        *((Flag(("--resume", job.resume), ("-r", "--continue", "-c")),) if job.resume else ()),
    )
    env = {
        "OPENAI_API_KEY": job.key,
        "OPENAI_BASE_URL": f"{job.url}/v1",
        "OPENAI_MODEL": job.config.model,
        "QWEN_CODE_NO_RELAUNCH": "1",
        "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1",
    }
    settings = {
        "general": {"enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "model": {"generationConfig": {"timeout": _CALL_MS, "maxRetries": 0}},
    }
    return Invocation(
        ("qwen", *merged(flags, job)),
        prompt.asked(job.task, job.question),
        env=env,
        files={".qwen/settings.json": msgspec.json.encode(settings).decode()},
    )


def read(job: Job, finished: Finished) -> Answer:
    """Return what the run comes to."""
    said = Said()
    for event in account.events(finished.output):
        said = _heard(said, event)
    if not said.done and not said.error and finished.exit_code in _ENDS:
        error = account.plain(finished.output)[-1:]
        said = replace(said, error="".join(error), ending=_ENDS[finished.exit_code])
    if job.resume:  # its counts include those of the runs before
        said = replace(said, usage=Usage())
    return account.judged(job, finished, said)


def _heard(said: Said, event: Mapping[str, Any]) -> Said:
    said = replace(said, session=account.text(event, "session_id") or said.session)
    match event.get("type"):
        case "assistant":
            return replace(said, acted=said.acted or account.uses_tool(event))
        case "result":
            return _ended(said, event)
        case _:
            return said


def _ended(said: Said, event: Mapping[str, Any]) -> Said:
    spent = account.part(event, "usage")
    usage = Usage(account.count(spent, "input_tokens"), account.count(spent, "output_tokens"))
    said = replace(said, text=account.text(event, "result"), usage=usage)
    if event.get("is_error") is not True:
        return replace(said, done=True)
    error = account.text(account.part(event, "error"), "message")
    return replace(said, error=error or account.text(event, "subtype"))
