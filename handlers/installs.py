"""The App was installed, removed, suspended or given other repositories.

Nothing is kept per installation: the sweep asks GitHub which repositories there are, and a call
that is refused because the App is gone ends its run. So there is only something to note.
"""

from bot.domain.decisions import Decision, Ignore
from bot.domain.events import InstallationChanged

_GONE = frozenset({"deleted", "suspend", "removed"})


def decide(event: InstallationChanged) -> Decision:
    """Note what changed; the next sweep looks at what is there then."""
    what = f"installation {event.installation}: {event.action} {', '.join(event.repos)}".rstrip()
    then = "its runs end" if event.action in _GONE else "the next sweep looks at it"
    return Decision(Ignore(f"{what}; {then}"))
