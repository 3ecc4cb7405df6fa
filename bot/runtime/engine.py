"""The durable engine, set up once: DBOS over our own database.

The application version is constant, so a deploy goes on with the work of the last one. The executor
is this node (`bot.domain.ports.Node`): its unfinished work is recovered when a process takes the
node's name again, at once, and by the other nodes of a PostgreSQL when no process has.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from dbos import DBOS, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

from bot.domain.events import Event
from bot.domain.ports import Node
from bot.runtime.codec import dump
from bot.runtime.workflows import EVENTS, PULLS, Repairs

# Not changed with the machine: work of another version would never be recovered, and a pass of it
# would hold its pull request's queue for ever. One whose recorded outcomes fit no more ends in an
# error, and the sweep begins anew.
VERSION = "regreen-1"
POLL_S = 0.5  # a queue is looked at this often: most of the 5 % of a core of a server that waits
# Most of these only wait, for a limit of one installation perhaps, which must not hold up others;
# what costs is counted where it is done (`Repairs`).
EVENTS_AT_ONCE = 200
PASSES_AT_ONCE = 50
DELETE_AT_ONCE = 500

log = structlog.get_logger("regreen")


class Engine:
    """Starts and stops the durable functions and takes in events."""

    def __init__(self, repairs: Repairs, node: Node, url: str, engine: Any) -> None:
        self._repairs = repairs
        self._node = node
        self._url = url
        self._engine = engine
        self._suspects: set[str] = set()
        self._silent: set[str] = set()

    async def start(self) -> None:
        """Recover what this node left unfinished, and begin to take work."""
        DBOS(
            config={
                "name": "regreen",
                "system_database_url": self._url,
                "system_database_engine": self._engine,
                "application_version": VERSION,
                "executor_id": self._node.name,
                "max_executor_threads": 32,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "ERROR",
            }
        )
        DBOS.launch()
        await DBOS.register_queue_async(
            EVENTS,
            worker_concurrency=EVENTS_AT_ONCE,
            polling_interval_sec=POLL_S,
            on_conflict="always_update",
        )
        await DBOS.register_queue_async(
            PULLS,
            partition_concurrency=1,
            worker_concurrency=PASSES_AT_ONCE,
            polling_interval_sec=POLL_S,
            on_conflict="always_update",
        )

    async def stop(self, timeout_s: int = 10) -> None:
        """Let running steps end for a while, then let go; what is unfinished is recovered later."""
        await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=timeout_s)
        # DBOS had made its threads the loop's, and has ended them: others still stop in threads.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())

    async def take(self, event: Event, key: str) -> None:
        """Begin the reaction to an event; the same key begins it once."""
        with SetWorkflowID(f"event:{key}"), SetEnqueueOptions():
            await DBOS.enqueue_workflow_async(EVENTS, self._repairs.react, dump(event))

    async def rescue(self) -> int:
        """Put back work that nobody does: of dead nodes, and of ours that lost its body.

        The engine retries only some errors of the database; a body that died of another stays
        pending for ever. Seen twice without a body, it is resumed.
        """
        rows = await DBOS.list_workflows_async(
            status="PENDING", load_input=False, load_output=False, limit=1000
        )
        rescued = 0
        others = {row.executor_id for row in rows if row.executor_id} - {self._node.name}
        self._silent &= others
        for name in sorted(others):
            rescued += await asyncio.to_thread(self._take_over, name)
        mine = {
            row.workflow_id: row.queue_name for row in rows if row.executor_id == self._node.name
        }
        lost = {workflow for workflow in mine if workflow not in self._repairs.live}
        for workflow in lost & self._suspects:
            await DBOS.resume_workflow_async(workflow, queue_name=mine[workflow])
            rescued += 1
        self._suspects = lost
        if rescued:
            log.warning("work_rescued", workflows=rescued)
        return rescued

    def _take_over(self, name: str) -> int:
        """Take over from a node found dead twice: one may be away while the database restarts."""
        with self._node.takeover(name) as dead:
            if dead and name in self._silent:
                return len(DBOS._recover_pending_workflows([name]))  # noqa: SLF001 -- the engine has no public call for it
            self._silent = self._silent | {name} if dead else self._silent - {name}
            return 0

    async def forget(self, before: str) -> int:
        """Delete finished workflows that ended before *before* (an ISO time)."""
        deleted = 0
        while True:
            rows = await DBOS.list_workflows_async(
                status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
                completed_before=before,
                load_input=False,
                load_output=False,
                limit=DELETE_AT_ONCE,
            )
            if rows:
                await DBOS.delete_workflows_async([row.workflow_id for row in rows])
            deleted += len(rows)
            if len(rows) < DELETE_AT_ONCE:
                return deleted

    async def idle(self) -> bool:
        """Say whether nothing is at work or due now; delayed work does not count."""
        rows = await DBOS.list_workflows_async(
            status=["ENQUEUED", "PENDING"], load_input=False, load_output=False, limit=1
        )
        return not rows
