"""Set-ups: what may be fetched, what is stored and for whom, and that it is never half of it."""

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.config.schema import SandboxConfig
from bot.domain.values import Command, Ground, Verification
from bot.workspace.checks import LocalGatekeeper
from bot.workspace.cleanup import Cleaner
from bot.workspace.sandbox import Bubblewrap, NoSandbox
from bot.workspace.setup import Setup
from bot.workspace.snapshots import Snapshots
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.fetching import Web
from tests.support.setups import OURS, THEIRS, gatekeeper, index, stored, tree, verified

VENV = "python -m venv .venv --without-pip"
LOOK = ("test", "cat .venv/pyvenv.cfg > /dev/null && echo there")
AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _sandbox():
    skip_without_bubblewrap()


def install(port: int) -> str:
    """Return a set-up with the pip that is there: making another one takes long."""
    pip = ".venv/bin/python -m pip install --disable-pip-version-check --retries 0"
    source = f"-i http://127.0.0.1:{port}/simple/ -r requirements.txt"
    return f"{VENV} --system-site-packages\n{pip} {source}"


def test_it_is_installed_once_and_then_proved_without_any_network(tmp_path):
    """The whole story: fetch by the proxy, store, and verify another tree with nobody there."""
    proof = (
        "import demo, socket\n"
        "assert demo.ANSWER == 42\n"
        "for port in (PORT, 8101):\n"
        "    try: socket.create_connection(('127.0.0.1', port), 2); print('LEAK')\n"
        "    except OSError: print('held')\n"
    )
    with index().served() as web:
        allowed = (f"127.0.0.1:{web.port}",)
        keeper = gatekeeper(tmp_path / "data", fetch=allowed)
        commands = (("setup", install(web.port)), ("test", ".venv/bin/python prove.py"))
        proof = proof.replace("PORT", str(web.port))
        files = {"requirements__txt": "demo==1.0\n", "prove__py": proof}
        first = tree(tmp_path / "1", **files)
        made, proved = verified(keeper, first, *commands)
        assert made.passed, made.output
        assert (proved.exit_code, proved.output) == (0, "held\nheld\n")
        (line,) = made.fetched
        assert (line.host, line.port, line.requests, line.refused) == ("127.0.0.1", web.port, 2, "")
        assert made.snapshot
        asked = len(web.asked)
    second = tree(tmp_path / "2", **files, other__py="changed = True\n")
    made, proved = verified(keeper, second, *commands)
    assert made.output.startswith("taken from the stored set-up ")
    assert (made.fetched, proved.exit_code, proved.output) == ((), 0, "held\nheld\n")
    assert len(web.asked) == asked


def package(name: str, code: str) -> tuple[bytes, str]:
    """Return a package of one file as npm packs it, and its integrity."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        about = json.dumps({"name": name, "version": "1.0.0", "main": "index.js"})
        for path, text in (("package.json", about), ("index.js", code)):
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    digest = base64.b64encode(hashlib.sha512(made.getvalue()).digest()).decode()
    return made.getvalue(), f"sha512-{digest}"


def test_the_same_with_npm(tmp_path):
    if shutil.which("npm", path=TOOLS) is None:
        pytest.skip("npm is not installed")
    packed, integrity = package("demo", "module.exports = 42\n")
    with Web({"/demo.tgz": packed}).served() as web:
        keeper = gatekeeper(tmp_path / "data", fetch=(f"127.0.0.1:{web.port}",))
        demo = {
            "version": "1.0.0",
            "resolved": f"http://127.0.0.1:{web.port}/demo.tgz",
            "integrity": integrity,
        }
        about = {"name": "x", "version": "1.0.0", "dependencies": {"demo": "1.0.0"}}
        lock = {"name": "x", "version": "1.0.0", "lockfileVersion": 3}
        lock["packages"] = {"": about, "node_modules/demo": demo}
        files = {"package__json": json.dumps(about), "package-lock__json": json.dumps(lock)}
        commands = (
            ("setup", "npm ci --no-audit --no-fund --no-update-notifier"),
            ("test", "node -e \"console.log(require('demo'))\""),
        )
        made, proved = verified(keeper, tree(tmp_path / "1", **files), *commands)
        assert made.passed, made.output
        assert proved.output == "42\n"
        assert [line.refused for line in made.fetched] == [""]
    used, proved = verified(keeper, tree(tmp_path / "2", **files), *commands)
    assert (used.snapshot, proved.output) == (made.snapshot, "42\n")
    assert used.output.startswith("taken from the stored set-up ")


def test_what_is_refused_is_told_and_stands_in_the_artifact(tmp_path):
    keeper = gatekeeper(tmp_path / "data", fetch=("packages.example",))
    ask = "python -c \"import urllib.request; urllib.request.urlopen('http://evil.example/x')\""
    results = verified(keeper, tree(tmp_path / "1"), ("setup", ask), ("test", "true"))
    (failed,) = results
    told = "evil.example:80 is not in [sandbox] fetch"
    assert f"[not fetched: {told}]\n" in failed.output
    verdict = Verification(approved=False, reason="no", results=tuple(results))
    artifact = json.loads((tmp_path / "data" / keeper.record("r", verdict, AT)).read_text())
    assert artifact["verification"]["setup"]["fetched"] == [
        {"host": "evil.example", "port": 80, "requests": 1, "bytes": 0, "refused": told}
    ]


def test_nothing_is_fetched_unless_hosts_are_listed(tmp_path):
    with index().served() as web:
        keeper = gatekeeper(tmp_path / "data")
        ask = f"env | grep -i proxy; python -c \"import urllib.request as r; r.urlopen('http://127.0.0.1:{web.port}/')\""
        (failed,) = verified(keeper, tree(tmp_path / "1"), ("setup", ask))
        assert not failed.passed
        assert "proxy" not in failed.output.lower().replace("proxyhandler", "")
        assert web.asked == []


def test_only_the_set_up_may_fetch(tmp_path):
    with index().served() as web:
        keeper = gatekeeper(tmp_path / "data", fetch=(f"127.0.0.1:{web.port}",))
        call = "import socket; socket.create_connection(('127.0.0.1', 8101))"
        looks = f'env | grep -i proxy; ls -d /run/regreen 2>&-; python -c "{call}"'
        _, looked = verified(keeper, tree(tmp_path / "1"), ("setup", "true"), ("test", looks))
        assert "ConnectionRefusedError" in looked.output
        assert looked.output.startswith("Traceback")


def test_commands_share_the_home_that_the_set_up_filled(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    commands = (("setup", "echo kept > ~/file"), ("lint", "cat ~/file"), ("test", "cat ~/file"))
    results = verified(keeper, tree(tmp_path / "1"), *commands)
    assert [one.output for one in results] == ["", "kept\n", "kept\n"]
    assert list((tmp_path / "data" / "trees").glob("*")) == []


def test_the_home_is_stored_as_well_without_what_was_downloaded(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    files = {"go__mod": "module x\n", "go": "x"}
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "go").write_text(
        "#!/bin/sh\nmkdir -p ~/go/pkg ~/.cache/go-build\n"
        "echo m > ~/go/pkg/m\necho c > ~/.cache/go-build/c\n"
    )
    (bin_ / "go").chmod(0o755)
    keeper = with_tools(tmp_path, bin_)
    commands = (("setup", "go mod download"), ("test", "cat ~/go/pkg/m; ls ~/.cache/go-build"))
    for number in ("1", "2"):
        at = tree(tmp_path / number, **files)
        _, looked = verified(keeper, at, *commands)
        assert looked.output.startswith("m\n")
        assert "cannot access" in looked.output
        assert (at / "go.mod").read_text() == "module x\n"


def with_tools(tmp_path: Path, bin_: Path) -> LocalGatekeeper:

    path = f"{bin_}:{TOOLS}"
    sandbox = Bubblewrap(SandboxConfig(), path)
    root = tmp_path / "data"
    return LocalGatekeeper(sandbox, root, Setup(sandbox, root, path=path))


def test_what_only_its_owner_may_read_is_copied_as_well(tmp_path):
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    make = "umask 077; mkdir -p ~/go/x .tools; echo h > ~/go/x/f; echo t > .tools/f"
    script = f"{make}; chmod 500 ~/go/x"
    (bin_ / "go").write_text(f"#!/bin/sh\n{script}\n")
    (bin_ / "go").chmod(0o755)
    keeper = with_tools(tmp_path, bin_)
    commands = (("setup", "go mod download"), ("test", "cat ~/go/x/f .tools/f"))
    told = []
    for number in range(2):
        made, looked = verified(keeper, tree(tmp_path / f"{number}"), *commands)
        told.append((made.output[:5], bool(made.snapshot), looked.output))
    assert told == [("", True, "h\nt\n"), ("taken", True, "h\nt\n")]


# --- Who stores, who uses ---------------------------------------------------------------------


def test_who_is_not_trusted_stores_nothing_but_may_use_it(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    made, looked = verified(keeper, tree(tmp_path / "1"), ("setup", VENV), LOOK, ground=THEIRS)
    assert (made.passed, made.snapshot, looked.output) == (True, "", "there\n")
    assert stored(tmp_path / "data") == []
    made, _ = verified(keeper, tree(tmp_path / "2"), ("setup", VENV), LOOK, ground=OURS)
    assert made.snapshot
    assert [path.name for path in stored(tmp_path / "data")] == [made.snapshot]
    used, looked = verified(keeper, tree(tmp_path / "3"), ("setup", VENV), LOOK, ground=THEIRS)
    assert (used.snapshot, looked.output) == (made.snapshot, "there\n")


def test_without_a_repository_nothing_is_stored(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    verified(keeper, tree(tmp_path / "1"), ("setup", VENV), ground=Ground(trusted=True))
    assert stored(tmp_path / "data") == []


def test_without_a_sandbox_nothing_is_stored(tmp_path):
    setup = Setup(NoSandbox(SandboxConfig(), TOOLS), tmp_path / "data")
    at = tree(tmp_path / "1")

    with setup.ready(at, [Command("setup", VENV)], lambda: False, OURS) as ready:
        assert (ready.failed, ready.results[0].snapshot) == (False, "")
    assert (at / ".venv" / "pyvenv.cfg").is_file()
    assert stored(tmp_path / "data") == []


def test_a_set_up_that_turns_out_to_need_the_tree_runs_in_it(tmp_path):
    """`activate` is a file of the tree, which the lock files do not hold."""
    keeper = gatekeeper(tmp_path / "data")
    files = {"bin/activate": "echo ran >> log\n"}
    setup = ("setup", ". bin/activate")
    for number in ("1", "2"):
        at = tree(tmp_path / number, **files)
        (made,) = verified(keeper, at, setup)
        assert (made.passed, made.snapshot, (at / "log").read_text()) == (True, "", "ran\n")
    assert stored(tmp_path / "data") == []
    assert len(list((tmp_path / "data" / "setups").glob("*/*.whole"))) == 1


def test_a_set_up_that_fails_everywhere_is_no_reason_to_give_up_storing(tmp_path):
    keeper = gatekeeper(tmp_path / "data")
    (failed,) = verified(keeper, tree(tmp_path / "1"), ("setup", ". bin/activate"), LOOK)
    assert not failed.passed
    assert list((tmp_path / "data" / "setups").glob("*/*.whole")) == []


def test_a_set_up_that_is_stopped_ends_there(tmp_path):

    keeper = gatekeeper(tmp_path / "data")
    commands = [Command("setup", "python -m venv .venv", timeout_s=0.2), Command("test", "true")]
    (cut,) = keeper.verify(tree(tmp_path / "1"), commands, lambda: False, OURS)
    assert (cut.passed, cut.timed_out) == (False, True)
    assert stored(tmp_path / "data") == []
    assert list((tmp_path / "data" / "setups").glob("*/*.whole")) == []


def test_what_is_too_large_is_not_stored(tmp_path):
    keeper = gatekeeper(tmp_path / "data", snapshots_mb=0)
    verified(keeper, tree(tmp_path / "1"), ("setup", VENV))
    assert not (tmp_path / "data" / "setups").exists()


def test_several_at_once_make_it_once(tmp_path):
    """Each set-up that really runs makes a file of its own; all find the same."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "go").write_text("#!/bin/sh\ncat /proc/sys/kernel/random/uuid > ~/made\n")
    (bin_ / "go").chmod(0o755)
    keeper = with_tools(tmp_path, bin_)
    commands = (("setup", "go mod download"), ("test", "cat ~/made"))
    seen: list[str] = []

    def one(number: int) -> None:
        seen.append(verified(keeper, tree(tmp_path / str(number)), *commands)[1].output)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 4
    assert len(set(seen)) == 1


# --- The store --------------------------------------------------------------------------------


def made(root: Path, name: str, size: int = 1000) -> Path:
    folder = root / "trees" / name / "made"
    (folder / "tree").mkdir(parents=True)
    (folder / "home").mkdir()
    (folder / "tree" / "file").write_bytes(b"x" * size)
    return folder


def keep(store: Snapshots, root: Path, key: str, repo: str = "o/r", size: int = 1000) -> bool:
    with store.making(repo, key, within_s=0, stop=lambda: False) as ours:
        return ours and store.keep(repo, key, made(root, key + repo.replace("/", "-"), size))


@pytest.fixture
def store(tmp_path):
    return Snapshots(tmp_path, Cleaner(tmp_path), 2)


def there(store: Snapshots, key: str, repo: str = "o/r") -> bool:
    with store.using(repo, key) as path:
        return path is not None


def test_what_is_kept_is_found_again_by_repository_and_key(store, tmp_path):
    assert keep(store, tmp_path, "k")
    assert there(store, "k")
    assert there(store, "k", "O/R")  # names differ by more than case
    assert not there(store, "k", "o/other")
    assert not there(store, "l")
    assert not keep(store, tmp_path, "k")  # it is there


def test_the_one_used_longest_ago_goes_when_there_is_no_room(store, tmp_path):
    for key in ("a", "b"):
        assert keep(store, tmp_path, key, size=800_000)
    for age, key in enumerate(("a", "b")):
        (lock,) = (tmp_path / "setups").glob(f"*/{key}.lock")
        os.utime(lock, (1000 - age, 1000 - age))
    assert keep(store, tmp_path, "c", size=800_000)
    assert [there(store, key) for key in "abc"] == [True, False, True]
    assert not keep(store, tmp_path, "d", size=3_000_000)


def test_what_is_in_use_stays(store, tmp_path):
    keep(store, tmp_path, "k")
    later = datetime.now(UTC) + timedelta(days=40)  # noqa: TID251  # files have the real time
    with store.using("o/r", "k") as path:
        store.round(later)
        store.drop("o/r", "k")
        assert (path / "tree" / "file").is_file()
    store.drop("o/r", "k")
    assert not there(store, "k")


def test_what_nobody_uses_goes_with_its_lock_and_its_folder(store, tmp_path):
    keep(store, tmp_path, "k")
    store.mark_whole("o/r", "l")
    now = datetime.now(UTC)  # noqa: TID251  # files have the real time
    store.round(now)
    assert there(store, "k")
    assert store.whole("o/r", "l")
    store.round(now + timedelta(days=31))
    store._cleaner.settled()
    assert list((tmp_path / "setups").glob("*")) == []


HALF = """
import os, sys, time
from pathlib import Path
from bot.workspace.cleanup import Cleaner
from bot.workspace.snapshots import Snapshots
root = Path(sys.argv[1])
store = Snapshots(root, Cleaner(root), 100)
with store.making("o/r", "k", within_s=0, stop=lambda: False) as ours:
    (root / "trees" / "half" / "tree").mkdir(parents=True)
    print("making", ours, flush=True)
    time.sleep(300)
"""


def test_what_a_killed_process_was_making_is_never_used(store, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "making True\n"
    with store.making("o/r", "k", within_s=0, stop=lambda: False) as ours:
        assert not ours
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    assert not there(store, "k")
    assert keep(store, tmp_path, "k")
    assert there(store, "k")
