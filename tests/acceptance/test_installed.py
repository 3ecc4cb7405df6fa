"""Regreen as it is installed: its command line as a newcomer starts it, and what ships with it."""

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from bot import cli
from bot.simulator.serve import SimOptions, Simulator
from bot.workspace.git import version as git_version
from tests.support.simulated import app_key, make_repo

ROOT = Path(__file__).parents[2]
REGREEN = (sys.executable, "-m", "bot")
DEADLINE_S = 240  # the demo's own is shorter
SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("deploy/*"))]
COMMAND = re.compile(r"(?:(?<=bin/)|(?<![\w/.-])(?<!<!-- ))regreen ([a-z][^`#\n]*)")
SHIPPED = {".py", ".conf", ".md", ""}  # code, the sandbox's /etc, and what settings mean


def run(
    folder: Path, words: Sequence[str], env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in *folder* with a clean environment: a PATH, a home, and *env*."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "80"}  # noqa: TID251 - the tools' PATH
    return subprocess.run(
        words,
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def settings(folder: Path, **more: str) -> dict[str, str]:
    """Return the server's variables; the key is one made for these tests."""
    key = folder / "app.pem"
    key.write_text(app_key())
    return {
        "REGREEN_APP_ID": "1",
        "REGREEN_PRIVATE_KEY": str(key),
        "REGREEN_WEBHOOK_SECRET": SECRET,
        "REGREEN_DATA_DIR": str(folder / "data"),
        **more,
    }


def check_sentence(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    """It was refused in one sentence with these words."""
    assert ended.returncode == 2
    assert ended.stderr.startswith("regreen: ")
    assert "Traceback" not in ended.stderr
    assert [word for word in words if word not in ended.stderr] == []


def test_the_demo_ends_as_told(tmp_path):
    ended = run(tmp_path, (*REGREEN, "demo"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Switched to fallback backend for PR #3 (attempt 3)" in ended.stdout
    assert "Using fallback backend: scripted-fallback" in ended.stdout
    assert "The model is scripted" in ended.stdout
    told = {line.split()[1]: line.split()[3] for line in ended.stdout.splitlines() if "✓" in line}
    ends = dict.fromkeys("abcef", "success") | {"d": "action_required"}
    assert told == ends
    assert "…" not in ended.stdout.partition("scene")[2]  # the table fits 80 columns


@pytest.mark.parametrize(
    "variable", ["REGREEN_APP_ID", "REGREEN_PRIVATE_KEY", "REGREEN_WEBHOOK_SECRET"]
)
def test_the_server_does_not_start_without(variable, tmp_path):
    env = {name: value for name, value in settings(tmp_path).items() if name != variable}
    check_sentence(run(tmp_path, (*REGREEN, "serve"), env), f"{variable} is not set")


def test_the_server_does_not_start_with_a_default_secret(tmp_path):
    env = settings(tmp_path, REGREEN_WEBHOOK_SECRET="changeme")
    check_sentence(run(tmp_path, (*REGREEN, "serve"), env), "REGREEN_WEBHOOK_SECRET", "default")


def test_the_server_does_not_start_with_a_broken_file(tmp_path):
    (tmp_path / "llm_config.toml").write_text('[regreen]\nsettle_s = "soon"\n')
    ended = run(tmp_path, (*REGREEN, "serve"), settings(tmp_path))
    check_sentence(ended, "llm_config.toml:2", "regreen.settle_s")


def findings(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {each["name"]: each for each in json.loads(ended.stdout)}


def test_the_doctor_names_what_is_missing(tmp_path):
    ended = run(tmp_path, (*REGREEN, "doctor", "--json"))
    found = findings(ended)
    assert ended.returncode == 1, ended.stderr
    assert found["environment"]["health"] == "failed"
    assert "REGREEN_APP_ID" in found["environment"]["detail"]
    assert (found["git"]["health"], found["git"]["detail"]) == ("ok", git_version())


def test_the_doctor_is_content_with_a_simulated_github(tmp_path):
    (tmp_path / "llm_config.toml").write_text('[sandbox]\ndriver = "none"\n')
    repos = {"acme/widgets": make_repo(tmp_path / "widgets")}
    with Simulator(SimOptions(repos=repos)) as github:
        env = settings(
            tmp_path,
            REGREEN_APP_ID=str(github.app_id),
            REGREEN_PRIVATE_KEY=github.private_key,
            REGREEN_GITHUB_URL=github.url,
        )
        ended = run(tmp_path, (*REGREEN, "doctor", "--json"), env)
    found = findings(ended)
    assert ended.returncode == 0, ended.stdout
    assert found["installations"]["detail"] == "1 repository"
    assert found["sandbox"]["health"] == "note"


def test_an_empty_database_is_made_and_read(tmp_path):
    env = settings(tmp_path)
    assert run(tmp_path, (*REGREEN, "migrate"), env).returncode == 0
    assert run(tmp_path, (*REGREEN, "runs", "list"), env).stdout == "There are no runs yet.\n"
    check_sentence(run(tmp_path, (*REGREEN, "replay", "none"), env), "no delivery none")


def commands() -> list[tuple[str, tuple[str, ...]]]:
    """Return each command line that the documents show, after `regreen`, with where it stands."""
    found: dict[tuple[str, ...], str] = {}
    for path in DOCUMENTS:
        for match in COMMAND.finditer(path.read_text(encoding="utf-8").replace("\\\n", " ")):
            words = tuple(shlex.split(match[1].replace("[", "").replace("]", "")))
            found.setdefault(words, str(path.relative_to(ROOT)))
    return [(place, words) for words, place in found.items()]


def test_the_documents_show_commands():
    shown = {words[0] for _, words in commands()}
    assert shown >= {
        "serve",
        "demo",
        "simulator",
        "doctor",
        "config",
        "classify",
        "runs",
        "migrate",
    }


@pytest.mark.parametrize(
    ("place", "words"), [pytest.param(*one, id=" ".join(one[1])) for one in commands()]
)
def test_a_documented_command_exists(place, words):
    depth = 2 if words[0] in {"backends", "config", "runs"} else 1
    told = CliRunner().invoke(cli.app, [*words[:depth], "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0, (place, told.output)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told.output)
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert {option for option in options if option not in plain} == set(), place


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    how = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    ended = run(folder, (*pip, *how, str(ROOT)), {"PYTHONPATH": ""})
    assert ended.returncode == 0, ended.stderr
    return next(folder.glob("regreen-*.whl"))


def test_the_wheel_holds_the_product_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    sources = {
        str(path.relative_to(ROOT))
        for package in ("bot", "handlers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == sources | {"bot/config/configuration.md"}
    assert {Path(name).suffix for name in names} <= SHIPPED
    assert "bot/store/migrations/versions/r0001_first.py" in names


def test_the_wheel_works_in_an_environment_of_its_own(wheel, tmp_path):
    made = run(tmp_path, (sys.executable, "-m", "venv", "--without-pip", "own"))
    assert made.returncode == 0, made.stderr
    own = tmp_path / "own" / "bin"
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        str(own / "python"),
    )
    installed = run(tmp_path, (*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)))
    assert installed.returncode == 0, installed.stderr
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    env = settings(tmp_path, PYTHONPATH=libraries)
    where = run(tmp_path, (str(own / "python"), "-c", "import bot; print(bot.__file__)"), env)
    assert where.stdout.startswith(str(tmp_path)), where.stderr
    assert (
        "Turn red pull requests green"
        in run(tmp_path, (str(own / "regreen"), "--help"), env).stdout
    )
    assert run(tmp_path, (str(own / "regreen"), "migrate"), env).returncode == 0
    explained = run(tmp_path, (str(own / "regreen"), "config", "explain", "retry.cap_s"), env)
    assert "the longest wait" in explained.stdout, explained.stderr


def test_the_unit_starts_the_server():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys keep their case
    unit.read(ROOT / "deploy" / "regreen.service")
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/.venv/bin/regreen")
    assert words[0] == "serve"
    assert unit["Service"]["PrivateTmp"] == "yes"  # ProtectSystem=strict leaves no other /tmp
    assert not any(key.startswith("RestrictNamespaces") for key in unit["Service"])


def test_the_containers_fit_together():
    composed = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    service = composed["services"]["regreen"]
    built = ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]
    copied = re.findall(r"^COPY (.+) \S+$", built.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    named = {name for line in copied for name in line.split()}
    assert {*wheel["packages"], *wheel["force-include"]} <= named
    mounted = {volume.split(":")[1] for volume in service["volumes"]}
    for variable in ("REGREEN_CONFIG", "REGREEN_PRIVATE_KEY"):
        assert str(Path(service["environment"][variable]).parent) in mounted
    assert "systempaths=unconfined" in service["security_opt"]  # else bubblewrap gets no /proc


def test_the_manifest_asks_for_permissions_that_there_are():
    manifest = yaml.safe_load((ROOT / "app-manifest.yml").read_text(encoding="utf-8"))
    assert set(manifest["default_permissions"].values()) <= {"read", "write"}
    assert "workflows" not in manifest["default_permissions"]


def test_the_changelog_tells_what_is_new():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased = text.partition("\n## Unreleased\n")[2].partition("\n## ")[0]
    assert "\n- " in unreleased
