"""The configuration in force changes with its file, and a broken file changes nothing."""

import os
import threading

import pytest

from bot.config.watch import Watched
from bot.domain.errors import ConfigError


class Stopwatch:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def path(tmp_path):
    return tmp_path / "llm_config.toml"


@pytest.fixture
def seconds():
    return Stopwatch()


@pytest.fixture
def told():
    return []


@pytest.fixture
def watched(path, seconds, told):
    path.write_text("[guard]\nmax_files = 1\n")
    return Watched(path, {}, report=told.append, seconds=seconds)


def files(watched, seconds):
    seconds.now += 1.0
    return watched.current().policy.guard.max_files


def test_a_change_is_seen(watched, path, seconds):
    assert files(watched, seconds) == 1
    path.write_text("[guard]\nmax_files = 22\n")
    assert files(watched, seconds) == 22


def test_a_replaced_file_of_the_same_size_and_time_is_seen(watched, path, seconds):
    before = path.stat()
    other = path.with_suffix(".new")
    other.write_text("[guard]\nmax_files = 2\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert files(watched, seconds) == 2


def test_the_file_is_looked_at_once_a_second(watched, path, seconds):
    path.write_text("[guard]\nmax_files = 22\n")
    seconds.now += 0.9
    assert watched.current().policy.guard.max_files == 1
    seconds.now += 0.1
    assert watched.current().policy.guard.max_files == 22


def test_an_unchanged_file_keeps_the_very_snapshot(watched, seconds):
    before = watched.current()
    seconds.now += 5
    assert watched.current() is before


def test_a_broken_file_keeps_the_old_snapshot_and_is_reported_once(watched, path, seconds, told):
    path.write_text("[guard]\nmax_files = 'x'\n")
    assert files(watched, seconds) == 1
    assert files(watched, seconds) == 1
    assert len(told) == 1
    assert f"{path}:2: guard.max_files must be a whole number" in told[0]
    path.write_text("[guard]\nmax_files = 333\n")
    assert files(watched, seconds) == 333
    assert len(told) == 1


def test_a_file_that_is_gone_keeps_the_old_snapshot(watched, path, seconds, told):
    path.unlink()
    assert files(watched, seconds) == 1
    assert files(watched, seconds) == 1
    assert len(told) == 1


def test_a_file_that_appears_is_seen(tmp_path, seconds, told, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watched = Watched(None, {}, report=told.append, seconds=seconds)
    assert watched.current().source is None
    (tmp_path / "llm_config.toml").write_text("[guard]\nmax_files = 5\n")
    assert files(watched, seconds) == 5
    assert told == []


def test_a_file_that_is_broken_from_the_start_is_an_error(path, told):
    path.write_text("a = [")
    with pytest.raises(ConfigError):
        Watched(path, {}, report=told.append)


def test_many_threads_see_one_snapshot(watched, path, seconds):
    path.write_text("[guard]\nmax_files = 22\n")
    seconds.now += 1
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(watched.current())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in seen}) == 1
