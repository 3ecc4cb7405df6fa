"""Takes one control away from the real thing, to show that an attack succeeds without it.

    without("network").run(…)                     the sandbox, but for that control
    with switched_off(module, "check", nothing):  any other code, one name of it replaced

Everything else stays what the product runs, so a test that is held only by something else fails.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from bot.config.schema import SandboxConfig
from bot.domain.ports import Kit
from bot.workspace import limits
from bot.workspace.lesser import Bind
from bot.workspace.sandbox import TREE, Bubblewrap
from tests.support.bubblewrap import TOOLS

Words = list[str]


def _dropped(*flags: str) -> Callable[[Words], Words]:
    return lambda words: [word for word in words if word not in flags]


def _unbounded(words: Words) -> Words:
    """Leave folders in memory without a size."""
    at = [index for index, word in enumerate(words) if word == "--size"]
    return [word for index, word in enumerate(words) if not {index, index - 1} & set(at)]


def _with_processes(words: Words) -> Words:
    """Leave out the namespace of processes; the host's /proc is then what can be shown."""
    at = words.index("--proc")
    shown = [*words[:at], "--ro-bind", "/proc", "/proc", *words[at + 2 :]]
    return _dropped("--unshare-pid")(shown)


def _mounted_below(words: Words) -> Words:
    at = words.index(TREE) + 1
    return [*words[:at], "--dir", f"{TREE}/old/made", *words[at:]]


def _with_files(words: Words) -> Words:
    """Show the host's folder for temporary files."""
    at, shown = words.index("--bind"), tempfile.gettempdir()
    return [*words[:at], "--ro-bind", shown, shown, *words[at:]]


# What is taken away by changing bubblewrap's words.
WORDS: Mapping[str, Callable[[Words], Words]] = {
    "network": _dropped("--unshare-net"),
    "processes": _with_processes,
    "namespaces": _dropped("--disable-userns"),
    "quota": _unbounded,
    "mounts": _mounted_below,
    "files": _with_files,
    "parent": _dropped("--die-with-parent"),
}


OTHERS = ("environment", "filter", "limits", "user")


class Weakened(Bubblewrap):
    """The sandbox without some of its controls."""

    controls: Sequence[str] = ()

    @property
    def _lends(self) -> bool:
        return "user" not in self.controls and Bubblewrap(self._config, TOOLS)._lends

    def _world(self, binds: Sequence[Bind], env: Mapping[str, str], kit: Kit) -> Words:
        words = super()._world(binds, env, kit)
        for control in self.controls:
            words = WORDS.get(control, list)(words)
        return words

    def _filtered(self, world: Words) -> Any:
        if "filter" in self.controls:
            return nullcontext((world, ()))
        return super()._filtered(world)

    def _limited(self, timeout_s: float) -> Words:
        return [] if "limits" in self.controls else super()._limited(timeout_s)


def without(*controls: str, config: SandboxConfig | None = None) -> Bubblewrap:
    """Return the sandbox without these: a key of WORDS or of OTHERS."""
    sandbox = Weakened(config or SandboxConfig(), TOOLS)
    assert {*controls} <= {*WORDS, *OTHERS}
    sandbox.controls = controls
    if "environment" in controls:
        sandbox.environment = {"SECRET": "CANARY"}
    return sandbox


def unwatched() -> Any:
    """Take away the watchdog over memory, processes and disk."""
    return switched_off(limits.Limits, "fault", lambda *_: None)


@contextmanager
def switched_off(owner: object, name: str, instead: object) -> Iterator[None]:
    """Replace one name of a module or class while the block lasts."""
    before = vars(owner)[name]
    setattr(owner, name, instead)
    try:
        yield
    finally:
        setattr(owner, name, before)
