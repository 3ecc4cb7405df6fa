"""Any command line, given as a template in the configuration.

`command = "my-agent --model [model_name] --prompt-file [prompt_file]"` is split like a shell would
split it, but no shell reads it. Placeholders are filled as in options, which come last. The prompt
arrives on standard input as well.
"""

import shlex

from bot.backends import endings, markers, prompt
from bot.backends.base import Invocation, Job
from bot.backends.flags import filled, merged
from bot.domain.answers import Answer, Ending
from bot.domain.ports import Finished

_TOLD = 2_000  # characters of output kept as the program's own account


def command(job: Job) -> Invocation | Answer:
    """Return the program to start, or why there is none."""
    template = job.config.command or ""
    try:
        words = shlex.split(template)
    except ValueError as error:
        detail = f"backend {job.config.name}: its command cannot be read ({error})"
        return Answer(Ending.NOT_FOUND, detail=detail)
    if not words:
        return Answer(Ending.NOT_FOUND, detail=f"backend {job.config.name} sets no command")
    argv = (*filled(words, job), *merged((), job))
    return Invocation(argv, prompt.asked(job.task, job.question))


def read(job: Job, finished: Finished) -> Answer:
    """Return what the program's end means; whether it changed anything is for the diff to say."""
    name, text = job.config.name, prompt.clean(finished.output)
    program = shlex.split(job.config.command or name)[0]
    if (ended := endings.unfinished(finished, program)) is not None:
        return ended
    if (marker := markers.found(job.config.usage_markers, text)) is not None:
        return Answer(Ending.USAGE_LIMIT, detail=f"{name} said {marker!r}, a usage marker")
    if finished.exit_code:
        detail = f"{name} ended with exit code {finished.exit_code}{endings.shown(text)}"
        return Answer(Ending.TOOL_FAILED, detail=detail)
    return Answer(Ending.EDITED, text=text if job.question else text[-_TOLD:])
