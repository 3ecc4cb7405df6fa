"""The registered App gets what the code asks for, and nothing else."""

from pathlib import Path

import yaml

from bot.github.auth import EVENTS, required_permissions

MANIFEST = yaml.safe_load((Path(__file__).parents[2] / "app-manifest.yml").read_text())


def test_the_manifest_asks_for_what_the_tokens_use() -> None:
    assert MANIFEST["default_permissions"] == required_permissions()
    assert "workflows" not in MANIFEST["default_permissions"]


def test_the_manifest_subscribes_to_what_is_handled() -> None:
    assert tuple(MANIFEST["default_events"]) == EVENTS


def test_the_app_is_private_and_holds_no_secret() -> None:
    assert MANIFEST["public"] is False
    assert set(MANIFEST["hook_attributes"]) == {"url", "active"}
