"""What auto-coder's files hold that is not what it seems.

Some of its types are agents under another name, some nothing that runs here, and its documents give
options to agents that know no such options.
"""

from collections.abc import Mapping, Sequence

from bot.config.schema import BackendConfig

# Another way to start the same agent; `codex mcp` keeps one process, which we do not.
TYPES: Mapping[str, str] = {"codex-mcp": "codex", "codex_mcp": "codex"}
# Services and agents without a headless run of their own that we could bound.
ELSEWHERE = frozenset({"antigravity", "auggie", "claude-routine", "codex-cloud", "jules"})
# Agents that an order may name without a section of their own.
AGENTS = frozenset({"aider", "claude", "codex", "gemini", "opencode", "qwen", *TYPES}) | ELSEWHERE
INHERITED = ("options", "options_for_noedit")  # by `backend_type`
# Agents that auto-coder's documents give `-o KEY VALUE`, which means something else to them.
_PAIRED = frozenset({"codex", "qwen"})
_PAIR = 2


def idle(config: BackendConfig) -> str:
    """Return why a backend takes no part, to follow its name; "" when it does."""
    if not config.enabled:
        return "is not enabled"
    reached = config.command or config.base_url or config.openai_base_url
    if config.backend_type in ELSEWHERE and not reached:
        return f"does not run here: {config.backend_type} needs a command or a base_url"
    return ""


def options(type_: str, given: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return the options that mean something to an agent of that type, and whether these are all.

    `-o KEY VALUE` is left out. With one word after it, `-o` is the agent's own and stays.
    """
    if type_ not in _PAIRED:
        return tuple(given), True
    kept: list[str] = []
    at = 0
    while at < len(given):
        pair = given[at + 1 : at + 1 + _PAIR]
        if given[at] == "-o" and len(pair) == _PAIR and not any(one[:1] == "-" for one in pair):
            at += 1 + _PAIR
        else:
            kept.append(given[at])
            at += 1
    return tuple(kept), len(kept) == len(given)
