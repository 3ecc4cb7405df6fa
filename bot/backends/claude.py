"""Anthropic's Claude Code, headless: `claude -p --output-format stream-json`.

A failure arrives as a `result` with subtype "success" and `is_error`; its own kinds of error come
before its words. It retries for minutes unless capped, and says so in `api_retry`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bot.backends import account, prompt
from bot.backends.account import Said
from bot.backends.base import Invocation, Job
from bot.backends.flags import Flag, merged
from bot.domain.answers import Answer, Ending
from bot.domain.ports import Finished
from bot.domain.values import Usage

_FREE = Flag(("--dangerously-skip-permissions",), ("--permission-mode",))
# Plans change nothing; an option that lifts this has no place in a question.
_BOUND = Flag(("--permission-mode", "plan"), ("--dangerously-skip-permissions",), ours=True)
_REASONS = {  # `terminal_reason` and `api_error`
    "prompt_too_long": Ending.CONTEXT_EXCEEDED,
    "max_turns": Ending.TIMEOUT,
    "budget_exhausted": Ending.USAGE_LIMIT,
    "usage_limit_reached": Ending.USAGE_LIMIT,
    "connection_failed": Ending.NETWORK,
}
_ERRORS = {  # `error` of the assistant's last message and of `api_retry`
    "authentication_failed": Ending.AUTH,
    "billing_error": Ending.USAGE_LIMIT,
    "rate_limit": Ending.RATE_LIMITED,
    "model_not_found": Ending.NOT_FOUND,
    "overloaded": Ending.UNAVAILABLE,
}


def command(job: Job) -> Invocation | Answer:
    """Return the program to start."""
    flags = (
        Flag(("-p",), ("--print",), ours=True),
        Flag(("--output-format", "stream-json"), ours=True),
        Flag(("--verbose",), ours=True),
        Flag(("--strict-mcp-config",)),
        *((Flag(("--model", job.model)),) if job.model else ()),
        _BOUND if job.question else _FREE,
        *((Flag(("--resume", job.resume), ("-r", "--continue", "-c")),) if job.resume else ()),
    )
    env = {
        "ANTHROPIC_BASE_URL": job.url,
        "ANTHROPIC_API_KEY": job.key,
        "CLAUDE_CODE_MAX_RETRIES": str(job.retries),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",  # else it refuses to skip permissions for root
    }
    argv = ("claude", *merged(flags, job))
    return Invocation(argv, prompt.asked(job.task, job.question), env=env)


def read(job: Job, finished: Finished) -> Answer:
    """Return what the run comes to."""
    said = Said()
    for event in account.events(finished.output):
        said = _heard(said, event)
    return account.judged(job, finished, said)


def _heard(said: Said, event: Mapping[str, Any]) -> Said:
    said = replace(said, session=account.text(event, "session_id") or said.session)
    match event.get("type"), event.get("subtype"):
        case "system", "api_retry":
            error = account.text(event, "error")
            status = account.count(event, "error_status")
            return replace(said, error=error, status=status, ending=_ERRORS.get(error))
        case "assistant", _:
            ending = _ERRORS.get(account.text(event, "error"))
            acted = said.acted or account.uses_tool(event)
            return replace(said, acted=acted, error="", status=0, ending=ending)
        case "result", _:
            return _ended(said, event)
        case _:
            return said


def _ended(said: Said, event: Mapping[str, Any]) -> Said:
    said = replace(said, text=account.text(event, "result"), usage=_usage(event))
    if event.get("is_error") is not True:
        done = event.get("subtype") == "success"
        return replace(said, done=done, error="", status=0, ending=None)
    told = event.get("errors")
    errors = [one for one in told if isinstance(one, str)] if isinstance(told, list) else []
    keys = account.text(event, "api_error"), account.text(event, "terminal_reason")
    ending = next((_REASONS[key] for key in keys if key in _REASONS), said.ending)
    error = said.text or "; ".join(errors) or account.text(event, "subtype")
    status = account.count(event, "api_error_status")
    return replace(said, text="", error=error, status=status, ending=ending)


def _usage(event: Mapping[str, Any]) -> Usage:
    """Return what this run used; `total_cost_usd` counts the runs before it as well."""
    spent = account.part(event, "usage")
    cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
    models = account.part(event, "model_usage_since_last_result").values()
    costs = [one.get("costUSD") for one in models if isinstance(one, dict)]
    cost = sum(one for one in costs if isinstance(one, int | float))
    return Usage(
        account.count(spent, "input_tokens", *cached),
        account.count(spent, "output_tokens"),
        cost_usd=cost or None,
    )
