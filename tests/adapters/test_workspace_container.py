"""Containers: the same promises as bubblewrap's, on a real podman where one runs.

Docker is not run here: its command line is compared with podman's, which is.
"""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from bot.config.schema import SandboxConfig
from bot.domain.errors import NeedsPerson
from bot.domain.ports import NO_KIT, Kit
from bot.workspace.container import Container
from bot.workspace.lesser import Bind
from bot.workspace.sandbox import choose
from tests.support.engines import IMAGE, container, engine, image

pytestmark = pytest.mark.xdist_group("podman")  # one image for all


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Iterator[Sequence[str]]:
    if not any((Path(folder) / "podman").exists() for folder in os.defpath.split(":")):
        pytest.skip("podman is not installed")
    with image(tmp_path_factory.mktemp("image")):
        found = engine()
        if isinstance(found, str):
            pytest.skip(found)
        yield found


@pytest.fixture
def podman(program) -> Container:
    return container(program)


def sh(sandbox: Container, tree: Path, script: str, **more):
    return sandbox.run(("sh", "-c", script), tree, **{"timeout_s": 60, **more})


def left(program: Sequence[str]) -> list[str]:
    """Return what is left of our containers once the engine has had time to clean up."""
    deadline = time.monotonic() + 60
    while (found := containers(program)) and time.monotonic() < deadline:
        pass  # each look takes its time
    return found


def containers(program: Sequence[str]) -> list[str]:
    words = [*program, "ps", "--all", "--quiet", "--filter", "label=regreen.server"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    return told.stdout.split()


def test_it_is_there_and_holds(podman):
    assert podman.available() is None
    assert podman.selftest() == ()
    assert set(podman.notes()) <= {"commands can make user namespaces"}  # its filter of calls says


def test_a_command_runs_in_the_tree_and_what_it_makes_is_ours(podman, program, tmp_path):
    (tmp_path / "in").write_text("hello\n")
    script = 'cat; cat in; touch made; printf "%s|" "$V" "$1"; exit 3'
    command = ("sh", "-c", script, "sh", "a b")
    ended = podman.run(command, tmp_path, timeout_s=60, stdin=b"sent\n", env={"V": "$(id)"})
    assert (ended.exit_code, ended.output) == (3, "sent\nhello\n$(id)|a b|")
    assert (tmp_path / "made").stat().st_uid == os.geteuid()
    assert left(program) == []


def test_a_container_ends_with_its_time(podman, program, tmp_path):
    ended = sh(podman, tmp_path, "echo begun; sleep 300", timeout_s=2)
    assert ended.timed_out
    assert ended.output.startswith("begun\n")
    assert left(program) == []


def test_processes_are_counted(podman, tmp_path):
    ended = sh(podman, tmp_path, "for i in $(seq 80); do sleep 300 & done; echo all")
    assert "all" not in ended.output


def test_nothing_but_the_tree_and_memory_is_writable(podman, tmp_path):
    script = "for d in / /bin /etc /tree /tmp ~ /run; do touch $d/x 2>&- && echo $d; done; ls /run"
    assert sh(podman, tmp_path, script).output.split() == ["/tree", "/tmp", "/home/regreen"]


def test_a_home_is_shown(podman, tmp_path):
    (tree := tmp_path / "tree").mkdir()
    (home := tmp_path / "home").mkdir()
    sh(podman, tree, "touch ~/session", kit=Kit(home=home))
    assert [path.name for path in home.iterdir()] == ["session"]


def test_the_socket_of_a_kit_is_shown(podman, tmp_path):
    (tree := tmp_path / "tree").mkdir()
    at = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        server.bind(str(at))
        server.listen()
        words = podman.words("x", podman._binds(tree, Kit(socket=at)), 1, {}, Kit(socket=at))
        mounted = [word for word in words if word.startswith("type=bind")]
    assert f"type=bind,source={at},target=/run/regreen/gateway,readonly" in mounted


def test_containers_of_servers_that_died_are_removed(podman, program, tmp_path):
    tree = Bind(tmp_path, "/tree", own=True)
    words = podman.words("regreen-left", [tree], os.getuid(), {}, NO_KIT)
    words[words.index("--label") + 1] = f"regreen.server={os.getpid()}-1"  # began long ago
    orphan = threading.Thread(
        target=lambda: subprocess.run([*words, "sleep", "300"], check=False, input=b"")
    )
    orphan.start()
    try:
        while not containers(program):
            assert orphan.is_alive()
        podman._sweep()
    finally:
        orphan.join(60)
    assert left(program) == []


PROMISED = """
--network none --read-only --cap-drop all --security-opt no-new-privileges --pids-limit 40
--memory 256m --memory-swap 256m --shm-size 64m --pull never --log-driver none --ipc private
"""


@pytest.mark.parametrize("driver", ["podman", "docker"])
def test_the_command_line_says_what_is_promised(driver, tmp_path):
    config = SandboxConfig(driver=driver, image="i:1", memory_mb=256, processes=40)
    words = Container(config, os.defpath).words(
        "n", [Bind(tmp_path, "/tree", own=True)], 1234, {"A": "b c"}, NO_KIT
    )
    line = " ".join(words)
    promised = " ".join(PROMISED.split()).split(" --")
    assert [one for one in promised if one.removeprefix("--") not in line] == []
    assert "--user 1234:" in line
    assert words[words.index("--entrypoint") :] == ["--entrypoint", "", "i:1"]
    assert "A=b c" in words
    only_podman = {"--no-healthcheck", "--read-only-tmpfs=false", "--userns", "keep-id"}
    assert not (driver == "docker" and only_podman & {*words})


def test_what_is_missing_is_told():
    with pytest.raises(NeedsPerson, match="podman is not installed"):
        choose(SandboxConfig(driver="podman"), "/nonexistent")
    assert "sandbox.image is not set" in str(
        Container(SandboxConfig(driver="sh"), os.defpath).missing()
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root cannot use docker")
def test_docker_needs_a_plain_user(tmp_path):
    (tmp_path / "docker").touch(mode=0o755)
    with pytest.raises(NeedsPerson, match="not root"):
        choose(SandboxConfig(driver="docker", image=IMAGE), str(tmp_path))
