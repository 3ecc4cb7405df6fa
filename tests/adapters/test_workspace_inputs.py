"""What a stored set-up is known by, and which set-ups depend on the whole tree."""

import os

import pytest

from bot.workspace.inputs import seen

FILES = {
    "requirements.txt": "demo==1.0 --hash=sha256:00\n-r more/dev.txt  # more\n",
    "more/dev.txt": "-c ../none\n",
    "plain.txt": "a>=1; python_version > '3'\nb[x]~=2\nc @ https://a.example/c.whl\n",
    "package.json": '{"scripts": {"test": "x"}}',
    "web/package.json": "{}",
    "web/package-lock.json": "{}",
    "pyproject.toml": "[project]\nname = 'x'\n",
    "uv.lock": "",
    "go.mod": "module x\n",
    "Cargo.toml": "[package]\n",
    "src/lib.rs": "fn secret() {}\n",
    "src/app.py": "x = 1\n",
    "libs/one/pyproject.toml": "",
    "data/list.txt": "demo\n",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "more/dev.txt").write_text("-c ../plain.txt\n".replace("../plain.txt", "pins.txt"))
    (tmp_path / "more/pins.txt").write_text("demo==1.0\n")
    return tmp_path


LOCKED = {"package.json", "web/package.json", "web/package-lock.json"}


@pytest.mark.parametrize(
    ("script", "paths"),
    [
        ("python -m venv .venv", set()),
        ("pip install 'demo>=1' pytest", set()),
        (
            "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt",
            {"requirements.txt", "more/dev.txt", "more/pins.txt"},
        ),
        (
            "PIP_INDEX_URL=https://a.example/simple pip install --requirement=plain.txt",
            {"plain.txt"},
        ),
        ("cd data\npip install -i https://a.example/simple -r list.txt", {"data/list.txt"}),
        ("npm ci", LOCKED),
        ("corepack enable; yarn install --frozen-lockfile", LOCKED),
        (
            "uv sync --frozen --no-install-project",
            {"pyproject.toml", "uv.lock", "libs/one/pyproject.toml"},
        ),
        ("go mod download", {"go.mod"}),
        ("cargo fetch --locked", {"Cargo.toml", "src/lib.rs"}),
    ],
)
def test_a_known_set_up_sees_its_own_files(tree, script, paths):
    found = seen(tree, [script], "")
    assert found is not None
    assert {one.path for one in found.files} == paths


@pytest.mark.parametrize(
    "script",
    [
        *(
            "make setup",
            "./setup.sh",
            "tox",
            "pip install .",
            "pip install -e .",
            "pip install ./libs/one",
        ),
        *(
            "pip install libs/one",
            "pip install src",
            "pip install -r missing.txt",
            "pip install -r ../x",
        ),
        *("pip install -f wheels demo", "pip install -t src demo", "pip install /etc"),
        *("uv sync --frozen", "poetry install", "cargo build", "npm run build", "npm ci ./libs"),
        *(
            "npm ci || true",
            "npm ci | tee log",
            "npm ci & ",
            "(npm ci)",
            "npm ci > log",
            "npm ci <x",
        ),
        *("npm ci $(id)", "npm ci `id`", "npm ci#; ./x", "cd .. && npm ci", "cd /tmp; npm ci"),
        *("if true; then npm ci; fi", "npm ci; ./more.sh", "npm 'ci", "pip download demo"),
        *("pip install 'demo @ file:///tree/x'", "pip install git+https://a.example/x"),
    ],
)
def test_a_set_up_that_may_see_more_is_not_stored(tree, script):
    assert seen(tree, [script], "") is None


@pytest.mark.parametrize(
    ("name", "text", "script"),
    [
        ("requirements.txt", "-e .\n", "pip install -r requirements.txt"),
        ("requirements.txt", ".\n", "pip install -r requirements.txt"),
        ("requirements.txt", "./libs/one\n", "pip install -r requirements.txt"),
        ("requirements.txt", "libs/one\n", "pip install -r requirements.txt"),
        ("requirements.txt", "x @ file:///tree/libs\n", "pip install -r requirements.txt"),
        ("requirements.txt", "--find-links wheels\n", "pip install -r requirements.txt"),
        ("package.json", '{"scripts": {"postinstall": "node x.js"}}', "npm ci"),
        ("package.json", '{"scripts": {"prepare": "husky"}}', "npm ci"),
        ("package.json", '{"dependencies": {"a": "file:../a"}}', "npm ci"),
        ("package.json", '{"pnpm": {"patchedDependencies": {}}}', "pnpm install"),
        ("package.json", "{", "npm ci"),
        ("package.json", "[" * 100_000, "npm ci"),
        (
            "pyproject.toml",
            "[tool.uv.sources]\na = { path = 'libs/a' }",
            "uv sync --no-install-project",
        ),
        ("pyproject.toml", "[tool.uv.workspace]\nmembers = []", "uv sync --no-install-project"),
    ],
)
def test_a_manifest_that_leads_into_the_tree_is_not_stored(tree, name, text, script):
    assert seen(tree, [script], "") is not None
    (tree / name).write_text(text)
    assert seen(tree, [script], "") is None


def test_a_link_is_not_followed(tree):
    (tree / "r.txt").symlink_to("requirements.txt")
    (tree / "less").symlink_to("more")
    assert seen(tree, ["pip install -r r.txt"], "") is None
    assert seen(tree, ["pip install -r less/pins.txt"], "") is None
    (tree / "etc").symlink_to("/etc")
    found = seen(tree, ["npm ci"], "")
    assert found is not None
    assert {one.path for one in found.files} == LOCKED


def test_lists_that_lead_in_circles_are_read_once(tree):
    (tree / "a.txt").write_text("-r b.txt\n" * 40)
    (tree / "b.txt").write_text("-r a.txt\n" * 40 + "-r c.txt\n")
    (tree / "c.txt").write_text("demo\n")
    found = seen(tree, ["pip install -r a.txt -r a.txt"], "")
    assert found is not None
    assert [one.path for one in found.files] == ["a.txt", "b.txt", "c.txt"]


def test_what_is_too_large_is_not_read_to_its_end(tree):
    for name in ("web", "libs", "src"):
        (tree / name / "yarn.lock").touch()
        os.truncate(tree / name / "yarn.lock", 30 * 1024 * 1024)
    assert seen(tree, ["npm ci"], "") is None


def test_the_key_names_all_that_is_seen_and_nothing_else(tree):
    script = "pip install -r requirements.txt"

    def key(*scripts: str, about: str = "") -> str:
        found = seen(tree, scripts or [script], about)
        assert found is not None
        return found.key

    first = key()
    (tree / "src/app.py").write_text("another\n")
    assert key() == first
    assert key(about="another sandbox") != first
    assert key(script, script) != first
    (tree / "requirements.txt").chmod(0o755)
    assert key() != first
    (tree / "requirements.txt").chmod(0o644)
    assert key() == first
    (tree / "more/pins.txt").write_text("demo==1.1\n")
    assert key() != first


def test_of_a_hollow_file_only_the_name_counts(tree, tmp_path_factory):
    found = seen(tree, ["cargo fetch"], "")
    assert found is not None
    to = tmp_path_factory.mktemp("made") / "tree"
    found.write(to)
    assert (to / "src/lib.rs").read_text() == ""
    assert (to / "Cargo.toml").read_text() == FILES["Cargo.toml"]
    (tree / "src/lib.rs").write_text("changed\n")
    assert seen(tree, ["cargo fetch"], "") == found
