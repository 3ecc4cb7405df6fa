"""`regreen simulator` as a person starts and ends it."""

import signal
import subprocess
import sys

import httpx

from tests.support.simulated import make_repo


def test_it_serves_until_it_is_told_to_stop(tmp_path):
    source = make_repo(tmp_path / "source")
    data = tmp_path / "data"
    words = ("simulator", "--repo", f"acme/widgets={source}", "--fork", "bob/widgets=acme/widgets")
    with subprocess.Popen(
        [sys.executable, "-m", "bot", *words, "--person", "bob=write", "--data", str(data)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            told = {}
            while "token of bob" not in told:
                name, value = process.stdout.readline().strip().rsplit(maxsplit=1)
                told[name.strip()] = value
            with httpx.Client(
                base_url=told["GitHub (simulated)"],
                headers={"Authorization": f"Bearer {told['token of bob']}"},
            ) as bob:
                login = bob.get("/user").json()["login"]
                fork = bob.get("/repos/bob/widgets").json()
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert login == "bob"
    assert fork["parent"]["full_name"] == "acme/widgets"
    assert (data / "app.pem").exists()


def test_a_wrong_path_is_said_without_a_traceback(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "bot", "simulator", "--repo", f"acme/widgets={tmp_path}/nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "is not a folder" in " ".join(
        ended.stderr.replace("│", " ").split()
    )  # typer draws a box
    assert "Traceback" not in ended.stderr
