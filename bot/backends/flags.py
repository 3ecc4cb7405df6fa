"""Puts an agent's command line together: our flags, and the options of the configuration.

Files written for auto-coder hold flags that we set ourselves (`--yolo`, `--model [model_name]`),
and several agents refuse the same choice twice. So each of ours knows its other names: where an
option makes the same choice, the option stands, unless what we read depends on ours.

Placeholders in options are `[model_name]`, `[sessionId]`, `[settings]`, `[model_provider]` and
`[prompt_file]`; one that is unknown or has no value stays as it is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from bot.backends.base import Job

_SETTING = frozenset({"-c", "--config"})
_SWITCH = frozenset({"--disable", "--enable"})


@dataclass(frozen=True, slots=True)
class Flag:
    """One choice: our `words` for it, the names by which options make it `also`, and whose it is.

    With `ours`, an option that makes the same choice is left out; else it replaces our words. With
    `barred` nobody makes it: an option that does is left out, and our words only tell its form.
    """

    words: tuple[str, ...]
    also: tuple[str, ...] = ()
    ours: bool = False
    barred: bool = False

    @property
    def names(self) -> frozenset[str]:
        """Every name of the choice."""
        return frozenset((_name(*self.words[:2]), *self.also))


def merged(flags: Sequence[Flag], job: Job) -> tuple[str, ...]:
    """Return our flags and the job's options as one command line, each choice made once."""
    options = _without(flags, filled(_options(job), job))
    chosen = {_name(*pair) for pair in _pairs(options)}
    ours = (
        word for flag in flags if not flag.barred and not flag.names & chosen for word in flag.words
    )
    return (*ours, *options)


def filled(words: Sequence[str], job: Job) -> tuple[str, ...]:
    """Return *words* with the placeholders that have a value replaced, each once."""
    values = {
        "model_name": job.config.model,
        "sessionId": job.resume or job.session,
        "settings": job.config.settings,
        "model_provider": job.config.model_provider,
        "prompt_file": job.prompt_file,
    }
    hole = re.compile(r"\[(\w+)\]")
    return tuple(hole.sub(lambda name: values.get(name[1]) or name[0], word) for word in words)


def _options(job: Job) -> tuple[str, ...]:
    """Return the options for what the job is: an edit or a question, new or resumed."""
    config = job.config
    options = (config.options_for_noedit if job.question else ()) or config.options
    return (*options, *(config.options_for_resume if job.resume else ()))


def _without(flags: Sequence[Flag], options: Sequence[str]) -> tuple[str, ...]:
    """Return the options but those whose choice is ours, or nobody's."""
    left_out = (flag for flag in flags if flag.ours or flag.barred)
    values = {name: len(flag.words) > 1 for flag in left_out for name in flag.names}
    kept: list[str] = []
    value_due = False  # of an option that was left out just now
    for option, following in _pairs(options):
        name = _name(option, following)
        if name not in values and not (value_due and not name):
            kept.append(option)
        value_due = values.get(name, False) and "=" not in option
    return tuple(kept)


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return each word with the one after it, "" at the end."""
    return zip_longest(words, words[1:], fillvalue="")


def _name(option: str, following: str = "") -> str:
    """Return what an option chooses, "" for a bare word.

    Codex's `-c key=value` and `--disable feature` are as many choices as there are keys.
    """
    if not option.startswith("-"):
        return ""
    name, _, value = option.partition("=")
    value = value or following
    if name in _SETTING and "=" in value:
        return f"-c {value.split('=')[0]}"
    return f"{name} {value}" if name in _SWITCH else name
