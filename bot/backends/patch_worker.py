"""Mends code through any OpenAI-compatible chat endpoint.

The model sees the task, the files that matter and a listing; it answers with edits, which are
applied to the tree all or none. A question it answers in words. The model holds no tool, no token
and no key.
"""

from collections.abc import Sequence

import msgspec

from bot.backends import context, markers, patches, prompt
from bot.backends.base import Job
from bot.backends.endpoints import endpoint
from bot.backends.patches import Misfit
from bot.backends.run import once_more
from bot.backends.tree import TreeView
from bot.domain.answers import Answer, DrainMode, Ending
from bot.domain.chat import Failed, Message
from bot.domain.values import Usage

_TIMEOUT_S = 300.0
_TOLD = 4_000  # characters kept of the model's own account
FORMAT = """\
Answer with edits in one of these forms, and few words around them.
1. SEARCH/REPLACE blocks. The search lines stand in the file exactly so, and only once:

path/to/file.py
<<<<<<< SEARCH
old lines
=======
new lines
>>>>>>> REPLACE

2. A unified diff in a ```diff fence, with `--- a/path` and `+++ b/path`.
3. For a new file: a line `FILE: path/to/file`, then its whole text in a fence.

Paths are relative to the repository's root. All edits are applied, or none. When nothing in the \
repository needs to change, answer `NO CHANGE NEEDED` and say why."""

_AGAIN = """\
Your answer could not be applied, and nothing was changed: {fault}
Answer once more with all the edits, in one of the forms."""


def work(job: Job) -> Answer:
    """Ask the model, and apply what it answers to a task.

    An answer that cannot be applied has changed nothing. The model is told why and asked once more.
    """
    talk = messages(job)
    answer, text = _asked(job, talk)
    if answer.ending is not Ending.INVALID or not text or job.stop():
        return answer
    told = _AGAIN.format(fault=prompt.one_line(answer.detail))
    second, _ = _asked(job, (*talk, Message("assistant", text), Message("user", told)))
    return once_more(answer, second, DrainMode.FORMAT_RETRY)


def _asked(job: Job, talk: Sequence[Message]) -> tuple[Answer, str]:
    """Return how one call ended, and the model's whole text, "" where there is none to apply."""
    where = endpoint(job.config, job.socket)
    if isinstance(where, Answer):
        return where, ""
    if not job.question and job.config.max_retries is None:  # routing asks again for a task
        where = msgspec.structs.replace(where, max_retries=0)
    result = job.chat.complete(
        where,
        talk,
        model=job.config.model,
        temperature=job.config.temperature,
        timeout_s=job.config.timeout_s or _TIMEOUT_S,
        stop=job.stop,
    )
    usage = Usage(result.input_tokens, result.output_tokens)
    if isinstance(result, Failed):
        detail = f"{job.config.name}: {result.detail}"
        after_s = result.retry_after_s
        return Answer(result.ending, detail=detail, usage=usage, retry_after_s=after_s), ""
    if (marker := markers.found(job.config.usage_markers, result.text)) is not None:
        detail = f"{job.config.name} said {marker!r}, a usage marker"
        return Answer(Ending.USAGE_LIMIT, detail=detail, usage=usage), ""
    if job.question:
        return Answer(Ending.NO_CHANGE, text=result.text, usage=usage), ""
    ending, detail = _applied(job, result.text)
    text = prompt.clean(result.text)[:_TOLD]
    return Answer(ending, text=text, detail=detail, usage=usage), result.text


def messages(job: Job) -> tuple[Message, ...]:
    """Return the conversation: the rules, then the task or question with the files that matter."""
    view = TreeView(job.tree)
    wanted = job.question or prompt.describe(job.task)
    parts = (wanted, context.files(view, job.task), context.listing(view))
    return (
        Message("system", prompt.ASKED if job.question else f"{prompt.RULES}\n\n{FORMAT}"),
        Message("user", "\n\n".join(part for part in parts if part)),
    )


def _applied(job: Job, answer: str) -> tuple[Ending, str]:
    try:
        edits = patches.parse(answer)
    except Misfit as misfit:
        if patches.declines(answer):
            return Ending.NO_CHANGE, "the model says that no change is needed"
        return Ending.INVALID, str(misfit)
    try:
        changed = patches.apply(edits, job.tree)
    except Misfit as misfit:
        return Ending.INVALID, str(misfit)
    if not changed:
        return Ending.NO_CHANGE, "the model's edits leave every file as it was"
    return Ending.EDITED, f"changed {', '.join(changed)}"
