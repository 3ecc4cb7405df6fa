"""`regreen config explain`: a setting's value, who set it and what it means."""

import json
import re

import pytest
from typer.testing import CliRunner

from bot.cli.config import app
from bot.config import build, load, meanings, patterns, prices, routing, shapes
from bot.config.explained import Book

KEY = "sk-live-canary-0815-4711"
PLAIN = "hush-4711"  # which does not look like a key
FILE = f"""\
[backend]
order = ["qwen", "gemini"]
[backends.qwen]
api_key = "{PLAIN}"
timeout = 30
options = ["-y", "--key={KEY}"]
base_url = "https://user:{KEY}@h.example/v1"
[backends.gemini]
backend_type = "qwen"
["grok-4.1-fast"]
model = "g"
[backend_for_failed_pr]
name = "rescue"
model = "x"
[retry]
cap_s = 30
[retry.retries]
lint = 1
[fallback_system]
overrides = {{ "acme/*" = "qwen" }}
[frameworks.first]
name = "qwen"
priority = 2
[task_routing]
simple_tasks = "qwen"
[agent_chains]
cheap = ["qwen"]
idle = ["gemini"]
[agent_drains]
fix = "cheap"
[prices."gpt-5.*"]
in = 1.25
out = 10
[[failure_patterns]]
type = "infra"
pattern = "x"
"""


@pytest.fixture
def explain(tmp_path):
    path = tmp_path / "llm_config.toml"
    path.write_text(FILE)

    def run(*words, **variables):
        env = {"REGREEN_CONFIG": str(path), **variables}
        return CliRunner().invoke(app, ["explain", *words], env=env)

    return run


def told(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def one_told(result):
    (one,) = told(result)
    return one


def test_a_person_reads_everything_in_a_few_lines(explain):
    shown = explain("retry.cap_s", META_V3_BACKOFF_CAP_SECONDS="9").stdout
    assert shown.splitlines() == [
        "retry.cap_s = 9",
        "  set by:      META_V3_BACKOFF_CAP_SECONDS",
        "  over:        30 (llm_config.toml:16); 60.0 (default)",
        "  means:       the longest wait, in seconds",
        "  holds:       a number from 0",
        "  default:     60",
        "  also set by: META_V3_BACKOFF_CAP_SECONDS",
    ]


def test_a_variable_stands_for_the_setting_that_it_sets(explain):
    named = told(explain("META_V3_BACKOFF_CAP_SECONDS", "--json"))
    assert named == told(explain("retry.cap_s", "--json"))
    assert "backend.default is not set" in explain("AUTO_CODER_DEFAULT_BACKEND").stdout


@pytest.mark.parametrize(
    ("key", "value", "origin"),
    [
        ("retry.base_s", 1.0, "default"),
        ("regreen.autofix", True, "REGREEN_ENV=development"),
        ("retry.retries.lint", 1, "llm_config.toml:18"),
        ("retry.retries.policy", None, ""),
        ("backend.order", ["qwen", "gemini"], "llm_config.toml:2"),
        ("backends.qwen.timeout", 30.0, "llm_config.toml:5"),
        ("qwen.timeout", 30.0, "llm_config.toml:5"),
        ("backends.qwen.model", "qwen3-coder-plus", "default"),
        ("backends.grok-4.1-fast.model", "g", "llm_config.toml:11"),
        ("backends.gemini.url", None, ""),
        ("backend_for_failed_pr.model", "x", "llm_config.toml:14"),
        ("fallback_system.overrides.acme/*", "qwen", "llm_config.toml:20"),
        ("frameworks.first.priority", 2, "llm_config.toml:23"),
        ("task_routing.simple_tasks", "qwen", "llm_config.toml:25"),
        ("task_routing.lint", None, ""),
        ("agent_chains.cheap", ["qwen"], "llm_config.toml:27"),
        ("agent_drains.fix", "cheap", "llm_config.toml:30"),
        ("prices.gpt-5.*.out", 10.0, "llm_config.toml:33"),
        ("prices.gpt-5.*.cache_read", None, ""),
        ("agent_chain.max_retries", 3, "default"),
        ("failure_patterns.type", ["infra"], "llm_config.toml:34"),
    ],
)
def test_the_value_in_force_and_who_set_it(explain, key, value, origin):
    one = one_told(explain(key, "--json"))
    assert one["value"] == value
    assert one["origin"].rpartition("/")[2] == origin
    assert one["meaning"]


def test_what_is_inherited_says_from_whom(explain):
    one = one_told(explain("backends.gemini.options", "--json"))
    assert (one["inherited"], one["origin"].rpartition(":")[2]) == ("backends.qwen", "6")
    assert "inherited from backends.qwen" in explain("backends.gemini.options").stdout


def test_what_an_environment_variable_could_set_is_named(explain):
    assert one_told(explain("backends.grok-4.1-fast.openai_api_key", "--json"))["variables"] == [
        "AUTO_CODER_GROK_4_1_FAST_OPENAI_API_KEY",
        "AUTO_CODER_OPENAI_API_KEY",
    ]
    named = one_told(explain("backend_for_failed_pr.api_key", "--json"))["variables"]
    assert named == ["AUTO_CODER_RESCUE_API_KEY"]
    assert one_told(explain("retry.total_attempts", "--json"))["variables"] == [
        "META_V3_MAX_TOTAL_ATTEMPTS",
        "REGREEN_ENV",
    ]


def test_a_variable_of_a_backend_is_the_one_that_the_loader_reads(explain):
    for key in ("backends.grok-4.1-fast.api_key", "backend_for_failed_pr.openai_base_url"):
        name = one_told(explain(key, "--json"))["variables"][0]
        assert one_told(explain(key, "--json", **{name: "http://x"}))["origin"] == name


def test_what_has_no_effect_says_so(explain):
    assert "note:        " in explain("backend.order").stdout
    assert "no drain of [agent_drains] names it" in explain("agent_chains.idle").stdout


@pytest.mark.parametrize("key", ["backends", "qwen", "backends.qwen.api_key", "backends.qwen"])
def test_no_secret_is_shown(explain, key):
    for words in ((key,), (key, "--json")):
        result = explain(*words, AUTO_CODER_OPENAI_API_KEY=KEY)
        assert result.exit_code == 0
        assert KEY not in result.output
        assert PLAIN not in result.output
        assert "***" in result.output


def test_a_section_lists_its_settings(explain):
    about, blank, *shown = explain("budget").stdout.splitlines()
    assert about.startswith("what models may cost. Days are those of UTC. Before a call its ")
    assert "a call that would break a cap is refused; the run then waits" in about
    assert blank == ""
    assert shown[:2] == ["budget.per_attempt_usd = null  (default)", "    USD for one attempt"]
    assert len(shown) == 2 * len(shapes.keys_of(shapes.BudgetKeys))
    qwen = explain("backends.qwen").stdout
    assert "backends.qwen.timeout = 30.0  (llm_config.toml:5)\n" in qwen
    assert "not set: openai_api_key" in qwen
    assert [one["key"] for one in told(explain("attempts", "--json"))] == [
        "attempts.trusted_markers"
    ]


@pytest.mark.parametrize(
    ("section", "about"),
    [
        ("review", "other models look at it"),
        ("fallback_system", "how a backend is chosen and left. What each strategy and each limit"),
        (
            "agent_drains",
            "who does which job. A chain is a list of backends in the order of trying; a drain is",
        ),
        ("backends.qwen", "a backend"),
        ("qwen", "a backend"),
        ("failure_patterns", "your own evidence. One section for each pattern."),
    ],
)
def test_a_section_says_what_it_is_for(explain, section, about):
    told = explain(section).stdout.splitlines()[0]
    assert told.startswith(about)
    assert not told.endswith(":"), "what only begins a list is left out"


@pytest.mark.parametrize("part", ["retry.retries", "regreen", "budget.per_day_usd"])
def test_what_is_no_section_or_is_plain_says_only_what_its_keys_mean(explain, part):
    assert explain(part).stdout.startswith(part)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("retry.cap", "retry.cap_s"),
        ("budgets", "budget"),
        ("backends.qwen.timeuot", "backends.qwen.timeout"),
        ("xyzzy", ""),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(explain, key, near):
    result = explain(key)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{key} is no setting" in result.stderr
    assert near in result.stderr


def test_a_broken_file_is_told_with_its_line(explain, tmp_path):
    (tmp_path / "llm_config.toml").write_text("[retry]\ncap_s = 'x'\n")
    result = explain("retry.cap_s")
    assert result.exit_code == 1
    assert "llm_config.toml:2: retry.cap_s must be a number" in result.stderr


def test_every_key_that_is_known_has_a_meaning_and_says_what_it_holds(tmp_path):
    path = tmp_path / "llm_config.toml"
    path.write_text(FILE)
    found, settings = load.explained(path, {})
    book = Book(load.document(path), found, settings)
    empty = [key for key in book.keys if not all(one.meaning for one in book.look_up(key))]
    assert empty == []
    assert set(settings) <= set(book.keys)
    assert set(build.VARIABLES.values()) <= set(book.keys)


def test_every_row_of_the_page_is_a_key_of_a_shape():
    known = {section: shapes.keys_of(shape) for section, shape in shapes.OWN_SECTIONS.items()}
    known |= {
        "backend": shapes.keys_of(shapes.OrderKeys),
        meanings.BACKEND: shapes.keys_of(shapes.BackendKeys),
        meanings.FALLBACK: shapes.keys_of(shapes.FallbackKeys),
        "agent_chain": shapes.keys_of(shapes.AgentChainKeys),
        meanings.DRAINS: tuple(meanings_of_drains()),
        meanings.PRICE: shapes.keys_of(prices.PriceKeys),
        meanings.FRAMEWORK: shapes.keys_of(shapes.FrameworkKeys),
        patterns.SECTION: ("type", "pattern", "confidence", "tool", "name"),
        "task_routing": routing.KINDS,
    }
    strangers = [row for row in meanings.meanings() if row[1] not in known.get(row[0], ())]
    assert strangers == []


def meanings_of_drains():
    return {key for section, key in meanings.meanings() if section == meanings.DRAINS}


def test_what_the_page_calls_a_default_is_the_default(tmp_path):
    (tmp_path / "llm_config.toml").write_text("")
    _, settings = load.explained(tmp_path / "llm_config.toml", {"REGREEN_ENV": "staging"})
    wrong = []
    for (section, key), meaning in meanings.meanings().items():
        value, plain = settings.value(f"{section}.{key}"), meaning.default
        if isinstance(value, bool) and section in shapes.OWN_SECTIONS:
            wrong += [] if plain.startswith(str(value).lower()) else [(section, key, plain)]
        elif isinstance(value, int | float) and section in shapes.OWN_SECTIONS:
            number = re.match(r"[\d.]+", plain)
            wrong += [] if number and float(number[0]) == value else [(section, key, plain)]
    assert wrong == []
