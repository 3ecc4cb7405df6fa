"""Row 27: the code uses up memory, processes or the disk of the machine.

Controls: the kernel's limits for each process, which count for a user who is not root; folders in
memory of a fixed size; a watchdog over what all processes use together. Each is taken away alone.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bot.config.load import environment
from bot.config.schema import SandboxConfig
from bot.domain.ports import Finished
from bot.workspace.sandbox import Bubblewrap
from tests.support.bubblewrap import skip_without_bubblewrap
from tests.support.controls import unwatched, without

# What others free meanwhile hides what a command takes: those that write much take turns.
pytestmark = pytest.mark.xdist_group("disk")
SMALL = SandboxConfig(memory_mb=256, processes=40, disk_mb=64)
FORK = """
import os, time
for number in range(80):
    if os.fork() == 0:
        time.sleep(20); os._exit(0)
print("LEAK 80 processes", flush=True); os.killpg(0, 9)
"""
HOLD = "held = b'x' * (300 << 20); print('LEAK 300 MB')"
SHARE = """
import mmap, time
held = mmap.mmap(-1, 300 << 20)
for at in range(0, len(held), 4096): held[at] = 1
time.sleep({}); print('LEAK 300 MB')
"""
MANY = """
import os, time
for number in range(3):
    if os.fork() == 0: break
held = b'x' * (100 << 20); time.sleep({}); print('LEAK 400 MB')
"""
FILL = """
import os
os.posix_fallocate(os.open({!r}, os.O_CREAT | os.O_RDWR), 0, {} << 20)
print("LEAK")
"""


@pytest.fixture(autouse=True)
def _bubblewrap():
    skip_without_bubblewrap()


def python(sandbox: Bubblewrap, tree: Path, script: str) -> Finished:
    return sandbox.run(("python", "-c", script), tree, timeout_s=60)


def test_processes_are_counted_by_the_kernel(tmp_path):
    with unwatched():
        ended = python(without(config=SMALL), tmp_path, FORK)
        assert "BlockingIOError" in ended.output
        assert "LEAK" in python(without("limits", config=SMALL), tmp_path, FORK).output


def test_processes_are_counted_by_the_watchdog(tmp_path):
    ended = python(
        without("limits", config=SMALL), tmp_path, FORK.replace("os.killpg(0, 9)", "time.sleep(30)")
    )
    assert ended.fault == "more than 40 processes"


def test_a_process_holds_no_more_than_its_share_of_memory(tmp_path):
    with unwatched():
        assert "MemoryError" in python(without(config=SMALL), tmp_path, HOLD).output
        assert "LEAK" in python(without("limits", config=SMALL), tmp_path, HOLD).output


def test_memory_that_processes_share_is_counted_once(tmp_path):
    script = FORK.replace("80", "20").replace("import os", "held = b'x' * (50 << 20)\nimport os")
    ended = python(without(config=SMALL), tmp_path, script.replace("os.killpg", "time.sleep(1)#"))
    assert "LEAK" in ended.output
    assert ended.fault == ""


@pytest.mark.parametrize("script", [SHARE, MANY], ids=["shared", "many"])
def test_memory_that_no_process_holds_alone_is_watched(tmp_path, script):
    ended = python(without(config=SMALL), tmp_path, script.format(30))
    assert ended.fault == "more than 256 MB of memory"
    with unwatched():
        assert "LEAK" in python(without(config=SMALL), tmp_path, script.format(0)).output


def test_a_folder_in_memory_has_a_size(tmp_path):
    fill = FILL.format("/dev/shm/x", 80)
    with unwatched():
        assert "No space left" in python(without(config=SMALL), tmp_path, fill).output
        assert "LEAK" in python(without("quota", config=SMALL), tmp_path, fill).output


def test_a_file_has_a_greatest_size(tmp_path):
    fill = "open('big', 'wb').truncate(20 << 30); print('LEAK')"
    with unwatched():
        assert "File too large" in python(without(config=SMALL), tmp_path, fill).output
        assert "LEAK" in python(without("limits", config=SMALL), tmp_path, fill).output


def test_many_files_do_not_fill_the_disk(tmp_path):
    fill = "\n".join(FILL.format(str(number), 50) for number in range(4))
    ended = python(without(config=SMALL), tmp_path, f"{fill}\nimport time; time.sleep(30)")
    assert ended.fault == "too much disk space used"
    with unwatched():
        assert "LEAK" in python(without(config=SMALL), tmp_path, fill).output


def test_files_without_a_name_do_not_fill_the_disk(tmp_path):
    fill = "\n".join(f"{FILL.format('x', 50)}\nos.unlink('x')" for _ in range(4))
    ended = python(without(config=SMALL), tmp_path, f"{fill}\nimport time; time.sleep(30)")
    assert ended.fault == "too much disk space used"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_hides_nothing(tmp_path):
    fill = "\n".join(FILL.format(f"shut/{number}", 50) for number in range(4))
    shut = f"import os, time\nos.mkdir('shut')\n{fill}\nos.chmod('shut', 0)\ntime.sleep(30)"
    ended = python(without(config=SMALL), tmp_path, shut)
    (tmp_path / "shut").chmod(0o700)
    assert ended.fault == "too much disk space used"


def test_what_others_write_to_the_disk_is_not_held_against_a_command(tmp_path):
    (tree := tmp_path / "tree").mkdir()
    waiting = "import os, time\nopen('begun', 'w')\nwhile not os.path.exists('go'): time.sleep(.1)"
    with ThreadPoolExecutor() as pool, (tmp_path / "other").open("wb") as other:
        run = pool.submit(python, without(config=SMALL), tree, f"{waiting}\ntime.sleep(2)")
        while not (tree / "begun").exists():
            assert not run.done()
        os.posix_fallocate(other.fileno(), 0, 200 << 20)
        (tree / "go").touch()
        assert run.result().fault == ""


def test_the_probe_reports_nothing_but_held(tmp_path):
    shared = environment().get("REGREEN_SHARED")
    if shared is None:
        pytest.skip("REGREEN_SHARED does not say where the probe is")
    probe = Path(shared) / "conformance" / "sandbox_probe.py"
    (tmp_path / "probe.py").write_bytes(probe.read_bytes())
    sandbox = without(config=SandboxConfig(memory_mb=512, processes=100))
    words = ("python", "probe.py", "--limits")
    ended = sandbox.run(words, tmp_path, timeout_s=60, env={"LINGER": "600"})
    told = ended.output.splitlines()
    assert [line for line in told if not line.startswith("held ")] == []
    assert len(told) > 35
    assert [path.name for path in tmp_path.iterdir()] == ["probe.py"]
