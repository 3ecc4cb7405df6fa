"""Google's Gemini CLI, headless: `gemini -o stream-json`.

Its exit code is the HTTP status modulo 256, so a 401 looks like signal 17: events come first. Empty
replies and errors within a stream end with exit code 0 and a `result` whose status is "error".
"""

import re
from collections.abc import Mapping, Sequence
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

_SETTINGS = {
    # One attempt: after a spent quota it would sleep for as long as the API asks, hours.
    "general": {"enableAutoUpdate": False, "maxAttempts": 1},
    "privacy": {"usageStatisticsEnabled": False},
    "security": {"auth": {"selectedType": "gemini-api-key"}},
}
_YOLO = ("--yolo", "-y")
# auto-coder's options end with it; our prompt is on standard input.
_PROMPT = Flag(("-p", ""), ("--prompt", "-i", "--prompt-interactive"), barred=True)
_STATUSES = {
    status % 256: status for status in (400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504, 529)
}
_ENDS = {41: Ending.AUTH, 42: Ending.NOT_FOUND, 53: Ending.TIMEOUT}  # no key; no session; turns
_TRIED = re.compile(r"Attempt \d+ failed|Error when talking to Gemini API")
_MORE = 4  # lines that an error of one attempt takes


def command(job: Job) -> Invocation | Answer:
    """Return the program to start."""
    approval = "default" if job.question else "yolo"
    flags = (
        Flag(("-o", "stream-json"), ("--output-format",), ours=True),
        Flag(("--approval-mode", approval), _YOLO, ours=bool(job.question)),
        _PROMPT,
        *((Flag(("-m", job.model), ("--model",)),) if job.model else ()),
        *((Flag(("--resume", job.resume), ("-r",)),) if job.resume else ()),
    )
    env = {
        "GEMINI_API_KEY": job.key,
        "GOOGLE_GEMINI_BASE_URL": job.url,
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GEMINI_CLI_NO_RELAUNCH": "true",
    }
    return Invocation(
        ("gemini", *merged(flags, job)),
        prompt.asked(job.task, job.question),
        env=env,
        files={".gemini/settings.json": msgspec.json.encode(_SETTINGS).decode()},
    )


def read(job: Job, finished: Finished) -> Answer:
    """Return what the run comes to."""
    said = Said()
    for event in account.events(finished.output):
        said = _heard(said, event)
    if not said.done and not said.error:
        said = replace(said, error=_last_try(account.plain(finished.output)))
    if not said.done and finished.exit_code in _STATUSES:
        said = replace(said, status=_STATUSES[finished.exit_code])
    elif not said.done and finished.exit_code in _ENDS:
        error = said.error or "".join(account.plain(finished.output)[-1:])
        said = replace(said, error=error, ending=_ENDS[finished.exit_code])
    return account.judged(job, finished, said)


def _heard(said: Said, event: Mapping[str, Any]) -> Said:
    match event.get("type"):
        case "init":
            return replace(said, session=account.text(event, "session_id"))
        case "message" if event.get("role") == "assistant":
            return replace(said, text=said.text + account.text(event, "content"))
        case "tool_use":
            return replace(said, acted=True)
        case "error":
            return replace(said, error=account.text(event, "message"))
        case "result":
            return _ended(said, event)
        case _:
            return said


def _ended(said: Said, event: Mapping[str, Any]) -> Said:
    stats = account.part(event, "stats")
    usage = Usage(account.count(stats, "input_tokens"), account.count(stats, "output_tokens"))
    error = account.text(account.part(event, "error"), "message")
    done = event.get("status") == "success" and not said.error  # a warning: it went in circles
    return replace(said, done=done, error=error or said.error, usage=usage)


def _last_try(lines: Sequence[str]) -> str:
    """Return what the last failed attempt said on the way, "" when none failed."""
    tries = [at for at, line in enumerate(lines) if _TRIED.match(line)]
    return "\n".join(lines[tries[-1] :][:_MORE]) if tries else ""
