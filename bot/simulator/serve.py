"""A whole simulated GitHub in this process, served on loopback from a thread.

`Simulator` is what tests and the demo hold: its methods say what people do, in the words of a
story. Everything that a client sees still goes through real HTTP and real git.
"""

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

import uvicorn

from bot.simulator import auth, control, pulls, scenes, shapes_checks, shapes_pulls
from bot.simulator.api import Door, Wrap
from bot.simulator.build import SimOptions, build
from bot.simulator.clock import now
from bot.simulator.faults import CuttableProtocol, Fault
from bot.simulator.hub import Hub
from bot.simulator.state import EffectRecord, Json, Pull
from bot.simulator.webhooks import Attempt, OnDelivery

_START_S = 20.0
_STOP_S = 2
_LOOK_S = 0.02  # between two looks whether all is quiet

__all__ = ["SimOptions", "Simulator"]


class Simulator:
    """One simulated GitHub; a context manager that serves while its block lasts.

    `wrap` may put a checker around the REST application, `on_delivery` sees every event that is
    sent, as (event, payload).
    """

    url: str
    hub: Hub
    key_path: Path

    def __init__(
        self,
        options: SimOptions,
        *,
        wrap: Wrap | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        self.options = options
        self._wrap = wrap
        self._on_delivery = on_delivery
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Import the repositories and begin to serve."""
        with contextlib.ExitStack() as stack:
            data = self.options.data or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="simulator-"))
            )
            listener = stack.enter_context(_listener(self.options.host, self.options.port))
            host, port = listener.getsockname()[:2]
            self.key_path = data / "app.pem"
            self.url = f"http://{host}:{port}"
            self.hub = build(self.options, data, self.url, self._on_delivery)
            self.door = Door(self.hub, data / "repos", self._wrap)
            stack.enter_context(_serving(self.door, listener))
            self.hub.outbox.start()
            stack.callback(self._stop)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop workflows, deliveries and the server."""
        self._open.close()

    def _stop(self) -> None:
        with self.hub.state.lock:
            for run in self.hub.state.runs.values():
                run.cancelled = True
        self.hub.runners.shutdown(wait=True, cancel_futures=True)
        self.hub.outbox.close()

    # --- What a client must know ---------------------------------------------------------------

    @property
    def app_id(self) -> int:
        """The App's number."""
        return self.hub.app.id

    @property
    def private_key(self) -> str:
        """The App's key as PEM text."""
        return self.hub.private_key

    @property
    def webhook_secret(self) -> str:
        """What deliveries are signed with."""
        return self.hub.outbox.secret

    @property
    def bot(self) -> str:
        """The login of the App's bot user."""
        return self.hub.app.bot.login

    @property
    def tokens(self) -> Mapping[str, str]:
        """The tokens of people, by login."""
        return {user.login: user.token for user in self.hub.state.users.values() if user.token}

    def set_webhook(self, url: str, secret: str | None = None) -> None:
        """Send deliveries to *url* from now on."""
        with self.hub.state.lock:
            self.hub.outbox.url = url
            self.hub.outbox.secret = secret or self.hub.outbox.secret

    # --- What people do ------------------------------------------------------------------------

    def open_pull(  # noqa: PLR0913 - what an author decides
        self,
        repo: str,
        files: Mapping[str, str | None],
        *,
        title: str = "A change",
        base: str | None = None,
        branch: str | None = None,
        author: str | None = None,
        fork: bool = False,
        body: str | None = None,
    ) -> int:
        """Commit *files* (None deletes) to a new branch, open a pull request, return its number.

        The author is `owner`, or `stranger` from a fork of theirs, unless named.
        """
        with self.hub.state.lock:
            target = scenes.repo(self.hub, repo)
            by = self.hub.state.user(author or ("stranger" if fork else "owner"))
            source = scenes.fork_of(self.hub, target, by) if fork else target
            name = branch or f"change-{self.hub.state.next_id()}"
            scenes.commit(self.hub, source, name, files, title, by)
            pull = pulls.open_pull(
                self.hub,
                target,
                by,
                title=title,
                body=body,
                head_repo=source,
                head_branch=name,
                base_branch=base or target.default_branch,
            )
            return pull.number

    def push_files(
        self,
        repo: str,
        number: int,
        files: Mapping[str, str | None],
        *,
        message: str = "Another change",
        by: str = "owner",
    ) -> str:
        """Commit *files* to a pull request's branch and return the new head."""
        with self._pull(repo, number) as pull:
            source = pull.head_repo or pull.repo
            person = self.hub.state.user(by)
            return scenes.commit(self.hub, source, pull.head_branch, files, message, person)

    def commit(
        self,
        repo: str,
        branch: str,
        files: Mapping[str, str | None],
        *,
        message: str = "A change",
        by: str = "owner",
    ) -> str:
        """Commit *files* to a branch, made from the default one when it is new; return its tip."""
        with self.hub.state.lock:
            target, person = scenes.repo(self.hub, repo), self.hub.state.user(by)
            return scenes.commit(self.hub, target, branch, files, message, person)

    def comment(self, repo: str, number: int, body: str, *, by: str = "owner") -> int:
        """Comment on a pull request and return the comment's number."""
        with self._pull(repo, number) as pull:
            person = self.hub.state.user(by)
            return pulls.add_comment(self.hub, pull, person, body, by_app=False).id

    def delete_comment(self, repo: str, comment: int, *, by: str = "owner") -> None:
        """Delete a comment."""
        with self.hub.state.lock:
            scenes.repo(self.hub, repo)
            found = self.hub.state.comments[comment]
            pulls.delete_comment(self.hub, found, self.hub.state.user(by))

    def press(self, repo: str, number: int, button: str, *, by: str = "owner") -> None:
        """Press a button of the App's check run, by its label or identifier."""
        with self._pull(repo, number) as pull:
            scenes.press(self.hub, pull, button, self.hub.state.user(by))

    def label(self, repo: str, number: int, *names: str, by: str = "owner") -> None:
        """Put labels on a pull request."""
        with self._pull(repo, number) as pull:
            pulls.add_labels(self.hub, pull, names, self.hub.state.user(by))

    def close(self, repo: str, number: int, *, by: str = "owner") -> None:
        """Close a pull request."""
        with self._pull(repo, number) as pull:
            pulls.close(self.hub, pull, self.hub.state.user(by))

    def reopen(self, repo: str, number: int, *, by: str = "owner") -> None:
        """Open a closed pull request again."""
        with self._pull(repo, number) as pull:
            pulls.reopen(self.hub, pull, self.hub.state.user(by))

    def merge(self, repo: str, number: int, *, by: str = "owner", method: str = "merge") -> str:
        """Merge a pull request and return the commit."""
        with self._pull(repo, number) as pull:
            return pulls.merge(self.hub, pull, self.hub.state.user(by), method, None)

    def move_branch(self, repo: str, branch: str, sha: str | None, *, by: str = "owner") -> None:
        """Force a branch to a commit; None deletes it."""
        with self.hub.state.lock:
            target = scenes.repo(self.hub, repo)
            scenes.move_branch(self.hub, target, branch, sha, self.hub.state.user(by))

    def set_permission(self, repo: str, login: str, level: str) -> None:
        """Say what a person may do: none, read, write or admin."""
        with self.hub.state.lock:
            scenes.set_permission(self.hub, scenes.repo(self.hub, repo), login, level)

    def delete_fork(self, repo: str, number: int) -> None:
        """Delete the fork that a pull request came from."""
        with self._pull(repo, number) as pull:
            scenes.delete_fork(self.hub, pull)

    # --- What services do ----------------------------------------------------------------------

    def fail_check(
        self,
        repo: str,
        number: int,
        name: str,
        log: str,
        *,
        rerun: str = "failure",
        path: str = ".github/workflows/ci.yml",
    ) -> int:
        """Publish a failed Actions job with *log* at the head; *rerun* is how a re-run ends."""
        with self._pull(repo, number) as pull:
            return scenes.fail_check(self.hub, pull, name, log, rerun=rerun, path=path)

    def finish_check(
        self,
        repo: str,
        sha: str,
        name: str,
        conclusion: str,
        *,
        app: str = "other-ci",
        **output: object,
    ) -> Json:
        """Publish a completed check run of another App; *output* is title, summary, annotations."""
        with self.hub.state.lock:
            target = scenes.repo(self.hub, repo)
            return scenes.finish_check(
                self.hub, target, sha, name, conclusion=conclusion, output=output, app=app
            )

    def status(
        self, repo: str, sha: str, context: str, state: str, *, description: str | None = None
    ) -> None:
        """Publish a commit status."""
        with self.hub.state.lock:
            target = scenes.repo(self.hub, repo)
            by = self.hub.state.user("ci-service")
            scenes.set_status(self.hub, target, sha, context, state, description=description, by=by)

    # --- What one can see ----------------------------------------------------------------------

    def head(self, repo: str, number: int) -> str:
        """Return the head commit of a pull request."""
        with self._pull(repo, number) as pull:
            return pull.head_sha

    def is_open(self, repo: str, number: int) -> bool:
        """Tell whether a pull request is open."""
        with self._pull(repo, number) as pull:
            return pull.open

    def comments(self, repo: str, number: int) -> list[Json]:
        """List a pull request's comments as the REST API shows them, oldest first."""
        with self._pull(repo, number) as pull:
            found, shapes = self.hub.state.comments_of(pull.repo, number), self.hub.shapes()
            return [shapes_pulls.comment(shapes, self.hub.app, comment) for comment in found]

    def files_at(self, repo: str, sha: str, path: str) -> str | None:
        """Return a file's text at a commit, or None."""
        with self.hub.state.lock:
            data = scenes.repo(self.hub, repo).git.file(sha, path)
        return None if data is None else data.decode()

    def commits(self, repo: str, number: int) -> list[Json]:
        """List a pull request's commits, oldest first: sha, author, message."""
        with self._pull(repo, number) as pull:
            found = pull.repo.git.between(pull.base_sha, pull.head_sha)
        return [{"sha": c.sha, "author": c.author.name, "message": c.message} for c in found]

    def checks(self, repo: str, sha: str) -> list[Json]:
        """List the newest check runs of a commit as the REST API shows them."""
        with self.hub.state.lock:
            state, shapes = self.hub.state, self.hub.shapes()
            suites = state.suites_at(scenes.repo(self.hub, repo), sha)
            found = [check for suite in suites for check in state.latest_checks(suite)]
            return [shapes_checks.check(shapes, check) for check in found]

    def effects(self) -> list[EffectRecord]:
        """List every write request of the App, oldest first."""
        with self.hub.state.lock:
            return list(self.hub.state.effects)

    def deliveries(self) -> list[Attempt]:
        """List every delivery attempt, oldest first."""
        return list(self.hub.outbox.attempts)

    # --- Trouble -------------------------------------------------------------------------------

    def fault(self, fault: Fault) -> None:
        """Plan trouble for the requests that it meets."""
        self.door.faults.planned.append(fault)

    def switch(self, **switches: object) -> None:
        """Set `drop`, `duplicate`, `reorder` (rates) or `paused` of the deliveries."""
        self.hub.outbox.set(replace(self.hub.outbox.switches, **switches))  # type: ignore[arg-type]  # names and kinds stand above

    def redeliver(self, number: int) -> bool:
        """Send a delivery attempt again under its GUID; False when it is not known."""
        return self.hub.outbox.redeliver(number)

    def expire_tokens(self) -> int:
        """End every installation token now and return how many there were."""
        with self.hub.state.lock:
            return auth.expire(self.hub, now())

    def idle(self) -> bool:
        """Tell whether no delivery and no workflow is under way."""
        with self.hub.state.lock:
            return control.idle(self.hub)

    def wait_idle(self, timeout_s: float = 30.0) -> None:
        """Wait until no delivery and no workflow is under way; raise TimeoutError otherwise."""
        self.wait_for(self.idle, timeout_s)

    def wait_for(self, claim: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until *claim* holds; raise TimeoutError otherwise."""
        deadline = time.monotonic() + timeout_s
        while not claim():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so after {timeout_s} s")
            time.sleep(_LOOK_S)

    @contextlib.contextmanager
    def _pull(self, repo: str, number: int) -> Iterator[Pull]:
        with self.hub.state.lock:
            yield pulls.find(self.hub, scenes.repo(self.hub, repo), number)


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port))
    listener.set_inheritable(False)
    return listener


@contextlib.contextmanager
def _serving(door: Door, listener: socket.socket) -> Iterator[None]:
    config = uvicorn.Config(
        door.faults,
        http=CuttableProtocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_STOP_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True
    )
    thread.start()
    deadline = time.monotonic() + _START_S
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise OSError(f"the server did not come up on {listener.getsockname()}")
        time.sleep(_LOOK_S)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_START_S)
