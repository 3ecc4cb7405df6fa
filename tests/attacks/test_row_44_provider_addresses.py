"""Row 44: somebody has the server call an address of their own, or one of its own network.

Control: addresses of models stand in the platform's file alone. A repository's configuration has no
key for them, and the API changes nothing but chains. Off (the file is the attacker's), it is
called: whoever writes the platform's file is trusted. What the sandbox fetches is in row 24.
"""

import json

import pytest

from bot.config import load
from bot.domain.errors import ConfigError
from bot.repair.repository import asked
from tests.support.api import TOKEN, Whole

METADATA = "http://169.254.169.254/v1"
PLATFORM = """\
[backend]
order = ["codex"]
[backends.codex]
backend_type = "openai"
model = "m"
api_key = "k"
base_url = "https://models.example/v1"
"""
BACKENDS = f'[backends.codex]\nbase_url = "{METADATA}"\n'
REPOSITORY = [
    BACKENDS,
    f'base_url = "{METADATA}"\n',
    f'[codex.mine]\nOPENAI_BASE_URL = "{METADATA}"\n',
    f'[review]\nmode = "gate"\nbase_url = "{METADATA}"\n',
]
WISHES = [
    {"backends": {"codex": {"base_url": METADATA}}},
    {"version": 2, "chains": {"implement": {"engines": [METADATA]}}},
    {"version": 2, "chains": {"implement": {"engines": ["codex"], "base_url": METADATA}}},
]


@pytest.mark.parametrize("text", REPOSITORY)
def test_a_repository_has_no_key_for_it(text):
    with pytest.raises(ConfigError, match="unknown"):
        asked(text, {})


@pytest.mark.parametrize("text", REPOSITORY[:3])
def test_nor_has_its_other_file(text):
    with pytest.raises(ConfigError, match="unknown"):
        asked(
            "", {"autocoder.yaml": f"backends: {{codex: {{base_url: '{METADATA}'}}}}\n# {text!r}"}
        )


@pytest.mark.parametrize("wish", WISHES)
def test_the_api_changes_no_address(tmp_path, wish):
    path = tmp_path / "llm_config.toml"
    path.write_text(PLATFORM)
    answer = Whole(path=path).call(
        "PUT",
        "/api/engine-settings",
        json.dumps(wish).encode(),
        authorization=f"Bearer {TOKEN.reveal()}",
    )
    assert METADATA not in path.read_text()
    assert METADATA not in answer.text or answer.status_code == 422
    found = load.configuration(path, {}).backends["codex"]
    assert found.base_url == "https://models.example/v1"


def test_the_platforms_own_file_would_be_believed(tmp_path):
    path = tmp_path / "llm_config.toml"
    path.write_text(PLATFORM.replace("https://models.example/v1", METADATA))
    assert load.configuration(path, {}).backends["codex"].base_url == METADATA
