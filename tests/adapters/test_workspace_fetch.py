"""The fetch proxy: what it lets through, what it refuses, and what it says about both."""

import socket
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from bot.domain.errors import NeedsPerson
from bot.domain.values import Fetched
from bot.workspace.allowed import Place, Refused, addresses, place, read
from bot.workspace.fetch import FetchProxy
from tests.support.fetching import Web, get, say, status
from tests.support.fetching import read as read_all

PUBLIC = "93.184.216.34"
INNER = [
    *("127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("64:ff9b::7f00:1", "2002:7f00:1::1", "2001:0:7f00:1::1"),
]


class Names:
    """A resolver that knows what it is told; `asked` counts."""

    def __init__(self, **known: Sequence[str]) -> None:
        self.known = known
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.known:
            raise socket.gaierror(-2, "Name or service not known")
        return self.known[host]


# --- Which hosts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "host", "port", "covered"),
    [
        ("packages.example", "packages.example", 443, True),
        ("Packages.example", "packages.example", 443, True),
        ("packages.example", "packages.example", 80, False),
        ("packages.example:80", "packages.example", 80, True),
        ("packages.example", "evil.packages.example", 443, False),
        ("packages.example", "notpackages.example", 443, False),
        ("*.packages.example", "a.packages.example", 443, True),
        ("*.packages.example", "a.b.packages.example", 443, True),
        ("*.packages.example", "packages.example", 443, False),
        ("*.packages.example", "evilpackages.example", 443, False),
        ("127.0.0.1:8000", "127.0.0.1", 8000, True),
        ("[::1]:8000", "::1", 8000, True),
    ],
)
def test_an_entry_covers_what_it_says(entry, host, port, covered):
    assert any(one.covers(host, port) for one in read([entry])) is covered


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.",
        "*.org",
        "*.10.0.0.1",
        "a b",
        "https://packages.example",
        "packages.example:0",
        "x:99999",
        "[::1",
    ],
)
def test_an_entry_that_makes_no_sense_needs_a_person(entry):
    with pytest.raises(NeedsPerson, match=r"sandbox\.fetch"):
        FetchProxy([entry])


@pytest.mark.parametrize("address", INNER)
def test_a_name_that_leads_inside_is_refused(address):
    with pytest.raises(Refused, match="not a public address"):
        addresses(Place("a.example", 443), read(["a.example"]), Names(**{"a.example": [address]}))


def test_one_inner_answer_spoils_the_others():
    names = Names(**{"a.example": [PUBLIC, "10.0.0.1"]})
    with pytest.raises(Refused, match=r"10\.0\.0\.1"):
        addresses(Place("a.example", 443), read(["a.example"]), names)


def test_a_name_may_lead_to_an_address_that_is_listed_itself_at_that_port():
    names = Names(**{"a.example": ["10.0.0.1"]})
    allowed = read(["a.example", "a.example:80", "10.0.0.1"])
    assert addresses(Place("a.example", 443), allowed, names) == ("10.0.0.1",)
    with pytest.raises(Refused, match="not a public address"):
        addresses(Place("a.example", 80), allowed, names)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "localhost",
        "evil.example",
    ],
)
def test_what_is_not_listed_is_not_even_looked_up(host):
    names = Names(localhost=["127.0.0.1"])
    with pytest.raises(Refused, match=r"not in \[sandbox\] fetch"):
        addresses(place(host, 443), read(["packages.example"]), names)
    assert names.asked == []


@pytest.mark.parametrize(
    "text", ["", ":443", "a:b", "a:99999", "a b", "é.org", "[::1", "[::1]x", "a" * 254]
)
def test_what_names_no_host_is_refused(text):
    with pytest.raises(Refused):
        place(text, 443)


# --- What goes through ------------------------------------------------------------------------


@pytest.fixture
def web():
    with Web({"/page": b"hello", "/big": b"x" * 3_000_000}).served() as served:
        yield served


@pytest.fixture
def visit(web):
    with FetchProxy([f"127.0.0.1:{web.port}"]).open() as opened:
        yield opened


def test_a_page_is_fetched_in_words_of_our_own(web, visit):
    headers = ("Proxy-Authorization: Basic x", "Connection: X-Hop", "X-Kept: yes")
    answer = get(visit.socket, f"http://127.0.0.1:{web.port}/page?a=b", "GET", *headers)
    assert status(answer) == 404  # the query went along
    assert status(get(visit.socket, f"http://127.0.0.1:{web.port}/page")) == 200
    (method, path, sent), _ = web.asked
    assert (method, path) == ("GET", "/page?a=b")
    assert {name.lower(): value for name, value in sent.items()} == {
        "host": f"127.0.0.1:{web.port}",
        "connection": "close",
        "x-kept": "yes",
    }


def test_a_large_page_arrives_whole_and_is_logged(web, visit):
    answer = get(visit.socket, f"http://127.0.0.1:{web.port}/big")
    assert answer.endswith(b"\r\n\r\n" + b"x" * 3_000_000)
    assert visit.log() == (Fetched("127.0.0.1", web.port, 1, 3_000_000, ""),)


def test_a_head_request_has_no_body(web, visit):
    answer = get(visit.socket, f"http://127.0.0.1:{web.port}/big", "HEAD")
    assert b"3000000" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_tunnel_carries_both_ways(web, visit):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(visit.socket))
        client.sendall(f"CONNECT 127.0.0.1:{web.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /page HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n")
        assert read_all(client).endswith(b"hello")
    (line,) = visit.log()
    assert (line.requests, line.refused) == (1, "")
    assert line.bytes > 100


def test_what_a_client_says_before_the_tunnel_stands_is_not_lost(web, visit):
    early = b"GET /page HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n"
    head = f"CONNECT 127.0.0.1:{web.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert say(visit.socket, head + early).endswith(b"hello")


# --- What does not ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "told"),
    [
        ("POST", (), b"GET and HEAD only"),
        ("PUT", (), b"GET and HEAD only"),
        ("DELETE", (), b"GET and HEAD only"),
        ("GET", ("Content-Length: 3",), b"no request with a body"),
        ("GET", ("Transfer-Encoding: chunked",), b"no request with a body"),
    ],
)
def test_nothing_is_sent_out_by_plain_http(web, visit, method, headers, told):
    answer = get(visit.socket, f"http://127.0.0.1:{web.port}/page", method, *headers)
    assert status(answer) == 403
    assert told in answer
    assert web.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "/page",
        "ftp://a.example/",
        "https://packages.example/",
        "http://u:p@packages.example/",
        "http:///x",
        "*",
    ],
)
def test_other_forms_are_refused(visit, url):
    assert status(get(visit.socket, url)) == 403


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"a" * 100_000]
)
def test_what_is_no_request_is_answered_as_such(visit, said):
    answer = say(visit.socket, said)
    assert answer == b"" or status(answer) == 400


def test_a_host_that_is_not_listed_is_refused_and_logged(visit):
    for _ in range(2):
        answer = get(visit.socket, "http://evil.example/steal")
        assert status(answer) == 403
        assert b"evil.example:80 is not in [sandbox] fetch" in answer.split(b"\r\n")[0]
    refused = "evil.example:80 is not in [sandbox] fetch"
    assert visit.log() == (Fetched("evil.example", 80, 2, 0, refused),)


def test_the_log_is_bounded(visit):
    for number in range(230):
        get(visit.socket, f"http://h{number}.example/")
    log = visit.log()
    assert len(log) <= 201
    assert sum(line.requests for line in log) == 230


def test_a_host_that_cannot_be_reached_is_told(web):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with FetchProxy([f"127.0.0.1:{port}"]).open() as visit:
        assert b"cannot be reached" in get(visit.socket, f"http://127.0.0.1:{port}/")


def test_a_name_is_asked_for_once_and_its_answer_is_where_we_go(web):
    """A name that answers differently the second time gains nothing: there is no second time."""
    names = Names(**{"a.example": ["127.0.0.1"]})
    allowed = [f"a.example:{web.port}", f"127.0.0.1:{web.port}"]
    with FetchProxy(allowed, resolve=names).open() as visit:
        assert get(visit.socket, f"http://a.example:{web.port}/page").endswith(b"hello")
    assert names.asked == ["a.example"]
    assert web.asked[0][2]["Host"] == f"a.example:{web.port}"


def test_the_system_s_own_resolver_is_asked_in_earnest(web):
    with FetchProxy([f"localhost:{web.port}"]).open() as visit:
        answer = get(visit.socket, f"http://localhost:{web.port}/page")
    assert b"which is not a public address" in answer
    assert web.asked == []


@pytest.mark.parametrize("tunnel", [False, True])
def test_the_limit_of_size_cuts(web, tunnel):
    with FetchProxy([f"127.0.0.1:{web.port}"], most_mb=1).open() as visit:
        if tunnel:
            head = f"CONNECT 127.0.0.1:{web.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            answer = say(visit.socket, head + b"GET /big HTTP/1.1\r\nHost: y\r\n\r\n")
        else:
            answer = get(visit.socket, f"http://127.0.0.1:{web.port}/big")
        assert len(answer) <= 1024 * 1024 + 400
        assert [line.refused for line in visit.log()] == [
            "",
            "more megabytes than a set-up may fetch",
        ]


def test_the_end_of_a_visit_cuts_what_is_open(web):
    with ExitStack() as stack, socket.socket(socket.AF_UNIX) as client:
        visit = stack.enter_context(FetchProxy([f"127.0.0.1:{web.port}"]).open())
        client.connect(str(visit.socket))
        client.sendall(f"CONNECT 127.0.0.1:{web.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        stack.close()
        client.settimeout(30)
        assert read_all(client) == b""
        assert not visit.socket.exists()
