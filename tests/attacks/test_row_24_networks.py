"""Row 24: code of the repository looks for a network: the cloud's metadata, this machine, others.

Control: a network namespace of its own, in both modes (nothing at all, and one Unix socket), and
for a set-up a proxy with a list of hosts. Switched off here by a sandbox that keeps the host's
network, and by a list that holds the address.
"""

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bot.config.schema import SandboxConfig
from bot.domain.ports import NO_KIT, Kit
from bot.workspace.fetch import FetchProxy
from bot.workspace.sandbox import Bubblewrap
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.fetching import Web, get, say, status

# Each line tells what was reached; nothing told is nothing reached.
PROBE = """
import os, socket, sys
port, abstract, path, near = int(sys.argv[1]), *sys.argv[2:4], len(sys.argv) > 4
targets = [("127.0.0.1", port), ("127.1.2.3", port), ("0.0.0.0", port), ("::1", port),
    ("::ffff:127.0.0.1", port), ("169.254.169.254", 80), ("fd00:ec2::254", 80),
    ("100.100.100.200", 80), ("168.63.129.16", 80), ("10.0.0.1", 80), ("172.17.0.1", 2375),
    ("192.168.0.1", 80), ("8.8.8.8", 53), ("1.1.1.1", 443), ("2606:4700:4700::1111", 443)]
for target in targets[:1] if near else targets:
    try: socket.create_connection(target, 2).close(); print("reached", *target)
    except OSError: pass
four, six = socket.AF_INET, socket.AF_INET6
for family, target in () if near else ((four, ("8.8.8.8", 53)), (four, ("169.254.169.254", 53)),
                       (four, ("255.255.255.255", 67)), (six, ("ff02::1", 53))):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            one.sendto(b"x", target); print("sent to", target)
    except OSError: pass
names = ("localhost.", "example.com", "metadata.google.internal", "host.docker.internal")
for name in () if near else names:
    try:
        found = {one[4][0] for one in socket.getaddrinfo(name, 80)} - {"127.0.0.1", "::1"}
        if found: print("resolved", name, found)
    except OSError: pass
for where in ("\\0" + abstract, path, "/var/run/docker.sock", "/run/docker.sock",
              "/run/podman/podman.sock", "/run/dbus/system_bus_socket", "/run/systemd/private"):
    try:
        with socket.socket(socket.AF_UNIX) as one: one.connect(where); print("reached", where)
    except OSError: pass
for family in ("AF_PACKET", "AF_INET"):
    try:
        with socket.socket(getattr(socket, family), socket.SOCK_RAW): print("opened a raw", family)
    except OSError: pass
with open("/proc/net/unix") as seen:
    told = [line.split()[-1] for line in seen if "/" in line or "@" in line]
    print(*(f"sees {one}" for one in told), sep="\\n", end="\\n" if told else "")
with open("/proc/net/dev") as seen:
    print(*(f"sees device {line}" for line in seen.read().split() if line.endswith(":")
            and line not in ("face:", "lo:")), sep="\\n", end="")
"""


class Open(Bubblewrap):
    """The sandbox without its own network."""

    def _world(self, *given: Any) -> list[str]:
        return [word for word in super()._world(*given) if word != "--unshare-net"]


@contextmanager
def host() -> Iterator[tuple[int, str, list[str]]]:
    """Yield a port (as the bot has one) and an abstract socket that listen; and who came."""
    name, came = f"regreen-canary-{os.getpid()}", list[str]()
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{name}")
        unix.listen()

        def serve(server: socket.socket, what: str) -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()
                    came.append(what)

        threads = [
            threading.Thread(target=serve, args=one) for one in ((tcp, "port"), (unix, "abstract"))
        ]
        for thread in threads:
            thread.start()
        try:
            yield tcp.getsockname()[1], name, came
        finally:
            for server in (tcp, unix):
                server.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def probed(
    sandbox: Bubblewrap, root: Path, kit: Kit = NO_KIT, *more: str
) -> tuple[Sequence[str], list[str]]:
    """Return what the probe told of, and who came to the host's sockets."""
    (root / "tree").mkdir()
    with host() as (port, name, came):
        command = ("python", "-c", PROBE, str(port), name, str(root / "other"), *more)
        ended = sandbox.run(command, root / "tree", timeout_s=60, kit=kit)
    assert ended.exit_code == 0, ended.output
    return ended.output.splitlines(), came


@pytest.fixture
def sandbox() -> Bubblewrap:
    skip_without_bubblewrap()
    return Bubblewrap(SandboxConfig(), TOOLS)


def test_a_verification_reaches_nothing(sandbox, tmp_path):
    assert probed(sandbox, tmp_path) == ([], [])


def test_with_a_socket_nothing_but_it_is_reached(sandbox, tmp_path):
    """The gateway's and the fetch proxy's mode: the host has other sockets beside, too."""
    with FetchProxy(["packages.example"]).open() as visit, FetchProxy([]).open() as other:
        (tmp_path / "other").symlink_to(other.socket)
        told, came = probed(sandbox, tmp_path, Kit(socket=visit.socket))
    assert (told, came) == ([], [])


def test_what_a_port_of_the_sandbox_leads_to_is_the_socket_alone(sandbox, tmp_path):
    """The bridge asks nobody where to: no host name or address is its to follow."""
    ask = (
        "import socket\n"
        "one = socket.create_connection(('127.0.0.1', PORT), 5)\n"
        "head = b'GET http://169.254.169.254/latest/meta-data/ HTTP/1.1'\n"
        "one.sendall(head + b'\\r\\nHost: x\\r\\n\\r\\n')\n"
        "print(one.recv(100).split(b'\\r\\n')[0].decode())\n"
    )
    with FetchProxy(["packages.example"]).open() as visit, sandbox.reach(visit.socket) as url:
        script = ask.replace("PORT", url.rsplit(":", 1)[1])
        ended = sandbox.run(
            ("python", "-c", script), tmp_path, timeout_s=30, kit=Kit(socket=visit.socket)
        )
    assert ended.output.startswith("HTTP/1.1 403 169.254.169.254:80 is not in [sandbox] fetch")


def test_it_would_be_reached_in_the_hosts_network(tmp_path):
    skip_without_bubblewrap()
    told, came = probed(Open(SandboxConfig(), TOOLS), tmp_path, NO_KIT, "near")
    assert {"port", "abstract"} <= set(came)
    assert any(line.startswith("reached 127.0.0.1") for line in told)


@pytest.mark.xfail(reason="sockets of virtual machines are in no namespace; that takes a filter")
def test_no_socket_to_the_hypervisor_can_be_made(sandbox, tmp_path):
    """Only made, never connected: who listens there is none of ours to find out."""
    if not hasattr(socket, "AF_VSOCK") or not Path("/dev/vsock").exists():
        pytest.skip("this machine has none")
    script = "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)"
    ended = sandbox.run(("python", "-c", script), tmp_path, timeout_s=30)
    assert ended.exit_code != 0


# --- The fetch proxy --------------------------------------------------------------------------


@pytest.fixture
def inner() -> Iterator[Web]:
    """A server of this machine that nobody may reach, such as the bot's own port."""
    with Web({"/secret": b"CANARY"}).served() as web:
        yield web


def test_a_redirect_to_this_machine_is_refused(inner):
    """The page may be fetched; where it leads to is asked for anew, and may not."""
    target = f"http://127.0.0.1:{inner.port}/secret"
    with Web(redirects={"/page": target}).served() as web:
        with FetchProxy([f"127.0.0.1:{web.port}"]).open() as visit:
            first = get(visit.socket, f"http://127.0.0.1:{web.port}/page")
            assert target.encode() in first
            assert b"CANARY" not in first
            second = get(visit.socket, target)
        assert status(second) == 403
        assert inner.asked == []
        with FetchProxy([f"127.0.0.1:{web.port}", f"127.0.0.1:{inner.port}"]).open() as visit:
            assert get(visit.socket, target).endswith(b"CANARY")


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("tunnel", [True, False])
def test_a_listed_name_that_leads_to_this_machine_is_refused(inner, address, tunnel):
    at = f"pypi.example:{inner.port}"

    def asked(allowed: list[str]) -> bytes:
        with FetchProxy(allowed, resolve=lambda *_: [address]).open() as visit:
            if not tunnel:
                return get(visit.socket, f"http://{at}/secret")
            head = f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n"
            more = "GET /secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            return say(visit.socket, (head + more).encode())

    refused = asked([at])
    assert status(refused) == 403
    assert b"which is not a public address" in refused
    assert inner.asked == []
    if address == "127.0.0.1":  # it would be reached if the list held the address
        assert asked([at, f"{address}:{inner.port}"]).endswith(b"CANARY")


def test_a_name_that_changes_its_mind_is_asked_only_once(inner):
    """Rebinding: allowed when it is looked at, another place when it is connected to."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    at = f"a.example:{inner.port}"
    allowed = [at, f"127.0.0.1:{inner.port}"]
    with FetchProxy(allowed, resolve=lambda *_: next(answers)).open() as visit:
        assert get(visit.socket, f"http://{at}/secret").endswith(b"CANARY")
        assert status(get(visit.socket, f"http://{at}/secret")) == 403
    assert len(inner.asked) == 1
