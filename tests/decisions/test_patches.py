import contextlib
import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.backends import patches
from bot.backends.patches import Misfit

APP = "import os\n\n\ndef add(a, b):\n    return a - b\n\n\ndef sub(a, b):\n    return a - b\n"
FIXED = APP.replace("return a - b", "return a + b", 1)
FILES = {"app.py": APP, "src/app.py": "x = 1\n", "win.txt": "one\r\ntwo\r\nthree\r\n"}


def outcome(answer: str, files: dict[str, str] | None = None) -> dict[str, str | None]:
    known = FILES if files is None else files
    changes = patches.plan(patches.parse(answer), known.get)
    return {path: written.text if written else None for path, written in changes.items()}


def diff(body: str, old: str = "a/app.py", new: str = "b/app.py") -> str:
    return f"--- {old}\n+++ {new}\n{body}"


HUNK = "@@ -2,6 +2,6 @@\n \n \n def add(a, b):\n-    return a - b\n+    return a + b\n \n \n"
SHORT = " def add(a, b):\n-    return a - b\n+    return a + b\n"
BLOCK = (
    "<<<<<<< SEARCH\ndef add(a, b):\n    return a - b\n=======\n"
    "def add(a, b):\n    return a + b\n>>>>>>> REPLACE"
)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(diff(HUNK), id="a plain diff"),
        pytest.param(f"Sure:\n\n```diff\n{diff(HUNK)}```\nDone.", id="fenced, with prose"),
        pytest.param("diff --git a/app.py b/app.py\nindex 1..2 100644\n" + diff(HUNK), id="git"),
        pytest.param(diff(HUNK, "app.py", "app.py"), id="no prefixes"),
        pytest.param(diff(HUNK, "./app.py", "./app.py"), id="dot slash"),
        pytest.param(diff(HUNK, "a/app.py\t2024-01-01", "b/app.py\t2024-01-02"), id="time stamps"),
        pytest.param(diff("@@ -40,9 +40,2 @@\n" + SHORT), id="wrong numbers and counts"),
        pytest.param(diff("@@ -1,1 +1,1 @@\n" + SHORT), id="counts too small"),
        pytest.param(diff("@@\n" + SHORT), id="no numbers"),
        pytest.param(diff("@@ ... @@ def add\n" + SHORT), id="dots for numbers"),
        pytest.param(diff(HUNK).replace("\n \n", "\n\n"), id="blank context without its blank"),
        pytest.param(diff(HUNK).replace("\n", "\r\n"), id="CRLF answer"),
        pytest.param(diff("@@ -4,2 +4,2 @@\n" + SHORT) + "\nThat mends `add`.", id="prose after"),
        pytest.param(
            "```diff\n" + diff("@@ -4,2 +4,2 @@\n" + SHORT[1:]) + "```", id="lost leading blank"
        ),
        pytest.param(
            diff("@@ -3,3 +3,3 @@\n wrong line\n" + SHORT), id="a wrong outer context line"
        ),
        pytest.param(
            diff("@@ -4,2 +4,2 @@\n" + SHORT.replace("b):", "b):  ")), id="trailing blank"
        ),
        pytest.param(f"app.py\n{BLOCK}\n", id="block"),
        pytest.param(f"Here:\n\n**app.py**\n```python\n{BLOCK}\n```\n", id="block, bold path"),
        pytest.param(f"### `app.py`\n\n```\n{BLOCK}\n```", id="block, heading"),
        pytest.param(f"```python\napp.py\n{BLOCK}\n```", id="block, path inside the fence"),
        pytest.param(f"File: app.py\n{BLOCK}", id="block, label"),
        pytest.param(f"app.py\n{BLOCK}".replace("\n", "\r\n"), id="block, CRLF"),
        pytest.param(f"FILE: app.py\n```python\n{FIXED}```\n", id="whole file"),
        pytest.param(f"**File:** `app.py`\n\n````python\n{FIXED}````\n", id="whole file, dressed"),
    ],
)
def test_an_answer_is_understood(answer):
    assert outcome(answer) == {"app.py": FIXED}


def test_a_block_may_be_shifted_as_a_whole():
    files = {"a.py": "class A:\n    def f(self):\n        return 1\n"}
    answer = (
        "a.py\n<<<<<<< SEARCH\ndef f(self):\n    return 1\n=======\n"
        "def f(self):\n    x = 2\n\n    return x\n>>>>>>> REPLACE"
    )

    assert outcome(answer, files) == {
        "a.py": "class A:\n    def f(self):\n        x = 2\n\n        return x\n"
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(diff("@@ -1 +0,0 @@\n-x = 1\n", "a/src/app.py", "/dev/null"), None, id="gone"),
        pytest.param(
            "diff --git a/src/app.py b/src/app.py\ndeleted file mode 100644\n", None, id="git gone"
        ),
        pytest.param(diff("@@ -1 +1 @@\n-x = 1\n+x = 2\n", "src/app.py", "src/app.py"), "x = 2\n"),
        pytest.param("FILE: src/app.py\n```\n```", "", id="emptied"),
    ],
)
def test_one_file_of_several(answer, expected):
    assert outcome(answer) == {"src/app.py": expected}


def test_a_file_is_made_by_each_kind_of_answer():
    made = {"new/b.py": "y = 1\n"}

    assert outcome(diff("@@ -0,0 +1 @@\n+y = 1\n", "/dev/null", "b/new/b.py")) == made
    assert outcome(diff("@@ -0,0 +1,9 @@\n+y = 1\n", "a/new/b.py", "b/new/b.py")) == made
    assert outcome("new/b.py\n<<<<<<< SEARCH\n=======\ny = 1\n>>>>>>> REPLACE") == made
    assert outcome("FILE: new/b.py\n```python\ny = 1\n```") == made


def test_a_file_is_moved():
    head = "diff --git a/app.py b/lib.py\nsimilarity index 90%\nrename from app.py\n"

    moved = outcome(head + "rename to lib.py\n" + diff(HUNK, "a/app.py", "b/lib.py"))

    assert moved == {"app.py": None, "lib.py": FIXED}


def test_several_files_and_kinds_in_one_answer():
    second = diff("@@ -1 +1 @@\n-x = 1\n+x = 2\n", "a/src/app.py", "b/src/app.py")
    answer = f"```diff\n{diff(HUNK)}{second}```\nFILE: c.md\n```\nc\n```\n"

    assert outcome(answer) == {"app.py": FIXED, "src/app.py": "x = 2\n", "c.md": "c\n"}


def test_later_edits_see_earlier_ones():
    again = BLOCK.replace("a - b", "a + b").replace("return a + b\n>", "return b + a\n>")

    assert outcome(f"app.py\n{BLOCK}\n{again}") == {"app.py": APP.replace("a - b", "b + a", 1)}


def test_a_file_keeps_its_line_ends():
    assert outcome(
        diff("@@ -1,3 +1,4 @@\n one\n-two\n+2\n+2b\n three\n", "win.txt", "win.txt")
    ) == {"win.txt": "one\r\n2\r\n2b\r\nthree\r\n"}
    assert outcome("win.txt\n<<<<<<< SEARCH\ntwo\n=======\n2\n>>>>>>> REPLACE") == {
        "win.txt": "one\r\n2\r\nthree\r\n"
    }


def test_an_illustration_beside_a_patch_is_no_file():
    answer = f"{diff(HUNK)}\nFor comparison, file: src/app.py\n```\nx = ...\n```\n"

    assert outcome(answer) == {"app.py": FIXED}


def test_a_line_number_chooses_between_equal_places():
    twice = "a\nb\na\nb\na\nb\n"

    assert outcome(diff("@@ -5,2 +5,2 @@\n a\n-b\n+c\n", "t", "t"), {"t": twice}) == {
        "t": "a\nb\na\nb\na\nc\n"
    }


def test_a_hunk_is_looked_for_where_the_ones_before_it_moved_it():
    before = "x\n" + "a\nb\n" * 6
    body = "@@ -1,1 +1,7 @@\n x\n" + "+new\n" * 6 + "@@ -6,2 +12,2 @@\n a\n-b\n+c\n"

    after = outcome(diff(body, "t", "t"), {"t": before})["t"]

    assert after == "x\n" + "new\n" * 6 + "a\nb\n" * 2 + "a\nc\n" + "a\nb\n" * 3


def test_lines_that_look_like_a_header_are_lines_where_the_counts_say_so():
    body = "@@ -1,2 +1,2 @@\n x\n--- a\n+++ b\n@@ -9 +9 @@\n-y\n+z\n"
    before = "x\n-- a\n" + "q\n" * 6 + "y\n"

    assert outcome(diff(body, "t", "t"), {"t": before}) == {"t": "x\n++ b\n" + "q\n" * 6 + "z\n"}


def test_a_mark_for_a_missing_newline_means_nothing_before_the_end():
    body = "@@ -1 +1 @@\n-a\n+c\n\\ No newline at end of file\n"

    assert outcome(diff(body, "t", "t"), {"t": "a\nb\n"}) == {"t": "c\nb\n"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("I would change `add`.", "the answer holds no patch", id="prose"),
        pytest.param("```python\nx = 1\n```", "the answer holds no patch", id="unlabelled"),
        pytest.param(diff(""), "has no hunk", id="no hunk"),
        pytest.param(diff("@@ -1,2 +1,2 @@\n a\n b\n"), "changes nothing", id="context only"),
        pytest.param(
            diff(HUNK + "@@ -8,2 +8,2 @@\n def mul(a, b):\n-    return 1\n+    return 2\n"),
            "hunk 2 of app.py does not match",
            id="second hunk",
        ),
        pytest.param(
            diff("@@\n-    return a - b\n+    return 0\n"), "fits in 2 places", id="ambiguous hunk"
        ),
        pytest.param(
            "app.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    pass\n>>>>>>> REPLACE",
            "app.py fits in 2 places",
            id="ambiguous block",
        ),
        pytest.param("app.py\n" + BLOCK.replace("a, b", "q"), "does not match", id="block"),
        pytest.param("app.py\n" + BLOCK[:-9], "is not closed", id="cut off"),
        pytest.param(BLOCK, "names no file", id="no path"),
        pytest.param("none.py\n" + BLOCK, "none.py does not exist", id="block of no file"),
        pytest.param(diff(HUNK, "none.py", "none.py"), "none.py does not exist", id="no file"),
        pytest.param(diff("@@ -0,0 +1 @@\n+x\n", "/dev/null"), "exists already", id="made twice"),
        pytest.param(diff("@@\n+x = 1\n"), "neither context nor a line number", id="bare addition"),
        pytest.param(
            "app.py\n<<<<<<< SEARCH\n=======\nx\n>>>>>>> REPLACE", "is empty", id="empty search"
        ),
        pytest.param(
            "FILE: app.py\n```\nimport os\n# ... rest of the code unchanged ...\n```",
            "leaves parts out",
            id="lazy whole file",
        ),
        pytest.param(
            "diff --git a/x b/x\nnew file mode 120000\n" + diff("@@ -0,0 +1 @@\n+/etc\n"),
            "a link or a submodule",
            id="symlink",
        ),
        pytest.param(
            "diff --git a/x b/x\nnew file mode 160000\n", "a link or a submodule", id="submodule"
        ),
        pytest.param(
            "diff --git a/x b/x\nindex 1..2 100644\nBinary files a/x and b/x differ",
            "binary",
            id="binary",
        ),
    ],
)
def test_an_answer_is_refused_with_its_reason(answer, reason):
    with pytest.raises(Misfit, match=reason):
        outcome(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        ".git/config",
        "a/.GIT/hooks/x",
        ".git./x",
        "git~1/x",
        "~/x",
        "a\\b",
        "a//b",
        "x\x1b",
        "",
    ],
)
def test_a_path_out_of_the_tree_is_refused(path):
    with pytest.raises(Misfit, match="path"):
        patches.checked(path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../out", ".git/config"])
@pytest.mark.parametrize(
    "form",
    [
        pytest.param("--- /dev/null\n+++ {}\n@@ -0,0 +1 @@\n+x\n", id="diff"),
        pytest.param("FILE: {}\n```\nx\n```", id="whole file"),
        pytest.param("File: {}\n<<<<<<< SEARCH\n=======\nx\n>>>>>>> REPLACE", id="block"),
    ],
)
def test_no_form_of_answer_reaches_out(form, path):
    with pytest.raises(Misfit, match="path"):
        outcome(form.format(path))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("NO CHANGE NEEDED: the test is right.", True),
        ("No changes are required here", True),
        ("There is no way to change this.", False),
    ],
)
def test_an_answer_may_decline(answer, said):
    assert patches.declines(answer) is said


# --- properties ---

LINES = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", "", " ", "-- a", "++ b", "@@ -1 +1 @@", "```", "\\ x", "=======",
                         "diff --git a/x b/x", "\f\u2028"]),
        st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=8),
    ),
    max_size=12,
)  # fmt: skip
TEXTS = st.builds(
    lambda lines, end: "\n".join(lines) + ("\n" if end and lines else ""), LINES, st.booleans()
)


def rendered(old: str, new: str, context: int) -> str:
    """Return a unified diff as git writes it, with its mark for a missing last newline."""

    def lines(text: str) -> list[str]:
        *whole, last = text.split("\n")
        return [f"{line}\n" for line in whole] + ([last] if last else [])

    found = difflib.unified_diff(lines(old), lines(new), "a/f", "b/f", n=context)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found
    )


@given(TEXTS, TEXTS, st.integers(0, 4), st.booleans())
def test_a_rendered_diff_gives_the_second_text(old, new, context, fenced):
    if old == new:
        return
    body = rendered(old, new, context)
    answer = f"Here it is.\n```diff\n{body}```\n" if fenced else body

    assert outcome(answer, {"f": old}) == {"f": new}


@given(TEXTS, TEXTS)
def test_a_file_with_other_line_ends_gets_its_own(old, new):
    old, new = f"x\n{old}\n", f"x\n{new}\n"
    if old == new:
        return
    answer = rendered(old, new, 3)

    assert outcome(answer, {"f": old.replace("\n", "\r\n")}) == {"f": new.replace("\n", "\r\n")}


@given(TEXTS, st.lists(st.integers(0, 400), max_size=6))
def test_a_damaged_answer_is_refused_or_applied_but_never_breaks(text, cuts):
    answer = f"FILE: g\n```\n{text}\n```\n{diff(HUNK)}app.py\n{BLOCK}\n"
    for cut in cuts:
        answer = answer[:cut] + answer[cut + 1 :]
    with contextlib.suppress(Misfit):
        assert all(patches.checked(path) == path for path in outcome(answer))


def test_the_same_tree_is_not_a_change(tmp_path: Path):
    (tmp_path / "a").write_text("x\n")

    assert patches.apply(patches.parse("FILE: a\n```\nx\n```"), tmp_path) == ()
