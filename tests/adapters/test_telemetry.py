"""Logs, metrics and error reports: what they say, and that no secret leaves in them."""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import sentry_sdk
import structlog
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from bot.domain.errors import TryLater
from bot.domain.values import Secret
from bot.telemetry import logs, sentry
from bot.telemetry.metrics import PrometheusTelemetry
from bot.telemetry.redact import redactor

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc\n-----END RSA PRIVATE KEY-----\n"
LONG = "ghs_" + "A1b2-" * 103 + "." + "x"  # installation tokens may have 520 characters


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A stream to log to; afterwards logging is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestRedaction:
    @pytest.mark.parametrize(
        "secret",
        [
            "ghp_" + "a" * 36,
            LONG,
            "github_pat_" + "a" * 60,
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxMjM0NTYifQ.c2lnbmF0dXJlLXRleHQ",
            "sk-proj-abcdefghijklmnop",
            "AKIAABCDEFGHIJKLMNOP",
            KEY.strip(),
        ],
        ids=lambda secret: secret[:12],
    )
    def test_what_looks_like_a_token_is_hidden(self, secret: str):
        assert redactor()(f"before {secret} after") == "before *** after"

    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
            ("x-api-key: abcdefgh", "x-api-key: ***"),
            (
                "https://x-access-token:hunter22@github.com/o/r",
                "https://x-access-token:***@github.com/o/r",
            ),
            ("postgresql://me:geheim1@db/regreen", "postgresql://me:***@db/regreen"),
        ],
    )
    def test_what_stands_where_a_secret_stands_is_hidden(self, text: str, clean: str):
        assert redactor()(text) == clean

    @pytest.mark.parametrize(
        "text",
        [
            "commit 0123456789012345678901234567890123456789 of octo/hello#7",
            "see https://github.com/octo/hello/pull/7",
            "a ghs_ prefix alone, sk-learn, and task-runner",
        ],
    )
    def test_ordinary_text_stays(self, text: str):
        assert redactor([Secret(""), Secret("abc")])(text) == text

    def test_known_secrets_are_hidden_however_deep_and_however_spelled(self):
        redact = redactor([Secret("correct horse"), Secret(KEY)])
        found = redact({"a": ["correct horse", {"b": KEY.replace("\n", "\\n")}], "n": 1, "z": None})
        assert found == {"a": ["***", {"b": found["a"][1]["b"]}], "n": 1, "z": None}
        assert "MIIEp" not in str(found)
        assert redact(b"correct horse") == "***"
        assert redact(ValueError("correct horse")) == "***"


class TestLogs:
    def test_json_lines_hold_labels_and_no_secret(self, stream: io.StringIO):
        logs.configure(secrets=[Secret("hunter2hunter2")], stream=stream)
        structlog.stdlib.get_logger("regreen").info("pushed", pull="o/r#1", url="x hunter2hunter2")
        (line,) = lines(stream)
        assert (line["event"], line["pull"], line["url"]) == ("pushed", "o/r#1", "x ***")
        assert line["level"] == "info"
        assert line["at"].endswith("Z")

    def test_the_standard_library_is_routed_through(self, stream: io.StringIO):
        logs.configure(secrets=[Secret("hunter2hunter2")], stream=stream)
        logging.getLogger("uvicorn.error").warning("bad %s", "hunter2hunter2")
        assert [(line["event"], line["logger"]) for line in lines(stream)] == [
            ("bad ***", "uvicorn.error")
        ]

    def test_a_traceback_is_one_line_of_json_without_secrets(self, stream: io.StringIO):
        logs.configure(stream=stream)
        try:
            int(f"token {LONG}")
        except ValueError:
            structlog.stdlib.get_logger("regreen").exception("failed")
        (line,) = lines(stream)
        assert "ValueError: invalid literal" in line["exception"]
        assert "ghs_" not in stream.getvalue()

    def test_the_console_reads_like_a_sentence(self, stream: io.StringIO):
        logs.configure(log_format="console", stream=stream)
        logging.getLogger("regreen").info("Switched to fallback backend for PR #123 (attempt 3)")
        assert "Switched to fallback backend for PR #123 (attempt 3)" in stream.getvalue()
        assert not stream.getvalue().startswith("{")

    def test_a_terminal_gets_the_console(self, stream: io.StringIO):
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        terminal = Terminal()
        logs.configure(stream=terminal)
        logging.getLogger("regreen").warning("hello")
        assert "hello" in terminal.getvalue()
        assert "\x1b[" in terminal.getvalue()

    def test_cancelled_runs_leave_no_traceback(self, stream: io.StringIO):
        class DBOSWorkflowCancelledError(BaseException):
            pass

        logs.configure(stream=stream)
        for error in (DBOSWorkflowCancelledError("superseded"), RuntimeError("real")):
            logging.getLogger("dbos").error("in background workflow", exc_info=error)
        assert ["RuntimeError" in line["exception"] for line in lines(stream)] == [True]

    def test_configuring_twice_logs_once(self, stream: io.StringIO):
        logs.configure(stream=stream)
        logs.configure(stream=stream)
        logging.getLogger("regreen").info("once")
        assert len(lines(stream)) == 1


def sample(telemetry: PrometheusTelemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, labels)


class TestMetrics:
    def test_attempts_are_counted_by_signal_and_outcome(self):
        telemetry = PrometheusTelemetry()
        telemetry.event(
            "autofix_attempt", signal_type="lint", outcome="patch_applied", pull="o/r#1"
        )
        telemetry.event(
            "autofix_attempt", signal_type="lint", outcome="patch_applied", pull="o/r#2"
        )
        counted = sample(
            telemetry, "autofix_attempts_total", signal_type="lint", outcome="patch_applied"
        )
        assert counted == 2

    def test_other_events_are_counted_by_name_and_sentences_are_not(self, stream: io.StringIO):
        logs.configure(stream=stream)
        telemetry = PrometheusTelemetry()
        telemetry.event("superseded", pull="o/r#1")
        telemetry.event("Using fallback backend: gpt-9")
        assert sample(telemetry, "regreen_events_total", kind="superseded") == 1
        assert "gpt-9" not in telemetry.render()[0].decode()
        assert [line["event"] for line in lines(stream)] == [
            "superseded",
            "Using fallback backend: gpt-9",
        ]

    def test_durations_are_kept_by_operation(self):
        telemetry = PrometheusTelemetry()
        telemetry.took("verify", timedelta(seconds=3), pull="o/r#1")
        telemetry.took("intake", timedelta(milliseconds=2))
        name = "autofix_processing_seconds"
        assert sample(telemetry, f"{name}_sum", operation_type="verify") == 3
        assert sample(telemetry, "intake_seconds_bucket", le="0.0025") == 1

    def test_a_step_of_a_repair_is_one_line_with_its_fields(self, stream: io.StringIO):
        logs.configure(stream=stream)
        telemetry = PrometheusTelemetry()
        fields = {
            "run_id": "r1",
            "step_id": "r1/lint",
            "signal_type": "lint",
            "strategy": "patch",
            "outcome": "patch_applied",
            "attempt": "2",
        }
        telemetry.event("autofix", **fields)
        (line,) = lines(stream)
        about = {"event", "at", "level", "logger"}
        assert {name: line[name] for name in line.keys() - about} == fields
        assert line["event"] == "autofix"
        assert sample(telemetry, "regreen_events_total", kind="autofix") == 1
        assert "r1" not in telemetry.render()[0].decode()

    def test_new_plans_and_approvals_are_counted(self):
        telemetry = PrometheusTelemetry()
        assert sample(telemetry, "autofix_replans_total") == 0
        telemetry.event("autofix_replan")
        telemetry.event("approval_request", gate_type="security", status="granted")
        assert sample(telemetry, "autofix_replans_total") == 1
        granted = {"gate_type": "security", "status": "granted"}
        assert sample(telemetry, "approval_requests_total", **granted) == 1

    def test_waiting_before_a_try_is_no_operation(self):
        telemetry = PrometheusTelemetry()
        telemetry.took("autofix_backoff", timedelta(seconds=20))
        telemetry.took("autofix_backoff", timedelta(seconds=40))
        assert sample(telemetry, "autofix_backoff_seconds_sum") == 60
        assert sample(telemetry, "autofix_backoff_seconds_bucket", le="30.0") == 1
        assert "autofix_processing_seconds_count" not in telemetry.render()[0].decode()

    @pytest.mark.parametrize(
        ("counts", "ratio"),
        [
            pytest.param({"green": 3, "gave_up": 1}, 0.75, id="gave up"),
            pytest.param({"green": 1, "blocked": 2, "waiting_person": 1}, 0.25, id="asked"),
            pytest.param({"green": 1, "working": 9, "superseded": 9, "stopped": 9}, 1, id="others"),
            pytest.param({"gave_up": 2}, 0, id="none"),
            pytest.param({"working": 1}, None, id="nothing ended"),
            pytest.param({}, None, id="no runs"),
        ],
    )
    def test_success_is_the_share_of_green_runs(self, counts: dict[str, int], ratio: float | None):
        telemetry = PrometheusTelemetry(lambda: counts)
        assert sample(telemetry, "autofix_success_ratio") == ratio

    def test_runs_are_counted_when_somebody_looks(self):
        def runs_by_state() -> Mapping[str, int]:
            return {"working": 2, "green": 40}

        telemetry = PrometheusTelemetry(runs_by_state)
        assert sample(telemetry, "runs", state="green") == 40

    def test_a_store_out_of_reach_does_not_hide_the_rest(self):
        def runs_by_state() -> Mapping[str, int]:
            raise TryLater("the database is down")

        telemetry = PrometheusTelemetry(runs_by_state)
        telemetry.event("delivery", event="ping", outcome="accepted")
        assert 'deliveries_total{event="ping",outcome="accepted"} 1.0' in (
            telemetry.render()[0].decode()
        )

    def test_two_applications_do_not_share_a_registry(self):
        one, two = PrometheusTelemetry(), PrometheusTelemetry()
        one.event("superseded")
        assert sample(two, "regreen_events_total", kind="superseded") is None


class Kept(Transport):
    """A transport that keeps what it should send."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events.append(envelope.serialize().decode())


@pytest.fixture
def kept() -> Iterator[Kept]:
    yield Kept()
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


class TestSentry:
    def test_without_an_address_nothing_happens(self):
        assert not sentry.configure("", environment="production", release="1")
        assert not sentry_sdk.is_initialized()

    def test_errors_are_reported_without_secrets(self, kept: Kept):
        assert sentry.configure(
            "http://key@127.0.0.1:9/1",
            environment="production",
            release="1",
            secrets=[Secret("hunter2hunter2")],
            transport=kept,
        )
        try:
            int(f"hunter2hunter2 {LONG}")
        except ValueError as error:
            sentry_sdk.capture_exception(error)
        sentry_sdk.flush()
        (event,) = kept.events
        assert "ValueError" in event
        assert "***" in event
        assert "hunter2" not in event
        assert "ghs_" not in event
