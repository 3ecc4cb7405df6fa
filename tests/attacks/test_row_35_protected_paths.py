"""Row 35: a model edits workflows, CODEOWNERS or our own settings, under another spelling.

Control: `guard.UNTOUCHABLE` and `GuardPolicy.protected`, compared on every side of a change and
without regard to case, form of Unicode and hidden characters. Off (no such list), nothing is found.
"""

import unicodedata

import pytest

from bot.config.schema import GuardPolicy
from bot.repair.guard import examine

POLICY = GuardPolicy()
WORKFLOWS = [
    *(".github/workflows/ci.yml", ".GitHub/Workflows/CI.yml", "./.github/workflows/ci.yml"),
    *(".github/./workflows/ci.yml", ".github//workflows/ci.yml", ".github/workflows./ci.yml"),
    *(
        ".git\u200bhub/workflows/ci.yml",
        "\uff0egithub/workflows/ci.yml",
        ".github\\workflows\\ci.yml",
    ),
    *(
        ".gitmodules",
        ".git/config",
        "sub/.git/hooks/x",
        "git~1/config",
        ".github/workflow\u017f/ci.yml",
    ),
]
PROTECTED = [
    *("CODEOWNERS", "docs/CODEOWNERS", ".github/CODEOWNERS", "codeowners"),
    *(".github/regreen.toml", ".github/REGREEN.toml", "llm_config.toml", "autocoder.yaml"),
    *("AGENTS.md", "sub/agents.md", ".claude/settings.json", ".gitlab-ci.yml", ".gitattributes"),
    *(
        "Jenkinsfile",
        ".circleci/config.yml",
        ".github/dependabot.yml",
        ".github/actions/a/action.yml",
    ),
]


def spelled(path: str) -> str:
    """Return a path as git prints it: quoted when it is not plain."""
    if path.isascii() and "\\" not in path:
        return path
    raw = "".join(
        chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\{byte:03o}" for byte in path.encode()
    )
    return f'"{raw}"'


def edit(path: str) -> str:
    old, new = spelled(f"a/{path}"), spelled(f"b/{path}")
    return f"diff --git {old} {new}\n--- {old}\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n"


def create(path: str) -> str:
    old, new = spelled(f"a/{path}"), spelled(f"b/{path}")
    return (
        f"diff --git {old} {new}\nnew file mode 100644\n--- /dev/null\n+++ {new}\n"
        "@@ -0,0 +1 @@\n+b\n"
    )


def delete(path: str) -> str:
    old, new = spelled(f"a/{path}"), spelled(f"b/{path}")
    return (
        f"diff --git {old} {new}\ndeleted file mode 100644\n--- {old}\n+++ /dev/null\n"
        "@@ -1 +0,0 @@\n-a\n"
    )


def moved(word: str, old: str, new: str) -> str:
    begin = f"diff --git {spelled(f'a/{old}')} {spelled(f'b/{new}')}\nsimilarity index 100%\n"
    return f"{begin}{word} from {spelled(old)}\n{word} to {spelled(new)}\n"


def rename_to(path: str) -> str:
    return moved("rename", "notes.txt", path)


def rename_from(path: str) -> str:
    return moved("rename", path, "notes.txt")


def copy_to(path: str) -> str:
    return moved("copy", "notes.txt", path)


def mode(path: str) -> str:
    old, new = spelled(f"a/{path}"), spelled(f"b/{path}")
    return f"diff --git {old} {new}\nold mode 100644\nnew mode 100755\n"


WAYS = [edit, create, delete, rename_to, rename_from, copy_to, mode]


def rules(diff: str, policy: GuardPolicy = POLICY) -> set[str]:
    return {one.rule for one in examine(diff, policy).findings}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("path", WORKFLOWS)
def test_no_way_leads_to_a_workflow(path, way):
    assert rules(way(path)) & {"untouchable", "outside-path", "unreadable"}
    assert not examine(way(path), POLICY).approvable


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("path", PROTECTED)
def test_what_decides_about_us_takes_an_approval(path, way):
    assert rules(way(path)) == {"protected-path"}


@pytest.mark.parametrize("path", PROTECTED)
def test_without_the_list_nothing_would_be_found(path):
    assert rules(edit(path), GuardPolicy(protected=())) == set()


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_the_form_of_a_name_does_not_matter(form):
    policy = GuardPolicy(protected=("é/schütz.txt",))
    assert rules(edit(unicodedata.normalize(form, "É/SCHÜTZ.txt")), policy) == {"protected-path"}
