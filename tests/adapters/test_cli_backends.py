"""`regreen backends list|test` over real files, endpoints on loopback and the real sandbox."""

import json
import os
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from bot.backends import programs, trial
from bot.cli.backends import app
from bot.domain.answers import Ending
from bot.domain.errors import ConfigError
from bot.domain.models import Api
from bot.domain.values import Secret
from bot.gateway.reach import reach
from bot.runtime.clock import SystemClock
from bot.simulator.model import Reply, ScriptedModel
from bot.store.database import connect
from bot.store.ledger import SqlLedger
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.sandboxes import PlainSandbox

KEY = "sk-live-canary-0815-4711"
MEND = "calc.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a + b\n>>>>>>> REPLACE\n"
# A stand-in for codex: it mends the line and ends as codex does.
CODEX = """#!/bin/sh
[ "$1" = --version ] && { echo codex-cli 9.8.7; exit; }
cat > /dev/null
sed 's/a - b/a + b/' calc.py > new; mv new calc.py
echo '{"type":"thread.started","thread_id":"t-1"}'
echo '{"type":"item.completed","item":{"type":"command_execution"}}'
echo '{"type":"turn.completed","usage":{"input_tokens":7,"output_tokens":3}}'
"""


@pytest.fixture
def model():
    with ScriptedModel() as model:
        yield model


@pytest.fixture
def regreen(tmp_path):
    """Run the command over a configuration; programs of tests lie in `bin`."""
    (tmp_path / "tools" / "bin").mkdir(parents=True)

    def run(config, *words, metadata="", **variables):
        path = tmp_path / "llm_config.toml"
        path.write_text(config)
        (tmp_path / "provider_metadata.toml").write_text(metadata)
        env = {
            "REGREEN_CONFIG": str(path),
            "REGREEN_DATA_DIR": str(tmp_path / "data"),
            "PATH": os.pathsep.join([str(tmp_path / "tools" / "bin"), TOOLS]),
            **variables,
        }
        return CliRunner().invoke(app, words, env=env)

    return run


def install(tmp_path, name, script):
    path = tmp_path / "tools" / "bin" / name
    path.write_text(script)
    path.chmod(0o755)


def worker(model, **keys):
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return (
        f'[backends.mine]\nbackend_type = "patch_worker"\nmodel = "m"\napi_key = "{KEY}"\n'
        f'base_url = "{model.url}"\n{more}'
    )


def only(result):
    """Return the one trial that was told."""
    (told,) = json.loads(result.stdout)
    return told


# --- list ---------------------------------------------------------------------------------------

METADATA = f"""\
[cheap.b]
model = "m-b"
base_url = "http://127.0.0.1:8/v1"
api_key = "{KEY}"
[cheap.c]
base_url = "http://127.0.0.1:7/v1"
"""
LISTED = f"""\
[backend]
order = ["cheap", "codex"]
[backends.cheap]
backend_type = "patch_worker"
model = "m"
api_key = "{KEY}"
base_url = "http://user:{KEY}@127.0.0.1:9/v1?key={KEY}"
providers = ["a", "b", "c"]
[backends.codex]
model = "gpt-5"
[backends.gemini]
enabled = false
[backends.own]
command = "mend-it --now"
[backend_for_failed_pr]
model = "f"
base_url = "http://127.0.0.1:9/v1"
[agent_chains]
plans = ["codex"]
[agent_drains]
planning = "plans"
"""


def test_a_script_reads_every_lane(regreen, tmp_path):
    skip_without_bubblewrap()
    install(tmp_path, "codex", CODEX)
    result = regreen(LISTED, "list", "--json", metadata=METADATA, AUTO_CODER_CODEX_API_KEY=KEY)
    assert result.exit_code == 0, result.output
    assert KEY not in result.output
    rows = {(row["name"], row["provider"]): row for row in json.loads(result.stdout)}
    assert list(rows) == [
        ("cheap", "a"),
        ("cheap", "b"),
        ("cheap", "c"),
        ("codex", ""),
        ("gemini", ""),
        ("own", ""),
        ("backend_for_failed_pr", ""),
    ]
    cheap, codex = rows["cheap", "a"], rows["codex", ""]
    assert cheap["endpoint"] == "http://127.0.0.1:9/v1"
    assert (cheap["key"], cheap["key_set"]) == (f"set by {tmp_path}/llm_config.toml:6", True)
    assert cheap["jobs"] == ["primary 1"]
    other = rows["cheap", "b"]
    assert (other["model"], other["endpoint"]) == ("m-b", "http://127.0.0.1:8/v1")
    assert other["key"] == f"set by {tmp_path}/provider_metadata.toml:4"
    third = rows["cheap", "c"]
    assert (third["model"], third["key_set"]) == ("m", False), "a key stays with its address"
    assert "[cheap.c] of provider_metadata.toml sets one" in third["key"]
    assert codex["jobs"] == ["primary 2", "planning 1", "drain planning (plans 1)"]
    assert codex["key"] == "set by AUTO_CODER_CODEX_API_KEY"
    assert codex["program"]["version"] == "9.8.7"
    assert codex["program"]["path"] == str(tmp_path / "tools" / "bin" / "codex")
    gemini = rows["gemini", ""]
    assert (gemini["enabled"], gemini["program"]["path"]) == (False, "")
    assert gemini["program"]["note"] == "npm install --global @google/gemini-cli"
    assert "AUTO_CODER_GEMINI_API_KEY" in gemini["key"]
    assert rows["own", ""]["program"]["name"] == "mend-it"
    assert rows["backend_for_failed_pr", ""]["tier"] == "fallback"


def test_a_person_reads_what_is_there_and_how_to_get_what_is_not(regreen):
    shown = regreen(LISTED, "list").stdout
    assert KEY not in shown
    assert "cheap/a  patch_worker, m\n  jobs     primary 1\n  key      set by" in shown
    assert "cheap/c  patch_worker, m\n" in shown
    assert "  program  codex is not installed: npm install --global @openai/codex\n" in shown
    assert "  key      set by llm_config.toml:6\n" in shown
    assert "gemini  gemini, gemini-2.5-pro, disabled\n" in shown
    assert regreen("", "list").stdout.startswith("No backend is configured")


@pytest.mark.parametrize(
    ("script", "version", "note"),
    [
        ("#!/bin/sh\necho aider 0.86.2\n", "0.86.2", ""),
        ("#!/bin/sh\necho oh no\nexit 3\n", "", "`aider --version` fails in the sandbox: oh no"),
        ("#!/bin/sh\nexit 3\n", "", "`aider --version` fails in the sandbox: exit code 3"),
    ],
)
def test_a_version_is_asked_or_it_is_said_why_not(tmp_path, script, version, note):
    (tmp_path / "tools" / "bin").mkdir(parents=True)
    install(tmp_path, "aider", script)
    path = str(tmp_path / "tools" / "bin")
    sandbox = PlainSandbox()

    class Here(PlainSandbox):
        def run(self, command, tree, **more):
            return sandbox.run((f"{path}/{command[0]}", *command[1:]), tree, **more)

    found = programs.look("aider", path, Here())
    assert (found.version, found.note) == (version, note)
    assert programs.look("aider", path, "no sandbox").note == "no sandbox"


# --- test ---------------------------------------------------------------------------------------


def test_an_endpoint_mends_a_line_and_is_paid_from_the_servers_ledger(regreen, model, tmp_path):
    skip_without_bubblewrap()
    model.will_answer("m", MEND)
    result = regreen(worker(model, price_in=2.0, price_out=10.0), "test", "--json")
    assert result.exit_code == 0, result.output
    told = only(result)
    assert told["ok"]
    assert told["reach"]["models"] == 1
    assert (told["edit"]["ok"], told["edit"]["ending"]) == (True, "edited")
    assert told["edit"]["cost_usd"] > 0
    assert [call.authorization for call in model.calls] == [f"Bearer {KEY}"]
    database = connect("", tmp_path / "data")
    day = SystemClock().now().astimezone(UTC).date().isoformat()
    spent = SqlLedger(database).spent(f"all on {day}").spent_nano
    database.close()
    assert spent == round(told["edit"]["cost_usd"] * 1e9)


def test_a_person_reads_how_it_went(regreen, model):
    skip_without_bubblewrap()
    model.will_answer("m", MEND)
    shown = regreen(worker(model), "test", "mine").stdout
    assert "mine  patch_worker, m\n  ✓ endpoint 127.0.0.1 lists 1, " in shown
    assert "  ✓ edit     calc.py was mended as asked, " in shown
    assert " out, no price is configured\n" in shown


FAILING = {
    "a wrong key": (Reply("bad key", status=401), "auth", "llm_config.toml:4"),
    "an unknown model": (Reply(status=404), "not_found", "`model` (m)"),
    "no credit": (Reply("quota: insufficient_quota", status=429), "usage_limit", "top it up"),
    "an outage": (Reply(status=503), "unavailable", "try again later"),
    "a web page": (Reply(status=200, text=""), "invalid", "base_url"),
    "no change": ("NO CHANGE NEEDED", "no_change", "too weak"),
    "another change": (MEND.replace("a + b", "a * b"), "edited", "too weak"),
}


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.replace(" ", "-"))
def test_a_backend_that_does_not_mend_fails_and_says_what_to_do(regreen, model, case):
    skip_without_bubblewrap()
    reply, ending, mend = FAILING[case]
    model.will_answer("m", reply)
    result = regreen(worker(model), "test", "--json")
    assert result.exit_code == 1, result.output
    told = only(result)
    assert (told["ok"], told["edit"]["ok"], told["edit"]["ending"]) == (False, False, ending)
    assert mend in told["edit"]["mend"]
    assert KEY not in result.output
    assert len(model.calls) == 1, "it is told at once, and not tried again"


def test_the_budget_holds_for_trials_too(regreen, model):
    skip_without_bubblewrap()
    model.will_answer("m", MEND)
    config = worker(model, price_in=1000.0, price_out=1000.0) + "[budget]\nper_day_usd = 0.001\n"
    told = only(regreen(config, "test", "--json"))
    assert (told["ok"], told["edit"]["ending"], model.calls) == (False, "budget", ())
    assert "regreen config explain budget" in told["edit"]["mend"]


def test_an_agent_runs_in_the_sandbox(regreen, model, tmp_path):
    skip_without_bubblewrap()
    install(tmp_path, "codex", CODEX)
    config = f'[backends.codex]\nmodel = "m"\napi_key = "{KEY}"\nbase_url = "{model.url}"\n'
    result = regreen(config, "test", "codex", "--json")
    assert result.exit_code == 0, result.output
    assert only(result)["edit"]["detail"] == "calc.py was mended as asked"


def test_an_agent_that_is_missing_is_asked_for_a_patch_and_that_is_said(regreen, model):
    skip_without_bubblewrap()
    model.will_answer("m", MEND)
    config = f'[backends.codex]\nmodel = "m"\napi_key = "{KEY}"\nbase_url = "{model.url}"\n'
    told = only(regreen(config, "test", "--json"))
    assert told["ok"]
    assert "codex is not installed in the sandbox, so codex was asked" in told["edit"]["detail"]


def test_the_fallback_is_tested_with_its_own_settings(regreen, model):
    skip_without_bubblewrap()
    model.will_answer("big", MEND)
    config = worker(model) + (
        f'[backend_for_failed_pr]\nname = "mine"\nmodel = "big"\nbase_url = "{model.url}"\n'
    )
    result = regreen(config, "test", "--json", "mine")
    assert result.exit_code == 1
    told = {one["tier"]: one for one in json.loads(result.stdout)}
    assert (told["primary"]["ok"], told["fallback"]["ok"]) == (False, True)
    hint = told["primary"]["reach"]["mend"]
    assert hint.startswith('"m" is not among them')


LANES = """\
[mine.good]
base_url = "{url}"
api_key = "sk-good"
model = "m-good"
[mine.bad]
base_url = "http://127.0.0.1:9/v1"
"""


def test_each_lane_is_tried_by_itself(regreen, model):
    skip_without_bubblewrap()
    model.will_answer("m-good", MEND)
    config, metadata = worker(model), LANES.format(url=model.url)
    result = regreen(config, "test", "--json", metadata=metadata)
    assert result.exit_code == 1
    told = {one["provider"]: one for one in json.loads(result.stdout)}
    assert {name: one["ok"] for name, one in told.items()} == {"good": True, "bad": False}
    assert told["good"]["model"] == "m-good"
    assert told["bad"]["reach"]["ending"] == "network"
    assert "[mine.bad] of provider_metadata.toml" in told["bad"]["reach"]["mend"]
    assert [call.authorization for call in model.calls] == ["Bearer sk-good"]


def test_one_lane_is_tried_by_its_name(regreen, model):
    skip_without_bubblewrap()
    model.will_answer("m-good", MEND)
    shown = regreen(worker(model), "test", "mine/good", metadata=LANES.format(url=model.url))
    assert (shown.exit_code, shown.stdout.startswith("mine/good  ")) == (0, True), shown.output


def test_without_an_edit_only_the_endpoint_is_asked(regreen, model, tmp_path):
    model.will_answer("m", MEND)
    result = regreen(worker(model), "test", "--no-edit", "--json")
    told = only(result)
    assert (result.exit_code, told["ok"], told["edit"], model.calls) == (0, True, None, ())
    assert not (tmp_path / "data").exists()


def test_without_a_key_nothing_is_tried(regreen):
    told = only(regreen('[backends.claude]\nmodel = "sonnet"\n', "test", "--json", "--no-edit"))
    assert (told["ok"], told["reach"]["detail"]) == (False, "backend claude has no api_key")
    assert "AUTO_CODER_CLAUDE_API_KEY" in told["reach"]["mend"]


def test_what_is_disabled_is_tested_by_name_only(regreen, model):
    skip_without_bubblewrap()
    model.will_answer("m", MEND)
    config = worker(model, enabled=False)
    assert regreen(config, "test").stdout.startswith("No backend is enabled")
    assert only(regreen(config, "test", "mine", "--json"))["ok"]


def test_an_unknown_name_is_refused_with_the_nearest(regreen, model):
    error = regreen(worker(model), "test", "mime").exception
    assert isinstance(error, ConfigError)
    assert 'did you mean "mine"' in str(error)


# --- Endpoints ----------------------------------------------------------------------------------


@contextmanager
def answering(status=200, body="{}", headers=(), context=None):
    """Serve the same answer to every request, and keep the requests' headers."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, dict(self.headers.items())))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_words):
            pass

    class Server(HTTPServer):
        def handle_error(self, *_request):
            pass  # a client that does not trust us hangs up

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("api", "below", "header", "body"),
    [
        (Api.OPENAI, "/models", ("Authorization", f"Bearer {KEY}"), '{"data": [{"id": "m"}]}'),
        (Api.ANTHROPIC, "/v1/models?limit=1000", ("x-api-key", KEY), '{"data": [{"id": "m"}]}'),
        (
            Api.GEMINI,
            "/v1beta/models?pageSize=1000",
            ("x-goog-api-key", KEY),
            '{"models": [{"name": "models/m"}]}',
        ),
    ],
)
def test_each_api_is_asked_for_its_models_in_its_own_way(api, below, header, body):
    with answering(body=body) as (host, seen):
        got = reach(api, f"http://{host}", Secret(KEY))
    ((path, headers),) = seen
    assert (got.ending, got.models, path) == (None, ("m",), below)
    sent = {name.lower(): one for name, one in headers.items()}
    assert sent[header[0].lower()] == header[1]
    assert ("anthropic-version" in sent) == (api is Api.ANTHROPIC)


@pytest.mark.parametrize(
    ("answer", "ending", "words"),
    [
        ({"body": "<html>Welcome</html>"}, Ending.INVALID, "200 with a web page; check base_url"),
        ({"body": "hello"}, Ending.INVALID, "with no JSON"),
        ({"status": 404, "body": "<h1>no</h1>"}, Ending.INVALID, "404 with a web page"),
        ({"status": 404, "body": '{"error": {}}'}, None, "no list of models"),
        ({"status": 302, "headers": [("Location", "https://o.example/x")]}, Ending.INVALID, "o.ex"),
        ({"status": 401, "body": f'{{"error": {{"message": "bad {KEY}"}}}}'}, Ending.AUTH, "401"),
        ({"status": 402}, Ending.USAGE_LIMIT, "402"),
        ({"status": 429}, Ending.RATE_LIMITED, "429"),
        ({"status": 500}, Ending.UNAVAILABLE, "500"),
        ({"body": "[" + "0," * (3 << 20) + "0]"}, Ending.INVALID, "more than a list"),
    ],
)
def test_what_an_endpoint_answers_is_told_without_the_key(answer, ending, words):
    with answering(**answer) as (host, _):
        got = reach(Api.OPENAI, f"http://{host}/v1", Secret(KEY))
    assert got.ending is ending
    assert words in got.detail
    assert KEY not in got.detail


def test_what_keeps_a_call_from_arriving_is_told_apart(tmp_path):
    with answering() as (plain, _), answering(context=own_certificate(tmp_path)) as (own, _):
        details = {
            url: reach(Api.OPENAI, url, None)
            for url in (f"https://{plain}", f"https://{own}", "http://nosuch.invalid/v1")
        }
        malformed = reach(Api.OPENAI, f"http://{plain}", Secret("k\x00ey"))
        gone = plain
    details[f"http://{gone}"] = reach(Api.OPENAI, f"http://{gone}", None)
    assert {one.ending for one in details.values()} == {Ending.NETWORK}
    spoken = [one.detail for one in details.values()]
    assert spoken[0].startswith("TLS: 127.0.0.1 does not speak TLS as it should")
    assert spoken[1].startswith("TLS: the certificate of 127.0.0.1 is not trusted: self-signed")
    assert spoken[2] == "the name nosuch.invalid is not known to DNS"
    assert spoken[3] == "nothing listens at 127.0.0.1: connection refused"
    assert malformed.ending in {Ending.AUTH, Ending.INVALID}


def test_an_endpoint_that_says_nothing_is_given_up(tmp_path):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        url = f"http://127.0.0.1:{silent.server_port}"
        got = reach(Api.OPENAI, url, None, patience_s=0.2)
    assert (got.ending, got.detail) == (Ending.TIMEOUT, "no answer from 127.0.0.1 within 0.2 s")


def own_certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")
    return context


# --- The judgement ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("a - b", "a + b"), ""),
        (("a - b", "b + a  # mended"), ""),
        (('    """Return the sum of a and b."""\n    return a - b', "    return a + b"), ""),
        (("a - b", "a * b"), "changed in another way"),
        (("add(a, b):", "add(a, b) -> None:"), "changed in another way"),
        (("a - b", "a - b\n"), "changed in another way"),
        (("a - b", "a +"), "no Python any more"),
        (("", ""), "left as it was"),
    ],
)
def test_a_line_is_judged_by_what_it_does(change, wrong):
    with trial.scratch() as tree:
        (tree / trial.FILE).write_text(trial.RED.replace(*change))
        judged = trial.judged(tree)
        assert (wrong in judged) if wrong else not judged


def test_what_else_was_made_is_named_and_no_link_is_followed(tmp_path):
    with trial.scratch() as tree:
        (tree / ".notes").write_text("")
        assert trial.others(tree) == (".notes",)
        (tree / trial.FILE).unlink()
        assert trial.judged(tree) == "calc.py is gone"
        (tree / trial.FILE).symlink_to(tmp_path)
        assert trial.judged(tree) == "calc.py is gone"
        (tree / trial.FILE).unlink()
        os.mkfifo(tree / trial.FILE)
        assert trial.judged(tree) == "calc.py is gone"
    assert not tree.exists()
