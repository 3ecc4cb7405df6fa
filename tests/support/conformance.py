"""GitHub's own description, held against the simulator: requests, answers and deliveries.

The checker and the description live outside the project; without REGREEN_SHARED there is neither,
and nothing is checked.
"""

import importlib.util
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

# Recorded traffic shows null here for deleted forks, though the description does not say so.
DELETED_FORKS = ("/head/repo", "/head/user", "/head/label")


def shared() -> Path | None:
    """Return the folder of the checker, or None."""
    root = os.environ.get("REGREEN_SHARED")  # noqa: TID251 - where the checker is, if anywhere
    return Path(root) / "conformance" if root else None


@cache
def _module(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("conform", folder / "conform.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _description(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the checker leaves its files to Python
        return _module(folder).Conform(str(folder / "extract"))


class Conformance:
    """Collects violations of one simulator; `check` fails when there were any."""

    def __init__(self) -> None:
        self.folder = shared()
        self.middleware: Any = None
        self.bad_deliveries: list[tuple[str, str, list[str]]] = []
        self.delivered: set[str] = set()

    def wrap(self, app: ASGIApp) -> ASGIApp:
        if self.folder is None:
            return app
        description = _description(self.folder)
        middleware = _module(self.folder).ConformMiddleware
        checked: ASGIApp = middleware(app, description, prefix="/api/v3")
        self.middleware = checked
        return checked

    def delivery(self, event: str, payload: dict[str, Any]) -> None:
        action = str(payload.get("action", ""))
        self.delivered.add(f"{event}.{action}" if action else event)
        if self.folder is not None:
            wrong = _allowed(_description(self.folder).webhook(event, payload))
            if wrong:
                self.bad_deliveries.append((event, action, wrong))

    def check(self) -> None:
        requests = [] if self.middleware is None else self.middleware.bad
        bad = [
            (method, path, status, wrong)
            for method, path, status, found in requests
            if status is not None  # nobody waited for the answer, so there was none to judge
            and (wrong := _allowed([f"{side}: {text}" for side, text in found]))
        ]
        assert bad == [], bad
        assert self.bad_deliveries == [], self.bad_deliveries


# The description gives 204 no content at all, which the checker then takes for no answer.
NO_CONTENT = "resp: status 204 not in ['204']"


def _allowed(found: list[str]) -> list[str]:
    kept = [text for text in found if text != NO_CONTENT]
    return [text for text in kept if not any(f"{place}:" in text for place in DELETED_FORKS)]
