"""The sandbox: the same contract on bubblewrap and on none, and what only bubblewrap holds."""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from bot.config.schema import SandboxConfig
from bot.domain.errors import NeedsPerson
from bot.domain.ports import Kit, Watch
from bot.workspace import sandbox as sandboxes
from bot.workspace.lesser import Bind, lent
from bot.workspace.limits import CIRCLES
from bot.workspace.process import HEAD, TAIL
from bot.workspace.sandbox import Bubblewrap, NoSandbox, choose
from bot.workspace.toolpath import tool_path
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.controls import switched_off, without

SMALL = SandboxConfig(memory_mb=256, processes=40)


@pytest.fixture(params=["bubblewrap", "none"])
def sandbox(request):
    if request.param == "none":
        return NoSandbox(SMALL, TOOLS)
    skip_without_bubblewrap()
    return Bubblewrap(SMALL, TOOLS)


@pytest.fixture
def bubblewrap() -> Bubblewrap:
    skip_without_bubblewrap()
    return Bubblewrap(SMALL, TOOLS)


def sh(sandbox, tree: Path, script: str, **more):
    return sandbox.run(("sh", "-c", script), tree, **{"timeout_s": 30, **more})


# --- Contract ---------------------------------------------------------------------------------


def test_a_command_runs_in_the_tree_and_may_change_it(sandbox, tmp_path):
    (tmp_path / "in").write_text("hello\n")
    ended = sh(sandbox, tmp_path, "cat in; echo made > out; echo loud >&2; exit 3")
    assert (ended.exit_code, ended.timed_out, ended.stopped) == (3, False, False)
    assert ended.output == "hello\nloud\n"
    assert (tmp_path / "out").read_text() == "made\n"


def test_input_arguments_and_variables_arrive(sandbox, tmp_path):
    command = ("sh", "-c", 'cat; printf "%s|" "$@" "$V"', "sh", "a b", "$(id)")
    ended = sandbox.run(command, tmp_path, timeout_s=30, stdin=b"sent\n", env={"V": "it's"})
    assert ended.output == "sent\na b|$(id)|it's|"


def test_a_large_input_is_not_lost(sandbox, tmp_path):
    ended = sandbox.run(("wc", "-c"), tmp_path, timeout_s=30, stdin=b"x" * 3_000_000)
    assert ended.output.strip() == "3000000"


def test_the_environment_is_clean_and_home_is_empty(sandbox, tmp_path):
    ended = sh(sandbox, tmp_path, 'ls -A "$HOME"; env | cut -d= -f1')
    known = {"PATH", "HOME", "LANG", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_", "REGREEN_COMMAND"}
    assert set(ended.output.split()) <= known


def test_tools_of_the_path_work(sandbox, tmp_path):
    ended = sh(sandbox, tmp_path, "python -c 'import pytest, ssl, sqlite3'; ruff --version")
    assert ended.exit_code == 0, ended.output


def test_time_is_limited_and_what_was_said_is_kept(sandbox, tmp_path):
    ended = sh(sandbox, tmp_path, "echo begun; sleep 300", timeout_s=1)
    assert ended.timed_out
    assert ended.exit_code == 137
    assert ended.output.startswith("begun\n")
    assert "out of time" in ended.output


def test_a_command_is_stopped(sandbox, tmp_path):
    ended = sh(sandbox, tmp_path, "touch begun; sleep 300", stop=(tmp_path / "begun").exists)
    assert (ended.stopped, ended.timed_out) == (True, False)


def test_head_and_tail_of_a_long_output_are_kept(sandbox, tmp_path):
    ended = sh(sandbox, tmp_path, "echo first; yes | head -c 2000000; echo last")
    assert HEAD + TAIL <= len(ended.output) < HEAD + TAIL + 200
    assert ended.output.startswith("first\n")
    assert ended.output.endswith("last\n")
    assert "bytes left out" in ended.output


def test_nothing_is_left_running(sandbox, tmp_path):
    name = f"300.{os.getpid()}"
    sh(sandbox, tmp_path, f"setsid sleep {name} & (sleep {name} &) ; nohup sleep {name} & echo")
    left = [p for p in psutil.process_iter(["cmdline"]) if name in (p.info["cmdline"] or ())]
    assert psutil.wait_procs(left, 10)[1] == []  # those that are being killed may take a moment


def test_a_program_that_does_not_exist_is_no_success(sandbox, tmp_path):
    ended = sandbox.run(("no-such-program",), tmp_path, timeout_s=30)
    assert ended.exit_code != 0
    assert "no-such-program" in ended.output


def test_a_command_killed_by_a_signal_has_its_number(sandbox, tmp_path):
    assert sh(sandbox, tmp_path, "kill -TERM $$").exit_code == 143


def test_memory_is_limited(sandbox, tmp_path):
    hungry = "import time; held = b'x' * (400 << 20); time.sleep(300)"
    ended = sandbox.run(("python", "-c", hungry), tmp_path, timeout_s=60)
    assert ended.exit_code != 0
    assert not ended.timed_out
    assert "MemoryError" in ended.output or "256 MB of memory" in ended.output


def test_processes_are_limited(sandbox, tmp_path):
    ended = sh(sandbox, tmp_path, "for i in $(seq 80); do sleep 300 & done; wait", timeout_s=60)
    assert ended.exit_code != 0
    assert not ended.timed_out


# --- Watchdogs --------------------------------------------------------------------------------


def test_a_command_that_falls_silent_is_ended(sandbox, tmp_path):
    ended = sh(sandbox, tmp_path, "echo begun; sleep 300", kit=Kit(watch=Watch(quiet_s=0.5)))
    assert (ended.timed_out, ended.stopped, ended.endless) == (True, False, False)
    assert ended.fault == "no output for 0.5 s"
    assert ended.output.startswith("begun\n")


def test_a_command_that_goes_on_saying_something_is_not_silent(tmp_path):
    script = "for i in $(seq 13); do echo $i; sleep 0.2; done"
    none = NoSandbox(SMALL, TOOLS)
    ended = sh(none, tmp_path, script, kit=Kit(watch=Watch(quiet_s=2)))
    assert (ended.exit_code, ended.fault) == (0, "")


def test_a_command_that_prints_too_much_is_ended(sandbox, tmp_path):
    watch = Watch(most_bytes=1_000_000)
    ended = sh(sandbox, tmp_path, "yes", kit=Kit(watch=watch))
    assert (ended.endless, ended.timed_out) == (True, False)
    assert ended.fault == "more than 1000000 bytes of output"


@pytest.mark.parametrize(("times", "endless"), [(CIRCLES - 1, False), (CIRCLES, True)])
def test_a_command_that_goes_round_in_circles_is_ended(sandbox, tmp_path, times, endless):
    said = f"for i in $(seq {times}); do echo again; done; touch said"
    script = f"{said}; {'sleep 300' if endless else 'exit 3'}"
    ended = sh(sandbox, tmp_path, script, kit=Kit(watch=Watch(circle="again")))
    assert (ended.endless, ended.exit_code) == ((True, 137) if endless else (False, 3))


# --- Home and gateway -------------------------------------------------------------------------


def test_a_given_home_is_the_commands_home_and_is_kept(sandbox, tmp_path):
    tree, home = folder(tmp_path / "tree"), folder(tmp_path / "home", "settings")
    ended = sh(sandbox, tree, 'ls -A "$HOME"; echo s > "$HOME/session"', kit=Kit(home=home))
    assert ended.output == "settings\n"
    assert (home / "session").read_text() == "s\n"
    assert list(tree.iterdir()) == []


@contextmanager
def listening(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[Path]:
    """Serve a Unix socket; every connection is answered in a thread of its own."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=answer, args=(client,), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def echo(client: socket.socket) -> None:
    """Send everything back once the other end has said all that it has to say."""
    with client, client.makefile("rb") as source:
        client.sendall(source.read())


def greet(client: socket.socket) -> None:
    with client:
        client.sendall(b"hello")


CALL = """\
import socket, sys, urllib.parse
at = urllib.parse.urlsplit(sys.argv[1])
def call(said):
    with socket.create_connection((at.hostname, at.port)) as s:
        s.sendall(said); s.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b""))
"""


def reach(sandbox, tree: Path, at: Path, script: str, **more):
    with sandbox.reach(at) as url:
        command = ("python", "-c", CALL + script, url)
        return sandbox.run(command, tree, timeout_s=30, kit=Kit(socket=at), **more)


def test_the_gateways_socket_is_a_port_of_the_loopback(sandbox, tmp_path):
    tree = folder(tmp_path / "tree")
    script = "big = b'x' * 3_000_000; print(call(b'a') + call(b'b'), call(big) == big)"
    with listening(tmp_path / "s", echo) as at:
        ended = reach(sandbox, tree, at, script, stdin=b"for the command")
    assert ended.output == "b'ab' True\n"
    assert list(tree.iterdir()) == []


def test_who_speaks_first_is_heard_and_many_at_a_time_are_served(sandbox, tmp_path):
    script = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool: print(set(pool.map(call, [b''] * 40)))"
    )
    with listening(tmp_path / "s", greet) as at:
        ended = reach(sandbox, folder(tmp_path / "tree"), at, script)
    assert ended.output == "{b'hello'}\n"


def test_a_gateway_that_is_gone_is_an_end_of_the_connection(sandbox, tmp_path):
    with listening(tmp_path / "s", echo) as at:
        pass
    script = "try: print(call(b'x'))\nexcept OSError: print(b'')"
    assert reach(sandbox, folder(tmp_path / "tree"), at, script).output == "b''\n"


def test_the_bridge_leaves_the_command_its_own(sandbox, tmp_path):
    command = ("sh", "-c", 'cat; printf "%s|" "$@"; exit 7', "sh", "a b", "$(id)")
    with listening(tmp_path / "s", echo) as at, sandbox.reach(at):
        kit = Kit(socket=at)
        given = {"timeout_s": 30, "kit": kit}
        ended = sandbox.run(command, folder(tmp_path / "tree"), stdin=b"sent\n", **given)
        assert (ended.exit_code, ended.output) == (7, "sent\na b|$(id)|")
        killed = sandbox.run(("sh", "-c", "kill -TERM $$"), tmp_path / "tree", **given)
        assert killed.exit_code == 143
        missing = sandbox.run(("no-such-program",), tmp_path / "tree", **given)
        assert missing.exit_code == 127
        assert "no-such-program" in missing.output


# --- What only bubblewrap holds ---------------------------------------------------------------


def test_known_holes_are_closed(bubblewrap):
    assert bubblewrap.selftest() == ()


def test_the_self_test_finds_the_hosts_files():
    skip_without_bubblewrap()
    assert "the host's files are visible" in without("files", "user").selftest()


HOLES = {
    "environment": "the caller's environment is visible",
    "limits": "no limit: data_size",
    "network": "a network device is visible",
    "processes": "processes of others are visible",
    "quota": "no limit: the size of /tmp",
}


@pytest.mark.parametrize("control", HOLES)
def test_the_self_test_finds_what_is_switched_off(control):
    skip_without_bubblewrap()
    assert HOLES[control] in without(control).selftest()


def test_the_self_test_finds_the_sockets_of_the_host():
    skip_without_bubblewrap()
    assert "abstract sockets of the host are visible" in without("network").selftest()


def test_an_old_bubblewrap_that_allows_user_namespaces_is_noted():
    skip_without_bubblewrap()
    weaker = without("namespaces")
    assert weaker.selftest() == ()
    assert "commands can make user namespaces" in weaker.notes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only a server of root is weaker so")
def test_a_server_of_root_without_users_to_lend_is_noted():
    skip_without_bubblewrap()
    assert without().notes() == ()
    assert ["run with the files of root" in note for note in without("user").notes()] == [True]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends users")
def test_what_a_lent_user_makes_belongs_to_root(bubblewrap, tmp_path):
    (tree := tmp_path / "tree").mkdir()
    (home := tmp_path / "home").mkdir()
    ended = sh(bubblewrap, tree, "mkdir d; touch d/f ~/f; ls -ln d", kit=Kit(home=home))
    made = [tree / "d", tree / "d" / "f", home / "f"]
    assert [(path.stat().st_uid, path.stat().st_gid) for path in made] == [(0, 0)] * 3
    assert ended.exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends users")
def test_two_commands_at_a_time_have_two_users(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        both = threading.Barrier(2)

        def user(_binds: Sequence[Bind], user: int) -> int:
            both.wait(30)
            return user

        users = set(pool.map(lambda _: lent([], user), range(2)))
    assert len(users) == 2
    assert 0 not in users


def test_files_of_a_broken_tree_are_told(bubblewrap, tmp_path):
    with pytest.raises(FileNotFoundError):
        sh(bubblewrap, tmp_path / "none", "true")


def test_the_hosts_files_are_not_there(bubblewrap, tmp_path):
    (tmp_path / "secret").write_text("CANARY")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(tmp_path / "secret")
    (tree / "old").symlink_to(f"/oldroot{tmp_path}/secret")
    looks = f"cat link old {tmp_path}/secret ~/.ssh/id /etc/shadow; ls /root /var /run /srv"
    ended = sh(bubblewrap, tree, looks)
    assert "CANARY" not in ended.output
    assert "link" not in ended.output.replace("link:", "")


def test_only_the_tree_and_memory_are_writable(bubblewrap, tmp_path):
    ended = sh(
        bubblewrap, tmp_path, "for d in / /usr /etc /tree /tmp ~; do touch $d/x && echo $d; done"
    )
    made = [line for line in ended.output.splitlines() if "touch" not in line]
    assert made == ["/tree", "/tmp", "/home/regreen"]


def test_there_is_no_network(bubblewrap, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach = (
            "import socket\n"
            f"for at in [('127.0.0.1', {server.getsockname()[1]}), ('169.254.169.254', 80)]:\n"
            "    try: socket.create_connection(at, 2); print('LEAK', at)\n"
            "    except OSError: print('held')\n"
        )
        ended = bubblewrap.run(("python", "-c", reach), tmp_path, timeout_s=30)
    assert ended.output == "held\nheld\n"


def test_sockets_of_the_host_are_out_of_reach(bubblewrap, tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        name = f"regreen-canary-{os.getpid()}"
        server.bind(f"\0{name}")
        server.listen()
        reach = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
        ended = bubblewrap.run(("python", "-c", reach), tmp_path, timeout_s=30)
    assert "ConnectionRefusedError" in ended.output


def test_no_right_is_left_and_none_is_gained(bubblewrap, tmp_path):
    ended = sh(
        bubblewrap, tmp_path, "id -u; grep CapEff /proc/self/status; unshare -Ur true; echo $?"
    )
    uid, capabilities, *_, gained = ended.output.split("\n")[:-1]
    assert (uid, capabilities.split()[1].strip("0")) == ("65534", "")
    assert gained != "0"


def test_neither_our_environment_nor_our_open_files_are_seen(bubblewrap, tmp_path):
    known = "^(PWD|PATH|HOME|LANG|TMPDIR|_|SHLVL|OLDPWD)="
    seen = f"cat /proc/*/environ | tr '\\0' '\\n' | grep -v -E '{known}'"
    look = f"{seen}; ls /proc/self/fd"
    with (tmp_path / "held").open("w"):
        ended = sh(bubblewrap, tmp_path, look)
    assert ended.output.split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_a_file_cannot_fill_the_disk(bubblewrap, tmp_path):
    ended = sh(bubblewrap, tmp_path, "truncate -s 20G big")
    assert ended.exit_code != 0


def test_folders_of_the_configuration_are_shown(tmp_path):
    skip_without_bubblewrap()
    extra, tree = tmp_path / "extra", tmp_path / "tree"
    tree.mkdir()
    extra.mkdir()
    (extra / "f").write_text("seen\n")
    shown = Bubblewrap(SandboxConfig(paths=(str(extra),)), TOOLS)
    ended = sh(shown, tree, f"cat {extra}/f; touch {extra}/g || echo held")
    assert ended.output.startswith("seen\n")
    assert ended.output.endswith("held\n")


def test_nothing_may_be_mounted_below_the_tree(bubblewrap, tmp_path):
    nested = Bubblewrap(SandboxConfig(paths=("/tree/x",)), TOOLS)
    with pytest.raises(NeedsPerson, match="/tree/x"):
        sh(nested, tmp_path, "true")


def test_two_commands_do_not_see_each_other(bubblewrap, tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    waits = "echo CANARY > /tmp/x; touch up; sleep 300"
    held = threading.Event()
    thread = threading.Thread(
        target=lambda: sh(bubblewrap, first, waits, timeout_s=60, stop=held.is_set)
    )
    thread.start()
    try:
        looks = "cat /tmp/x; ls /proc | grep -c '^[0-9]'"
        sh(bubblewrap, second, "sleep 30", stop=(first / "up").exists)
        ended = sh(bubblewrap, second, looks)
    finally:
        held.set()
        thread.join(60)
    assert "CANARY" not in ended.output


def test_the_gateways_socket_is_all_that_can_be_reached(bubblewrap, tmp_path):
    other = tmp_path / "other"
    tree = folder(tmp_path / "tree")
    with (
        listening(tmp_path / "s", greet) as at,
        listening(other, greet),
        socket.create_server(("127.0.0.1", 0)) as host,
    ):
        port = host.getsockname()[1]
        script = (
            "import os\n"
            "print(call(b''), sorted(os.listdir('/run')), os.listdir('/run/regreen'))\n"
            f"for target in [('127.0.0.1', {port}), ('169.254.169.254', 80), ('10.0.0.1', 80)]:\n"
            "    try: socket.create_connection(target, 2); print('LEAK', target)\n"
            "    except OSError: print('held')\n"
            f"try: socket.socket(socket.AF_UNIX).connect({str(other)!r}); print('LEAK')\n"
            "except OSError: print('held')\n"
        )
        ended = reach(bubblewrap, tree, at, script)
    seen, *held = ended.output.splitlines()
    assert seen.startswith("b'hello' ['regreen']")
    assert held == ["held"] * 4


def test_the_bridge_needs_no_python_on_the_path(tmp_path):
    skip_without_bubblewrap()
    (tmp_path / "tree").mkdir()
    bare = Bubblewrap(SMALL, "/usr/bin:/bin")
    with listening(tmp_path / "s", echo) as at, bare.reach(at):
        ended = bare.run(("echo", "up"), tmp_path / "tree", timeout_s=30, kit=Kit(socket=at))
    assert ended.output == "up\n"


def test_a_home_cannot_lead_the_sandbox_out(bubblewrap, tmp_path):
    tree, home = folder(tmp_path / "tree"), folder(tmp_path / "home")
    (tmp_path / "secret").write_text("CANARY")
    (home / "link").symlink_to(tmp_path / "secret")
    (home / "old").symlink_to(f"/oldroot{tmp_path}/secret")
    script = "cat ~/link ~/old; echo x > ~/link; cd ~; ls .."
    ended = sh(bubblewrap, tree, script, kit=Kit(home=home))
    assert "CANARY" not in ended.output
    assert (tmp_path / "secret").read_text() == "CANARY"


# --- Choosing ---------------------------------------------------------------------------------


def test_none_is_chosen_by_name_only(tmp_path):
    assert choose(SandboxConfig(driver="none"), TOOLS).name == "none"


def test_an_unknown_driver_needs_a_person():
    with pytest.raises(NeedsPerson, match='"gvisor", which does not exist'):
        choose(SandboxConfig(driver="gvisor"), TOOLS)


def test_a_sandbox_with_a_hole_is_refused():
    skip_without_bubblewrap()
    leaky = switched_off(sandboxes, "Bubblewrap", lambda *_: without("network"))
    with leaky, pytest.raises(NeedsPerson, match="does not hold: a network device is visible; "):
        choose(SandboxConfig(), TOOLS)


def test_a_missing_bubblewrap_is_told_with_the_mend(tmp_path):
    with pytest.raises(NeedsPerson, match=r"bubblewrap is not installed.*apt install bubblewrap"):
        choose(SandboxConfig(), str(tmp_path))


def test_bubblewrap_is_chosen_where_it_works():
    skip_without_bubblewrap()
    assert choose(SandboxConfig(), TOOLS).name == "bubblewrap"
    assert choose(SandboxConfig(), "/usr/bin:/bin").name == "bubblewrap"


# --- Tools ------------------------------------------------------------------------------------


def folder(path: Path, *names: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (path / name).touch()
    return path


def test_a_virtual_environment_brings_its_interpreter(tmp_path):
    python = folder(tmp_path / "python" / "bin", "python3.11").parent
    folder(python / "lib")
    venv = folder(tmp_path / "venv" / "bin", "ruff").parent
    folder(venv / "lib")
    (venv / "pyvenv.cfg").touch()
    (venv / "bin" / "python").symlink_to(python / "bin" / "python3.11")
    tools = tool_path(f"{venv}/bin:/usr/bin")
    assert set(tools.shown) == {
        *(venv / name for name in ("bin", "lib", "pyvenv.cfg")),
        *(python / name for name in ("bin", "lib")),
    }
    assert tools.path == f"{venv}/bin:/usr/bin:/bin"


def test_shims_are_replaced_by_what_they_choose(tmp_path):
    folder(tmp_path / "shims", "python")
    chosen = folder(tmp_path / "versions" / "3.11.7" / "bin", "python")
    (tmp_path / "version").write_text("3.11.7\n")
    tools = tool_path(f"{tmp_path}/shims:/usr/bin")
    assert tools.path == f"{chosen}:/usr/bin:/bin"
    assert tools.shown == (chosen,)


def test_a_link_to_a_single_file_shows_only_that_file(tmp_path):
    private = folder(tmp_path / "project", "tool.sh", "secret")
    bin_ = folder(tmp_path / "bin")
    (bin_ / "tool").symlink_to(private / "tool.sh")
    shown = tool_path(str(bin_)).shown
    assert private / "tool.sh" in shown
    assert not {private, private / "secret"} & set(shown)


def test_a_home_folder_is_never_shown_whole():
    home = Path("~").expanduser()
    assert home not in tool_path(f"{home}:{home}/bin:/").shown


def test_rustup_s_default_toolchain_stands_before_its_proxies(tmp_path):
    proxies = folder(tmp_path / ".cargo/bin", "rustup", "cargo")
    toolchain = folder(tmp_path / ".rustup/toolchains/stable/bin", "cargo")
    (tmp_path / ".rustup/settings.toml").write_text('default_toolchain = "stable"\n')
    assert tool_path(str(proxies)).path == f"{toolchain}:{proxies}:/usr/bin:/bin"


@pytest.mark.parametrize("settings", ["", "default_toolchain = [", "version = '12'"])
def test_rustup_without_a_default_changes_nothing(tmp_path, settings):
    proxies = folder(tmp_path / ".cargo/bin", "rustup")
    folder(tmp_path / ".rustup")
    (tmp_path / ".rustup/settings.toml").write_text(settings)
    assert tool_path(str(proxies)).path == f"{proxies}:/usr/bin:/bin"


def test_folders_that_do_not_exist_are_left_out(tmp_path):
    assert tool_path(f"{tmp_path}/none::/usr/bin").path == "/usr/bin:/bin"


def test_a_circle_of_links_ends(tmp_path):
    bin_ = folder(tmp_path / "bin")
    (bin_ / "a").symlink_to(bin_ / "b")
    (bin_ / "b").symlink_to(bin_ / "a")
    assert tool_path(str(bin_)).shown == (bin_,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends users")
def test_a_file_system_that_cannot_translate_owners_is_told():
    """/proc is one that every machine has; a tree there would need a person."""
    with pytest.raises(NeedsPerson, match="/proc/sys lies in a file system that cannot lend it"):
        lent([Bind(Path("/proc/sys"), "/tree", own=True)], lambda binds, _: binds)
