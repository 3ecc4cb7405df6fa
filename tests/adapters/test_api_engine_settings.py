"""`/api/engine-settings`: the chains of a real file, read and changed over HTTP."""

import json
import threading
from contextlib import ExitStack

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from bot.config import engines, load, rewrite
from bot.config.build import build
from bot.config.document import parse
from bot.config.rewrite import EngineFile
from bot.config.watch import Watched
from bot.domain.errors import TryLater
from bot.simulator.loopback import served
from bot.store.audit import SqlAudit
from bot.store.database import connect
from bot.store.memory import MemoryAudit
from bot.store.migrate import migrate
from bot.web.api import engine_settings
from tests.support.api import TOKEN, Stopped

URL = "/api/engine-settings?project=acme/shop"
KEY = "sk-live-canary-0815"
FILE = f"""\
# Ours. Keep the comments!
[backend]
order = ["qwen", "claude"]  # cheap first

[backends.qwen]
model = "q"
api_key = "{KEY}"  # until we have a vault
base_url = "http://127.0.0.1:9/v1"

[claude]  # as auto-coder writes it
model = "sonnet"

[backends."grok-4.1-fast"]
model = "g"
base_url = "http://127.0.0.1:9/v1"

[backends.off]
enabled = false

[qa]
max_sessions = 2  # a day's worth

[[failure_patterns]]
type = "infra"
pattern = "^license"
"""
NAMED = """\
[backends.a]
model = "m"
[backends.b]
model = "m"
[backends.c]
model = "m"
[agent_chains]  # who is there
mending = ["a", "b"]  # in this order
careful = [
    "c",  # slow
    # last resort
    "a",  # dear
]
[agent_drains]
fix = "mending"
planning = "careful"
review = "careful"
"""


class Server:
    """The two routes behind a real server; an `environ` stands for the process's."""

    def __init__(self, path, audit, environ=None):
        self.path, self.audit = path, audit
        file = EngineFile(path, environ or {})
        self.app = Starlette(routes=list(engine_settings.routes(TOKEN, file, audit)))

    def __enter__(self):
        self.stack = ExitStack()
        url = self.stack.enter_context(served(self.app))
        headers = {"Authorization": f"Bearer {TOKEN.reveal()}"}
        client = httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)
        self.client = self.stack.enter_context(client)
        return self

    def __exit__(self, *_exc):
        self.stack.close()

    def get(self):
        return self.client.get(URL)

    def put(self, body=None, *, seen="", **chains):
        content = body if isinstance(body, bytes) else json.dumps(body or {"chains": chains})
        headers = {"If-Match": seen} if seen else {}
        return self.client.put(URL, content=content, headers=headers)

    def chains(self):
        return self.get().json()["chains"]

    def events(self):
        return list(self.audit.of("/api/engine-settings"))


@pytest.fixture
def audit():
    return MemoryAudit(Stopped())


@pytest.fixture
def stored(tmp_path):
    database = connect("", tmp_path / "data")
    migrate(database)
    yield SqlAudit(database, Stopped())
    database.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for all calls that change nothing."""
    path = tmp_path_factory.mktemp("shared") / "llm_config.toml"
    path.write_text(FILE)
    with Server(path, MemoryAudit(Stopped())) as server:
        yield server


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "llm_config.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def server(path, audit):
    with Server(path, audit) as server:
        yield server


def chain(*names, on=True, times=1):
    return {"enabled": on, "max_iterations": times, "engines": list(names)}


def test_the_chains_are_told_in_the_seeds_shape(server):
    answer = server.get()
    assert answer.status_code == 200
    assert answer.json() == {
        "version": 2,
        "project": "acme/shop",
        "scope": "all projects",
        "chains": {
            "implement": chain("qwen", "claude", times=10),
            "qa_fix": chain("qwen", "claude", on=False, times=2),
            "review": chain(on=False),
            "spec_draft": chain(on=False),
            "spec_synthesize": chain(on=False),
            "initializer": chain(on=False),
        },
    }
    assert answer.headers["etag"].startswith('"')
    assert KEY not in answer.text


def test_what_is_put_is_what_is_got_and_the_file_keeps_everything_else(server, path):
    wanted = {
        "implement": chain("claude", "grok-4.1-fast", times=4),
        "qa_fix": chain("claude", "grok-4.1-fast", times=5),
        "review": chain("claude"),
        "spec_draft": chain("qwen", "claude"),
        "spec_synthesize": chain("claude"),
        "initializer": chain(on=False),
    }
    answer = server.put({"version": 2, "chains": wanted})
    assert answer.status_code == 200, answer.text
    assert answer.json()["chains"] == wanted == server.chains()
    assert answer.headers["etag"] == server.get().headers["etag"]
    text = path.read_text()
    before = [line for line in FILE.splitlines() if line]
    left = [line for line in text.splitlines() if line in before]
    assert left == before, "in their order"
    policy = load.configuration(path, {}).policy
    assert [one.name for one in policy.primary] == ["claude", "grok-4.1-fast"]
    assert [one.name for one in policy.planners] == ["qwen", "claude"]
    assert [one.name for one in policy.reviewers] == ["claude"]
    assert (policy.analysts, policy.review.mode) == ((), "advisory")
    assert (policy.planning.synthesis, policy.qa.enabled) == ("claude", True)
    assert (policy.qa.max_iterations, policy.retry.total_attempts) == (5, 4)


def test_what_is_got_can_be_put_and_changes_nothing(server, path):
    before = path.stat()
    body = {name: server.get().json()[name] for name in ("version", "chains")}
    assert server.put(body).json()["chains"] == body["chains"]
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert server.events() == []


def test_a_list_keeps_its_comments_and_other_drains_keep_their_chain(server, path):
    path.write_text(NAMED)
    answer = server.put(implement={"engines": ["b", "a"]}, spec_draft={"engines": ["a", "b"]})
    assert answer.status_code == 200, answer.text
    text = path.read_text()
    assert 'mending = ["b", "a"]  # in this order' in text
    assert 'spec_draft = ["a", "b"]' in text, "the review goes on with `careful`"
    assert 'planning = "spec_draft"' in text
    assert "[agent_chains]  # who is there" in text
    assert '    "c",  # slow\n    # last resort\n    "a",  # dear\n]' in text
    assert server.chains()["review"] == chain("c", "a")
    path.write_text(NAMED.replace('review = "careful"\n', ""))
    assert server.put(spec_draft={"engines": ["a", "b"]}).status_code == 200
    text = path.read_text()
    assert '    "a", # dear\n    "b",\n' in text
    assert [comment for comment in ("slow", "last resort") if comment not in text] == []


def test_a_chain_that_is_off_keeps_its_engines(server):
    assert server.put(review=chain("claude"), spec_draft=chain("qwen")).status_code == 200
    answer = server.put(review={"enabled": False}, spec_draft={"enabled": False})
    assert answer.json()["chains"]["review"] == chain("claude", on=False)
    assert answer.json()["chains"]["spec_draft"] == chain("qwen", on=False)
    assert server.put(review={"enabled": True}).json()["chains"]["review"] == chain("claude")
    server.put(spec_synthesize={"engines": ["claude"]})
    assert server.put(spec_synthesize={"enabled": False}).status_code == 200
    assert server.chains()["spec_synthesize"] == chain(on=False)


def test_a_review_whose_mode_is_off_is_off_and_turned_on_as_a_gate(server, path):
    path.write_text(f'{NAMED}[review]\nmode = "off"  # too dear\nwithin_s = 9\n')
    assert server.chains()["review"] == chain("c", "a", on=False)
    assert server.put(review={"engines": ["a"]}).json()["chains"]["review"] == chain("a", on=False)
    assert 'mode = "off"  # too dear' in path.read_text()
    assert server.put(review={"enabled": True}).json()["chains"]["review"] == chain("a")
    policy = load.configuration(path, {}).policy
    assert [one.name for one in policy.reviewers] == ["a"]
    assert (policy.review.mode, policy.review.within_s) == ("gate", 9)


def test_a_review_turned_off_and_on_keeps_its_mode_and_leaves_the_analysis_alone(server, path):
    path.write_text(
        NAMED.replace("careful", "review").replace("planning", "analysis")
        + '[review]\nmode = "consensus"\n'
    )
    assert server.chains()["review"] == chain("c", "a")
    off = server.put(review={"enabled": False})
    assert off.json()["chains"]["review"] == chain("c", "a", on=False)
    found = load.configuration(path, {}).policy
    assert (found.reviewers, [one.name for one in found.analysts]) == ((), ["c", "a"])
    assert server.put(review={"enabled": True}).json()["chains"]["review"] == chain("c", "a")
    assert load.configuration(path, {}).policy.review.mode == "consensus"


def test_the_older_schema_is_kept(server, path):
    path.write_text(
        '[backends.a]\nmodel = "m"\n[backends.b]\nmodel = "m"\n'
        '[agent_chain]  # old\ndeveloper = ["a", "b"]\nreviewer = ["b"]  # mends\n'
    )
    assert server.put(implement=chain("a", times=3)).status_code == 200
    text = path.read_text()
    assert 'reviewer = ["a"]  # mends' in text
    assert "agent_chains" not in text
    for name, word in (("spec_draft", "the first developer"), ("review", "no chain for reviews")):
        refused = server.put(**{name: chain("b")})
        assert (refused.status_code, refused.json()["key"]) == (422, f"chains.{name}.engines")
        assert word in refused.json()["error"]
    assert path.read_text() == text
    assert server.put(spec_draft=chain("a")).json()["chains"]["spec_draft"] == chain("a")


NO = chain("qwen")
REFUSED = {
    "an unknown engine": ({"review": chain("quen")}, "chains.review.engines", 'mean "qwen"'),
    "one that is off": ({"implement": chain("off")}, "chains.implement.engines", "not enabled"),
    "one without a section": ({"review": chain("codex")}, "chains.review.engines", "no backend"),
    "twice": ({"review": chain("qwen", "qwen")}, "chains.review.engines", "twice"),
    "nobody": ({"review": chain()}, "chains.review.engines", "needs an engine"),
    "too often": ({"implement": {"max_iterations": 21}}, "chains.implement.max_iterations", "20"),
    "never": ({"implement": {"max_iterations": 0}}, "chains.implement.max_iterations", "1"),
    "no number": ({"qa_fix": {"max_iterations": "2"}}, "chains.qa_fix.max_iterations", "int"),
    "no iterations": ({"review": chain("qwen", times=2)}, "chains.review.max_iterations", "1"),
    "mending off": ({"implement": {"enabled": False}}, "chains.implement.enabled", "autofix"),
    "qa by others": ({"qa_fix": {"engines": ["claude"]}}, "chains.qa_fix.engines", "implement"),
    "two as one": ({"spec_synthesize": chain("qwen", "claude")}, "", "one backend"),
    "initializer": ({"initializer": NO}, "chains.initializer.enabled", "nothing to initialize"),
    "another chain": ({"deploy": NO}, "chains", "unknown field `deploy`"),
    "a command": ({"review": {**NO, "command": "sh -c id"}}, "chains.review", "`command`"),
    "a key": ({"review": {**NO, "api_key": "sk-1"}}, "chains.review", "`api_key`"),
    "too many": ({"review": chain(*map(str, range(51)))}, "chains.review.engines", "50"),
    "a long name": ({"review": chain("x" * 201)}, "chains.review.engines[0]", "200"),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.replace(" ", "-"))
def test_a_wish_that_cannot_be_met_changes_nothing_and_names_its_key(shared, case):
    chains, key, word = REFUSED[case]
    answer = shared.put({"chains": chains})
    assert (answer.status_code, shared.path.read_text()) == (422, FILE), answer.text
    assert answer.json()["key"] == (key or "chains.spec_synthesize.engines")
    assert word in answer.json()["error"]
    assert shared.events() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"chains", 400),
        (b'\xff"', 400),
        (b'{"chains": ' + b"[" * 60_000, 422),
        (b"[]", 422),
        (b'{"version": 1, "chains": {}}', 422),
        (b'{"version": 2}', 422),
        (b'{"chains": {}, "backends": {"x": {"command": "id"}}}', 422),
        (b'{"chains": {}, "budget": {"per_day_usd": 9}}', 422),
        (b'{"chains": {}, "x": "' + b"x" * (64 << 10) + b'"}', 413),
    ],
)
def test_a_body_that_does_not_fit_is_refused(shared, body, status):
    answer = shared.put(body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert shared.path.read_text() == FILE


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_is_json_whatever_it_is_called_and_no_form_comes_without_the_token(server, kind):
    body, called = json.dumps({"chains": {"review": chain("qwen")}}), {"Content-Type": kind}
    refused = server.client.put(URL, content=body, headers={**called, "Authorization": ""})
    assert (refused.status_code, server.chains()["review"]) == (401, chain(on=False))
    assert server.client.put(URL, content=body, headers=called).status_code == 200
    assert server.chains()["review"] == chain("qwen")


def test_nothing_is_told_without_the_token(server, path, audit):
    for method in ("GET", "PUT"):
        answer = server.client.request(method, URL, headers={"Authorization": "Bearer no"})
        assert answer.status_code == 401
    assert engine_settings.routes(None, EngineFile(path, {}), audit) == ()
    assert server.client.get(f"{URL}%00").status_code == 400


def test_whoever_has_not_seen_the_newest_settings_is_told_so(server, path):
    tag = server.get().headers["etag"]
    assert server.put(review=chain("claude"), seen=tag).status_code == 200
    late = server.put(review=chain("qwen"), seen=tag)
    assert (late.status_code, server.chains()["review"]) == (412, chain("claude"))
    path.write_text(path.read_text() + "# by hand\n")
    assert server.put(review=chain("qwen"), seen=server.put().headers["etag"]).status_code == 200
    assert server.put(review=chain("claude"), seen="*").status_code == 200


def test_of_many_at_one_time_only_one_wins_and_the_file_is_whole(server, path, audit):
    tag = server.get().headers["etag"]
    answers = []

    def put(times):
        answers.append(server.put(qa_fix={"max_iterations": times}, seen=tag).status_code)

    threads = [threading.Thread(target=put, args=(times,)) for times in range(3, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [412] * 9
    assert load.configuration(path, {}).policy.qa.max_iterations in range(3, 13)
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".llm")] == []
    assert len(server.events()) == 1


def test_a_change_is_in_force_without_a_restart(server, path):
    seconds = [0.0]
    watched = Watched(path, {}, report=pytest.fail, seconds=lambda: seconds[0])
    assert watched.current().policy.reviewers == ()
    server.put(review=chain("claude"))
    seconds[0] += 1
    assert [one.name for one in watched.current().policy.reviewers] == ["claude"]


def test_a_change_stands_in_the_audit_trail(path, stored):
    with Server(path, stored) as server:
        server.put(review=chain("claude"))
        tag = server.get().headers["etag"]
        (event,) = server.events()
    assert event["kind"] == "engine_settings.changed"
    assert event["detail"]["project"] == "acme/shop"
    assert event["detail"]["before"] == {"review": chain(on=False)}
    assert event["detail"]["after"] == {"review": chain("claude")}
    assert event["detail"]["etag_after"] == tag.strip('"')


class DownAudit:
    def append(self, *_event):
        raise TryLater("the database is down")

    def of(self, _subject):
        return iter(())


def test_what_cannot_be_audited_is_not_changed(path):
    with Server(path, DownAudit()) as server:
        assert server.put(review=chain("claude")).status_code == 503
        assert path.read_text() == FILE


def test_a_variable_that_decides_is_named(path, audit):
    with Server(path, audit, {"META_V3_MAX_TOTAL_ATTEMPTS": "7"}) as server:
        answer = server.put(implement={"max_iterations": 4})
    assert (answer.status_code, path.read_text()) == (422, FILE)
    assert answer.json()["key"] == "chains.implement.max_iterations"
    assert "META_V3_MAX_TOTAL_ATTEMPTS" in answer.json()["error"]


def test_the_files_rights_and_its_link_stay(server, path, tmp_path):
    real = tmp_path / "real" / "settings.toml"
    real.parent.mkdir()
    path.rename(real)
    real.chmod(0o640)
    path.symlink_to(real)
    assert server.put(review=chain("claude")).status_code == 200
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert 'review = ["claude"]' in real.read_text()


def test_a_broken_or_missing_file_is_said_with_its_line(server, path):
    path.write_text("[backend]\norder = 3\n")
    for answer in (server.get(), server.put(review=chain("claude"))):
        assert answer.status_code == 409
        assert "llm_config.toml:2: backend.order" in answer.json()["error"]
    path.unlink()
    assert server.get().status_code == 409
    assert server.put(review=chain("claude")).status_code == 409


def test_a_file_that_cannot_be_replaced_stays(path, audit):
    folder = path.parent / "mount"
    folder.mkdir()
    (folder / "llm_config.toml").write_text(FILE)
    long = folder / ("x" * 250 + ".toml")  # a name to which nothing can be added
    (folder / "llm_config.toml").rename(long)
    with Server(long, audit) as server:
        answer = server.put(review=chain("claude"))
        assert answer.status_code == 409
        assert "cannot be written" in answer.json()["error"]
        assert long.read_text() == FILE
        assert server.events() == []


def test_a_change_that_fails_at_last_stands_in_the_trail(path):
    class Meddling(MemoryAudit):
        def append(self, *event):
            super().append(*event)
            path.write_text(f"{FILE}# by hand\n")

    with Server(path, Meddling(Stopped())) as server:
        answer = server.put(review=chain("claude"))
        kinds = [event["kind"] for event in server.events()]
    assert answer.status_code == 412
    assert path.read_text() == f"{FILE}# by hand\n"
    assert kinds == ["engine_settings.changed", "engine_settings.failed"]


def test_what_somebody_else_writes_meanwhile_stays(path):
    file = EngineFile(path, {})
    wanted = engine_settings.wish(b'{"chains": {"review": {"enabled": true, "engines": ["qwen"]}}}')
    with pytest.raises(rewrite.Changed):
        file.change(wanted, before=lambda *_: path.write_text(f"{FILE}# by hand\n") and None)
    assert path.read_text() == f"{FILE}# by hand\n"


# --- The round trip ---------------------------------------------------------------------------

NAMES = ("a", "b-c", "d.e", 'q"uote')
COMMENTS = st.sampled_from(["", "  # why", "# [not.a.table]", ' # "x" = [1]'])
SPACE = st.sampled_from(["", "\n", "\n\n", "# alone\n", "   # indented # twice\n"])
ORDERS = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)


@st.composite
def files(draw):
    """A file that is valid, with comments and blank lines wherever TOML allows them."""

    def quoted(name):
        return json.dumps(name)

    def array(names):
        if draw(st.booleans()):
            return f"[{', '.join(map(quoted, names))}]"
        lines = [f"  {quoted(name)},{draw(COMMENTS)}\n" for name in names]
        return f"[{draw(COMMENTS)}\n{''.join(lines)}]"

    parts = [
        f'[backends.{quoted(name)}]{draw(COMMENTS)}\nmodel = "m"{draw(COMMENTS)}\n'
        for name in NAMES
    ]
    if draw(st.booleans()):
        bound = draw(st.sampled_from([["fix"], ["fix", "planning"], ["review", "fix"], ["review"]]))
        lines = [f'{drain} = "x"{draw(COMMENTS)}\n' for drain in bound]
        chains = f"[agent_chains]{draw(COMMENTS)}\nx = {array(draw(ORDERS))}{draw(COMMENTS)}\n"
        parts += [chains, f"[agent_drains]{draw(COMMENTS)}\n{''.join(lines)}"]
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["off", "advisory", "consensus"]))
        parts.append(f'[review]{draw(COMMENTS)}\nmode = "{mode}"{draw(COMMENTS)}\n')
    if draw(st.booleans()):
        parts.append(f"[qa]{draw(COMMENTS)}\nmax_sessions = 7{draw(COMMENTS)}\n")
    parts = draw(st.permutations(parts))
    text = "".join(draw(SPACE) + part for part in parts) + draw(SPACE)
    return text if draw(st.booleans()) else text.rstrip("\n")


@given(files(), ORDERS, ORDERS, st.integers(1, 20))
def test_the_round_trip_keeps_comments_and_every_other_key(text, mend, review, times):
    asked = {"implement": chain(*mend, times=times), "review": chain(*review)}
    wanted = engine_settings.wish(json.dumps({"chains": asked}).encode())
    found = _State(text)
    wish = engines.merged(found.shown, wanted, found.backends)
    changes = engines.edits(found.file, found.shown, wish, found.settings)
    made = rewrite.edited(text, changes)
    after = _State(made)
    assert after.shown == wish
    assert after.file.values == engines.applied(found.file.values, changes)
    assert sorted(_comments(made)) == sorted(_comments(text))
    untouched = [line for line in text.splitlines() if line.startswith(("[", "model", "max"))]
    left = iter(made.splitlines())
    assert all(line in left for line in untouched), "each of them, in their order"


class _State:
    """A text as the loader reads it."""

    def __init__(self, text):
        self.file = parse(text, "f")
        found, self.settings = build(self.file, {})
        self.backends = found.backends
        self.shown = engines.shown(self.file, found, self.settings)


def _comments(text):
    """Return the words of the comments that the files above may hold."""
    return [
        word
        for line in text.splitlines()
        for word in ("why", "[not.a.table]", '"x" = [1]', "alone", "indented # twice")
        if line.rstrip().endswith(word)
    ]


def test_a_file_is_left_alone_when_nothing_changes():
    assert rewrite.edited(FILE, []) == FILE
