"""Row 18: a pull request brings settings for the agent that mends it: hooks, servers, rules.

Control: `bot.backends.aside` keeps them out of the tree while an agent runs, and the agent's home
is new. Off (the tree as it is), a program that fires what it finds leaves its mark. That the real
agents' hooks do not fire is tried in `tests/acceptance/test_agents.py`.
"""

from pathlib import Path

import pytest

from bot.backends.aside import put_aside
from bot.config.schema import GuardPolicy, SandboxConfig
from bot.repair.guard import examine
from bot.workspace.sandbox import Bubblewrap
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.tasks import fill, texts

BROUGHT = [
    *(".claude/settings.json", ".claude/hooks/start.sh", "sub/.claude/settings.local.json"),
    *("CLAUDE.md", "claude.md", "vendor/lib/CLAUDE.md", "node_modules/x/AGENTS.md", ".mcp.json"),
    *("AGENTS.md", "AGENTS.override.md", ".codex/config.toml", ".agents/skill.md"),
    *(".gemini/settings.json", "GEMINI.md", ".Gemini/settings.json", ".qwen/settings.json"),
    *("QWEN.md", ".opencode/plugin/evil.ts", "opencode.json", "opencode.jsonc"),
    *(".aider.conf.yml", ".aider.tags", ".aiderignore", ".env", "build/.env", ".CLAUDE/x"),
]
# Fires what it finds, as an agent's hook would, and looks for a home that is not empty.
OBEYS = """
find . -type f ! -name app.py | while read -r file; do sh "$file" 2>/dev/null; done
ls -A "$HOME" | grep -q . && touch /tree/home
true
"""


def run_agent(tree: Path) -> set[str]:
    skip_without_bubblewrap()
    sandbox = Bubblewrap(SandboxConfig(), TOOLS)
    ended = sandbox.run(("sh", "-c", OBEYS), tree, timeout_s=30)
    assert ended.exit_code == 0, ended.output
    return {path.name for path in tree.iterdir()} & {"fired", "home"}


@pytest.fixture
def tree(tmp_path) -> Path:
    hooks = dict.fromkeys(BROUGHT, "touch /tree/fired\n")
    return fill(tmp_path / "tree", {"app.py": "x = 1\n", **hooks})


def test_nothing_of_it_fires(tree):
    before = texts(tree)
    with put_aside(tree):
        assert texts(tree) == {"app.py": "x = 1\n"}
        assert run_agent(tree) == set()
    assert texts(tree) == before


def test_without_the_control_it_would(tree):
    assert run_agent(tree) == {"fired"}


@pytest.mark.parametrize("path", [one for one in BROUGHT if not one.endswith(".env")])
def test_no_mend_brings_any_by_itself(path):
    patch = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
    verdict = examine(f"{patch}@@ -0,0 +1 @@\n+x\n", GuardPolicy())
    assert {one.rule for one in verdict.findings} == {"protected-path"}
