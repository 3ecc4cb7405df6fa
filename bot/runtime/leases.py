"""Who owns what when a node dies: keep our own name, and take over the work of the dead.

A node that can no longer prove that it holds its name must stop before the database gives the name
away (30 s of missed keep-alives): a zombie's push would be refused by its lease, but it would still
spend money.
"""

import os
import threading
from collections.abc import Callable

import structlog

from bot.domain.ports import Node

BEAT_S = 5.0
BEATS_MISSED = 4

log = structlog.get_logger("regreen")


class Heartbeat:
    """Checks the node's name every few seconds, in a thread that nothing else can hold up."""

    def __init__(self, node: Node, *, lost: Callable[[], None] | None = None) -> None:
        self._node = node
        self._lost = lost or _fence
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and let go of the name."""
        self._stopped.set()
        self._thread.join()
        self._node.release()

    def _beat(self) -> None:
        missed = 0
        while not self._stopped.wait(BEAT_S):
            missed = 0 if self._node.holds() else missed + 1
            if missed >= BEATS_MISSED:
                self._lost()
                return


def _fence() -> None:
    log.critical("node_lost", hint="another process may own our work now; stopping at once")
    os._exit(70)
