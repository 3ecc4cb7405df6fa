"""Aider, headless, over an OpenAI-compatible API.

It prints plain text, wrapped at 80 columns, and ends with exit code 0 whatever happens: only
`Applied edit to` tells of an edit, and the name of an exception of its library of what went wrong.
It finds no files by itself, so it is given those that matter; and it makes a git repository where
there is none unless told otherwise.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from bot.backends import account, context, prompt, words
from bot.backends.account import Said
from bot.backends.base import Invocation, Job
from bot.backends.flags import Flag, merged
from bot.backends.tree import TreeView
from bot.domain.answers import Answer, Ending
from bot.domain.ports import Finished
from bot.domain.values import Usage

_FILES = 12  # a model can hold only so many
_PLAIN = (
    *("--yes-always", "--no-git", "--no-auto-commits", "--no-dirty-commits", "--no-gitignore"),
    *("--no-check-update", "--analytics-disable", "--no-show-release-notes"),
    *("--no-show-model-warnings", "--no-pretty", "--no-fancy-input", "--no-detect-urls"),
    "--no-suggest-shell-commands",
)
_EXCEPTION = re.compile(r"litellm\.(?:exceptions\.)?(\w+): ?(.*)")
_EXCEPTIONS = {
    "AuthenticationError": Ending.AUTH,
    "ContentPolicyViolationError": Ending.REFUSED,
    "ContextWindowExceededError": Ending.CONTEXT_EXCEEDED,
    "NotFoundError": Ending.NOT_FOUND,
    "PermissionDeniedError": Ending.AUTH,
    "ServiceUnavailableError": Ending.UNAVAILABLE,
    "Timeout": Ending.TIMEOUT,
}
_LESS = {  # where the words tell no more
    "APIConnectionError": Ending.NETWORK,
    "APIError": Ending.UNAVAILABLE,
    "InternalServerError": Ending.UNAVAILABLE,
    "RateLimitError": Ending.RATE_LIMITED,
}
_ENDS = re.compile(r"Retrying in |The API provider|https?://\S+$|Tokens: |$")
_COMPLAINTS = {
    "Empty response received from LLM": Ending.INVALID,
    "has hit a token limit!": Ending.CONTEXT_EXCEEDED,
    "failed to match!": Ending.INVALID,
}
_PREFACE = re.compile(r"^Repo-map: |^Added .+ to the chat\.$")
_APPLIED = "Applied edit to "
_TOKENS = re.compile(r"Tokens: ([\d.,]{1,15})(k?) sent,.*?([\d.,]{1,15})(k?) received")


def command(job: Job) -> Invocation | Answer:
    """Return the program to start, or why there is none; looks into the tree for files to name."""
    if not job.model:
        return Answer(Ending.NOT_FOUND, detail=f"backend {job.config.name} names no model")
    flags = (
        Flag(("--model", f"openai/{job.model}"), ours=True),  # the gateway speaks OpenAI's API
        Flag(("--edit-format", "ask" if job.question else "diff"), ("--chat-mode",)),
        *(Flag((word,), ours=word == "--no-git") for word in _PLAIN),
        Flag(("--map-tokens", "0")),
        Flag(("--message-file", job.prompt_file), ("--message", "-m", "--msg", "-f"), ours=True),
    )
    env = {
        "OPENAI_API_KEY": job.key,
        "OPENAI_API_BASE": f"{job.url}/v1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    view = TreeView(job.tree)
    files = (context.choose(view, job.task) or view.files)[:_FILES]
    argv = ("aider", *merged(flags, job), "--", *files)
    return Invocation(argv, prompt.asked(job.task, job.question), env=env)


def read(job: Job, finished: Finished) -> Answer:
    """Return what the run comes to."""
    lines = finished.output.splitlines()
    said = _last_error(lines)
    if not said.error and not finished.timed_out:
        said = _outcome(lines, asked=bool(job.question))
    said = replace(said, usage=_usage(finished.output))
    return account.judged(job, finished, said, heed_plain=False)


def _last_error(lines: Sequence[str]) -> Said:
    """Return the last failure, unless an edit came after it."""
    for at in reversed(range(len(lines))):
        if lines[at].startswith(_APPLIED):
            return Said()
        if found := _EXCEPTION.search(lines[at]):
            told = _unwrapped(found[2], lines[at + 1 :])
            return Said(error=told, ending=_meaning(found[1], told))
        for complaint, ending in _COMPLAINTS.items():
            if complaint in lines[at]:
                return Said(error=lines[at], ending=ending)
    return Said()


def _meaning(name: str, told: str) -> Ending | None:
    return _EXCEPTIONS.get(name) or words.meaning(told) or _LESS.get(name)


def _unwrapped(first: str, rest: Sequence[str]) -> str:
    found = [first]
    for line in rest:
        if _ENDS.match(line):
            break
        found.append(line)
    return " ".join(" ".join(found).split())


def _outcome(lines: Sequence[str], *, asked: bool) -> Said:
    applied = any(line.startswith(_APPLIED) for line in lines)
    replied = any(_TOKENS.match(line) for line in lines)
    starts = [at for at, line in enumerate(lines) if _PREFACE.search(line)]
    text = "\n".join(lines[starts[-1] + 1 :] if starts else lines).strip()
    if replied and not applied and not asked:
        return Said(text=text, ending=Ending.NO_CHANGE, error="it applied no edit")
    return Said(done=applied or replied, acted=applied, text=text)


def _usage(output: str) -> Usage:
    found = _TOKENS.findall(output)
    return Usage(
        sum(_number(sent, unit) for sent, unit, _, _ in found),
        sum(_number(received, unit) for _, _, received, unit in found),
    )


def _number(digits: str, unit: str) -> int:
    plain = digits.replace(",", "").strip(".")
    return int(float(plain) * (1000 if unit else 1)) if plain.count(".") <= 1 and plain else 0
