# ruff: noqa: E501 (samples are quoted whole)
"""What the gate refuses, what it leaves to a person, and what it never says aloud."""

import base64
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.config.schema import GuardPolicy
from bot.domain.leaks import secrets
from bot.repair.guard import RULES, changed, diff_fingerprint, examine, leaking, redact

POLICY = GuardPolicy()


def edit(path: str, added: str = "x = 1", removed: str = "x = 0") -> str:
    """Return a diff that replaces lines at the top of a file."""
    new, old = added.splitlines(), removed.splitlines()
    body = [*("-" + line for line in old), *("+" + line for line in new)]
    return (
        f"diff --git a/{path} b/{path}\nindex 1111111..2222222 100644\n--- a/{path}\n+++ b/{path}\n"
        f"@@ -{1 if old else 0},{len(old)} +{1 if new else 0},{len(new)} @@\n"
        + "".join(line + "\n" for line in body)
    )


def create(path: str, text: str, mode: str = "100644") -> str:
    lines = text.splitlines()
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\nindex 0000000..2222222\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1,{len(lines)} @@\n" + "".join(f"+{line}\n" for line in lines)
    )


def delete(path: str, text: str) -> str:
    lines = text.splitlines()
    return (
        f"diff --git a/{path} b/{path}\ndeleted file mode 100644\nindex 1111111..0000000\n--- a/{path}\n+++ /dev/null\n"
        f"@@ -1,{len(lines)} +0,0 @@\n" + "".join(f"-{line}\n" for line in lines)
    )


def rename(old: str, new: str) -> str:
    return (
        f"diff --git a/{old} b/{new}\nsimilarity index 100%\nrename from {old}\nrename to {new}\n"
    )


def rules(diff: str, policy: GuardPolicy = POLICY) -> list[str]:
    return [finding.rule for finding in examine(diff, policy).findings]


# --- tokens are put together here, so that no scanner of this repository takes them for real -----

LETTERS = string.ascii_letters + string.digits
LONG = (LETTERS * 9)[:520]
TOKENS = {
    "github": "gh" + "p_" + LONG[:36],
    "github-installation": "gh" + "s_" + LONG[:36],
    "github-520": "gh" + "s_" + LONG[:516],
    "github-dotted": "gh" + "s_" + LONG[:20] + "." + LONG[:20] + "-" + LONG[:9],
    "github-fine": "github_" + "pat_" + LONG[:82],
    "gitlab": "gl" + "pat-" + LONG[:20],
    "aws": "AK" + "IA" + "IOSFODNN7ABCDEFG",
    "aws-secret": "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzz123",
    "slack": "xo" + "xb-" + "1234567890-abcdefABCDEF",
    "google": "AI" + "za" + LONG[:35],
    "stripe": "sk_" + "live_" + LONG[:24],
    "openai": "sk-" + "proj-" + LONG[:48],
    "npm": "np" + "m_" + LONG[:36],
    "pypi": "pypi-" + "AgEIcHlwaS5vcmc" + LONG[:60],
    "hugging-face": "hf" + "_" + LONG[:34],
    "sendgrid": "SG" + "." + LONG[:22] + "." + LONG[:43],
    "jwt": "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + LONG[:43],
    "password": "password = " + '"k7!Qz93-xWp2"',
    "url": "postgres://admin:" + "s3cr3tPw9" + "@db/app",
    "key": "-----BEGIN RSA PRIVATE "
    "KEY-----\n"
    "MIIEpAIBAAKCAQEA" + LONG[:40] + "\n-----END RSA PRIVATE " + "KEY-----",
}
NOT_SECRET = (
    'password = os.environ["PASSWORD"]',
    'password = "${DB_PASSWORD}"',
    "password = getpass.getpass()",
    'token = "<your token>"',
    'api_key = "changeme123456"',
    "secret_name = 'database-credentials'",
    "sha512-qEMqhfcpvHfjKpKNLgvRbAAAAbcd1234abcd1234abcd1234abcd1234abcd1234==",
    "commit 4a9682b3b1a15d394ff42a17c53c2470445ce66b",
    "https://github.com/org/repo/pull/12",
    "the quick brown fox jumps over the lazy dog",
    "import secrets; token = secrets.token_hex(16)",
    "AKIA is the beginning of a key id",
    "sk-learn is a library",
    "sk-estimator-validation-suite-of-tests",
    "ghosts_and_gholes_are_no_tokens",
)


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_a_secret_waits_for_a_person_and_is_never_repeated(token):
    verdict = examine(create("config.py", f"x = 1\n{token}\n"), POLICY)
    (finding, *_) = [one for one in verdict.findings if one.rule == "secret"]
    assert (finding.path, finding.line, verdict.approvable) == ("config.py", 2, False)
    assert not verdict.another_way
    assert all(part not in str(verdict) for part in token.split() if len(part) > 12)


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_redaction_removes_it_wherever_it_stands(token):
    told = redact(f"before {token} after")
    assert "[redacted]" in told
    assert told.startswith("before")
    assert told.endswith("after")
    secret = max(token.replace("@", " ").split(), key=len)
    assert secret not in told
    assert redact(told) == told


@pytest.mark.parametrize("line", NOT_SECRET)
def test_what_only_looks_like_a_secret_passes(line):
    assert secrets(line) == ()
    assert redact(line) == line


@pytest.mark.parametrize("name", ["github", "github-520", "aws", "stripe"])
@pytest.mark.parametrize(
    "dress",
    [
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(b"a:" + text.encode()).decode(),
        lambda text: text.encode().hex(),
        lambda text: text[::-1],
    ],
    ids=["base64", "base64-shifted", "hex", "backwards"],
)
def test_a_disguised_secret_is_seen(name, dress):
    hidden = dress(TOKENS[name])
    assert "secret" in rules(create("a.txt", f'data = "{hidden}"'))
    assert hidden not in redact(f"see {hidden} here")


@given(st.text(max_size=300), st.sampled_from(sorted(TOKENS.values())))
def test_redaction_is_stable_in_any_surroundings(text, token):
    told = redact(f"{text}\n{token}\n")
    assert redact(told) == told
    assert max(token.split(), key=len) not in told or "://" in token


def test_a_secret_that_only_moves_is_not_new():
    line = TOKENS["github"]
    assert "secret" not in rules(edit("a.py", added=line, removed=line))


def test_nor_is_one_whose_line_is_only_written_otherwise():
    old, new = (f"key = {mark}{TOKENS['github']}{mark}" for mark in "'\"")
    assert "secret" not in rules(edit("a.py", added=new, removed=old))
    assert leaking(edit("a.py", added=new, removed=old)) == ()


def test_a_new_key_in_the_frame_of_an_old_one_is_new():
    frame = "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----"
    old, new = frame.format("MIIEpAIBAAKCAQEA1"), frame.format("MIIEpAIBAAKCAQEA2")
    assert "secret" in rules(edit("a.pem", added=new, removed=old))


# --- paths and kinds of files -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        ".github/regreen.toml",
        "CODEOWNERS",
        "docs/CODEOWNERS",
        "src/agents.md",
        ".claude/settings.json",
        ".mcp.json",
        "llm_config.toml",
        ".github./regreen.toml",
        ".gi\u200bthub/regreen.toml",
    ],
)
def test_a_protected_path_waits_for_a_person_unless_there_is_another_way(path):
    verdict = examine(create(path, "x"), POLICY)
    assert [finding.rule for finding in verdict.findings] == ["protected-path"]
    assert verdict.blocks
    assert verdict.gates == ("protected_path",)
    assert (verdict.approvable, verdict.another_way) == (True, True)


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".GitHub/workflows/ci.yml",
        ".github./workflows/ci.yml",
        ".gi\u200bthub/workflows/ci.yml",
        ".gitmodules",
        "sub/.git/config",
        ".git/hooks/pre-commit",
    ],
)
def test_nobody_can_let_out_a_change_to_workflows_or_to_git_itself(path):
    verdict = examine(create(path, "x"), POLICY)
    assert [finding.rule for finding in verdict.findings] == ["untouchable"]
    assert (verdict.approvable, verdict.another_way) == (False, True)


@pytest.mark.parametrize(
    "path", ["src/github/a.py", "docs/agents/readme.md", "a/.gitignore", "mcp.json"]
)
def test_other_paths_pass(path):
    assert not examine(create(path, "x"), POLICY).blocks


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (".github/workflows/ci.yml", "ci.yml", "untouchable"),
        ("ci.yml", ".github/workflows/ci.yml", "untouchable"),
        ("a", "x/CODEOWNERS", "protected-path"),
        ("x/CODEOWNERS", "a", "protected-path"),
    ],
)
def test_both_sides_of_a_rename_count(old, new, rule):
    assert rules(rename(old, new)) == [rule]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b"])
def test_a_path_out_of_the_repository_is_refused(path):
    assert "outside-path" in rules(create(path, "x"))


def test_links_and_submodules_are_refused_and_a_mode_is_not():
    assert rules(create("link", "/etc/passwd", mode="120000")) == ["symlink"]
    assert "gitlink" in rules(create("sub", "Subproject commit " + "4" * 40, mode="160000"))
    executable = "diff --git a/s.sh b/s.sh\nold mode 100644\nnew mode 100755\n"
    assert rules(executable) == []


def test_a_binary_file_waits_for_a_person():
    diff = (
        "diff --git a/b.bin b/b.bin\nindex 1..2 100644\nBinary files a/b.bin and b/b.bin differ\n"
    )
    patch = "diff --git a/b.bin b/b.bin\nindex 1..2 100644\nGIT binary patch\nliteral 3\nKcmZQzU|?`\n\nliteral 0\nHcmV?d00001\n\n"
    for one in (diff, patch):
        verdict = examine(one, POLICY)
        assert [finding.rule for finding in verdict.findings] == ["binary"]
        assert (verdict.gates, verdict.approvable) == (("binary",), True)


def test_size_waits_for_a_person():
    small = GuardPolicy(max_files=2, max_lines=10)
    assert rules("".join(edit(f"{n}.py") for n in range(3)), small) == ["too-many-files"]
    assert rules(edit("a.py", added="\n".join("y" * 12)), small) == ["too-many-lines"]
    assert examine(edit("a.py", added="\n".join("y" * 12)), small).gates == ("oversized",)
    assert rules(edit("a.py"), small) == []


@pytest.mark.parametrize(
    "diff", ["rubbish", "@@ -1 +1 @@\n+a\n", edit("a.py") + "+one too many\n@@ -9 +9 @@\n"]
)
def test_what_cannot_be_read_is_refused(diff):
    verdict = examine(diff, POLICY)
    assert verdict.blocks
    assert not verdict.approvable


def test_an_ordinary_mend_passes():
    verdict = examine(
        edit("src/app.py", added="import sys", removed="import os\nimport sys"), POLICY
    )
    assert not verdict.blocks
    assert verdict.gates == ()


def test_quoted_names_are_read_as_git_means_them():
    diff = 'diff --git "a/sp \\303\\251.txt" "b/sp \\303\\251.txt"\nindex 1..2 100644\n--- "a/sp \\303\\251.txt"\n+++ "b/sp \\303\\251.txt"\n@@ -1 +1 @@\n-a\n+b\n'
    assert changed(diff)[0].path == "sp é.txt"


# --- tests --------------------------------------------------------------------------------------

WEAKENED = {
    "file-deleted": (delete("tests/test_a.py", "def test_a():\n    assert 1"), "test-file-removed"),
    "file-renamed-away": (rename("tests/test_a.py", "old/a.txt"), "test-file-removed"),
    "function-deleted": (edit("tests/test_a.py", "", "def test_a():\n    pass"), "tests-removed"),
    "skip-mark": (
        edit("tests/test_a.py", "@pytest.mark.skip\ndef test_a():", "def test_a():"),
        "tests-skipped",
    ),
    "expected-to-fail": (
        edit("test_a.py", "@pytest.mark.xfail(strict=False)\ndef test_a():", "def test_a():"),
        "tests-skipped",
    ),
    "unittest-skip": (edit("tests/test_a.py", "    @unittest.skip('later')", ""), "tests-skipped"),
    "jest-skip": (
        edit("src/a.test.ts", "it.skip('adds', () => {", "it('adds', () => {"),
        "tests-skipped",
    ),
    "vitest-only": (
        edit("src/a.spec.ts", "it.only('adds', () => {", "it('adds', () => {"),
        "tests-skipped",
    ),
    "xit": (edit("src/a.test.js", "xit('adds', () => {", "it('adds', () => {"), "tests-removed"),
    "go-skip": (edit("a_test.go", '\tt.Skip("later")', ""), "tests-skipped"),
    "rust-ignore": (edit("src/lib.rs", "#[test]\n#[ignore]", "#[test]"), "tests-skipped"),
    "rust-removed": (edit("src/lib.rs", "", "#[test]\nfn adds() {"), "tests-removed"),
    "junit-disabled": (
        edit("src/test/java/ATest.java", "@Disabled\n@Test", "@Test"),
        "tests-skipped",
    ),
    "assert-true": (
        edit("tests/test_a.py", "    assert True", "    assert f() == 3"),
        "assertion-emptied",
    ),
    "expect-true": (
        edit("a.test.js", "  expect(true).toBe(true)", "  expect(f()).toBe(3)"),
        "assertion-emptied",
    ),
    "assert-gone": (
        edit("tests/test_a.py", "    f()", "    assert f() == 3"),
        "assertions-removed",
    ),
    "assert-commented": (
        edit("tests/test_a.py", "    # assert f() == 3", "    assert f() == 3"),
        "assertions-removed",
    ),
    "go-assert-gone": (
        edit("a_test.go", "\t\t_ = got", '\t\tt.Errorf("got %v", got)'),
        "assertions-removed",
    ),
    "deselected": (
        edit("pyproject.toml", 'addopts = "--deselect tests/test_a.py::t"', 'addopts = "-q"'),
        "tests-deselected",
    ),
    "or-true": (edit("Makefile", "\tpytest || true", "\tpytest"), "tests-deselected"),
}


@pytest.mark.parametrize(("diff", "rule"), WEAKENED.values(), ids=WEAKENED.keys())
def test_a_weakened_test_waits_for_a_person(diff, rule):
    verdict = examine(diff, POLICY)
    assert rule in [finding.rule for finding in verdict.findings]
    assert (verdict.gates, verdict.approvable) == (("weakened_tests",), True)
    assert not verdict.another_way


SOUND = {
    "test-renamed": edit("tests/test_a.py", "def test_b():", "def test_a():"),
    "test-moved": rename("tests/test_a.py", "tests/unit/test_a.py"),
    "test-added": edit("tests/test_a.py", "def test_b():\n    assert f()\nx = 1", "x = 1"),
    "skip-removed": edit("tests/test_a.py", "def test_a():", "@pytest.mark.skip\ndef test_a():"),
    "assert-in-code": edit("src/a.py", "    return x", "    assert x\n    return x"),
    "word-skip-in-code": edit("src/a.py", "    skip = True", "    skip = False"),
}


@pytest.mark.parametrize("diff", SOUND.values(), ids=SOUND.keys())
def test_an_honest_change_of_tests_passes(diff):
    assert rules(diff) == []


def test_every_rule_has_a_meaning():
    shown = {rule for _, rule in WEAKENED.values()}
    assert shown <= set(RULES)


# --- laws ---------------------------------------------------------------------------------------


@given(
    st.one_of(
        st.text(max_size=400),
        st.lists(st.sampled_from(edit("a.py").splitlines(keepends=True)), max_size=12).map("".join),
    )
)
@settings(max_examples=200)
def test_no_diff_makes_it_raise(diff):
    verdict = examine(diff, POLICY)
    assert verdict.blocks == bool(verdict.findings)


def test_the_fingerprint_ignores_line_ends_and_object_names():
    diff = edit("a.py")
    assert diff_fingerprint(diff) == diff_fingerprint(diff.replace("\n", "\r\n"))
    assert diff_fingerprint(diff) == diff_fingerprint(diff.replace("1111111", "abcdef0"))
    assert diff_fingerprint(diff) != diff_fingerprint(edit("b.py"))
    assert diff_fingerprint(diff) != diff_fingerprint(diff.replace("x = 1", "index 1"))


def test_the_rule_that_knows_the_format_tells_of_the_secret():
    key = "AKIA" + "Q3EGRVXNKWYZ4T7P"
    finding = examine(create("a.py", f'aws_access_key_id = "{key}"\n'), POLICY).findings[0]
    assert finding.message == "looks like a secret: AWS key id, AKIA…"
