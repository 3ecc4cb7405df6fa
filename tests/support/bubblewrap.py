"""Tests that need the real sandbox: skipped with a reason elsewhere, and never in CI."""

import os
import sys
from pathlib import Path

import pytest

from bot.config.load import environment
from bot.config.schema import SandboxConfig
from bot.workspace.sandbox import Bubblewrap

TOOLS = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])


def unavailable() -> str | None:
    return Bubblewrap(SandboxConfig(), TOOLS).available()


def skip_without_bubblewrap() -> None:
    """Skip where bubblewrap cannot be used, but never in CI."""
    reason = unavailable()
    if reason is not None and "CI" in environment():
        pytest.fail(f"CI must have the sandbox: {reason}")
    if reason is not None:
        pytest.skip(reason)
