import sys
from pathlib import Path

import pytest

from bot.backends import markers
from bot.backends.registry import Registry
from bot.config.schema import BackendConfig, Configuration
from bot.domain.answers import Ending
from bot.gateway.chat import Chat
from tests.support.sandboxes import PlainSandbox
from tests.support.tasks import a_task, fill, texts

SCRIPT = """\
import pathlib, sys
prompt = sys.stdin.read()
pathlib.Path("argv.txt").write_text("\\n".join(sys.argv[1:]))
pathlib.Path("stdin.txt").write_text(prompt)
for word in sys.argv[1:]:
    if word.startswith(".regreen-prompt"):
        pathlib.Path("file.txt").write_text(pathlib.Path(word).read_text())
print("done, I think")
"""


def start(tree: Path, command: str | None, stop=lambda: False, **changes):
    config = BackendConfig("mine", "command", "m-1", command=command, **changes)
    sandbox = PlainSandbox()
    registry = Registry(lambda: Configuration(backends={"mine": config}), sandbox, Chat())
    answer = registry.run(
        "mine", fallback=False, task=a_task(title="Mend prices"), tree=tree, stop=stop
    )
    return answer, sandbox


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fill(tmp_path, {"agent.py": SCRIPT})


def test_the_template_is_filled_and_the_prompt_comes_by_input_and_file(tree):
    command = (
        f"{sys.executable} agent.py --model [model_name] --prompt-file [prompt_file] "
        "'two words; $(id)' [unknown] [model_provider]"
    )
    answer, sandbox = start(tree, command, options=("--id=[sessionId]", "[settings]"), settings="s")
    argv = (tree / "argv.txt").read_text().split("\n")
    prompt = (tree / "stdin.txt").read_text()

    assert answer.ending is Ending.EDITED
    assert answer.text.strip() == "done, I think"
    assert argv[:2] == ["--model", "m-1"]
    assert argv[4:7] == ["two words; $(id)", "[unknown]", "[model_provider]"]
    assert len(argv[7]) == len("--id=") + 36
    assert argv[8] == "s"
    assert "Mend prices" in prompt
    assert "acme/shop#7" in prompt
    assert (tree / "file.txt").read_text() == prompt
    assert "Mend prices" not in " ".join(sandbox.ran[0][0])
    assert sorted(texts(tree)) == ["agent.py", "argv.txt", "file.txt", "stdin.txt"]


@pytest.mark.parametrize(
    ("command", "ending", "said"),
    [
        pytest.param("sh -c 'echo broken pipe; exit 3'", Ending.TOOL_FAILED, "broken pipe", id="3"),
        pytest.param("no-such-agent-here", Ending.NOT_FOUND, "not installed", id="missing"),
        pytest.param("sh -c 'exit 127'", Ending.NOT_FOUND, "not installed", id="127"),
        pytest.param("sh -c 'kill -9 $$'", Ending.KILLED, "signal 9", id="killed"),
        pytest.param("sh -c 'exit 143'", Ending.KILLED, "signal 15", id="terminated"),
        pytest.param(
            "sh -c 'echo No space left on device; exit 1'", Ending.DISK_FULL, "space", id="full"
        ),
        pytest.param("sleep 20", Ending.TIMEOUT, "longer than", id="slow"),
        pytest.param("sh -c 'echo Credits EXHAUSTED'", Ending.USAGE_LIMIT, "exhausted", id="mark"),
        pytest.param(
            "sh -c 'echo Credits exhausted; exit 1'", Ending.USAGE_LIMIT, "exhausted", id="mark, 1"
        ),
        pytest.param("sh -c 'echo fine'", Ending.EDITED, "", id="fine"),
        pytest.param("", Ending.NOT_FOUND, "no command", id="empty"),
        pytest.param(None, Ending.NOT_FOUND, "no command", id="none"),
        pytest.param("agent 'open", Ending.NOT_FOUND, "cannot be read", id="open quote"),
    ],
)
def test_every_end_has_its_answer(tree, command, ending, said):
    answer, _ = start(tree, command, timeout_s=1.0, usage_markers=("credits exhausted",))

    assert answer.ending is ending
    assert said in answer.detail
    assert texts(tree) == {"agent.py": SCRIPT}


def test_a_stop_is_told(tree):
    answer, _ = start(tree, "true", stop=lambda: True)

    assert answer.ending is Ending.KILLED
    assert "stopped" in answer.detail


@pytest.mark.parametrize(
    ("marker", "text", "found"),
    [
        pytest.param("usage limit", "You hit your USAGE LIMIT.", True, id="text"),
        pytest.param("", "anything", False, id="empty"),
        pytest.param("  ", "a  b", False, id="blank"),
        pytest.param({"a": 1}, '{"a": 1, "b": 2}', True, id="subset"),
        pytest.param({"a": {"b": [2]}}, 'log\n{"a": {"b": [1, 2]}}\n', True, id="deep, in a line"),
        pytest.param([{"k": "x"}], '[{"k": "y"}, {"k": "x", "z": 0}]', True, id="list"),
        pytest.param('{"a": 1}', '{"b": 2, "a":1}', True, id="JSON as text"),
        pytest.param({"a": 1}, '{"a": 2}', False, id="other value"),
        pytest.param({"a": 1}, '{"a": true}', False, id="other type"),
        pytest.param({"status": 429}, "1429 rows", False, id="no JSON"),
        pytest.param({}, "{}", False, id="an empty object marks nothing"),
    ],
)
def test_markers(marker, text, found):
    assert (markers.found((marker,), text) is not None) is found
