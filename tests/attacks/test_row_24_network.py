"""Row 24: the code reaches the cloud's metadata, the server itself, or the internet.

Control: a network namespace with nothing but a loopback of its own.
"""

import socket
from collections.abc import Iterator

import pytest

from tests.support.bubblewrap import skip_without_bubblewrap
from tests.support.controls import without

REACH = """
import socket, sys
for at in [("127.0.0.1", int(sys.argv[1])), ("169.254.169.254", 80), ("1.1.1.1", 443)]:
    try: socket.create_connection(at, 2).close(); print("LEAK", at[0])
    except OSError as error: print("held", error.strerror)
try: socket.getaddrinfo("example.com", 80); print("LEAK names")
except OSError: print("held names")
"""


@pytest.fixture
def server() -> Iterator[int]:
    """Return the port of a server on the loopback of this machine."""
    skip_without_bubblewrap()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_nothing_is_reached(tmp_path, server):
    ended = without().run(("python", "-c", REACH, str(server)), tmp_path, timeout_s=30)
    refused, *others, names = ended.output.splitlines()
    assert refused == "held Connection refused"
    assert others == ["held Network is unreachable"] * 2  # no route: not a matter of time
    assert names == "held names"


def test_the_server_would_be_reached(tmp_path, server):
    connect = f"import socket; socket.create_connection(('127.0.0.1', {server}), 2)"
    held, leaks = (
        sandbox.run(("python", "-c", connect), tmp_path, timeout_s=30)
        for sandbox in (without(), without("network"))
    )
    assert (held.exit_code, leaks.exit_code) == (1, 0)
