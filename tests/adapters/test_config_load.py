"""The settings as they are read: auto-coder's files as they stand, faults by file, line and key."""

import json
import re
from operator import attrgetter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli.config import app
from bot.config import load
from bot.config.schema import (
    ApprovalPolicy,
    BackendName,
    PlanningPolicy,
    Policy,
    QaPolicy,
    RetryPolicy,
)
from bot.domain.errors import ConfigError
from bot.domain.values import Secret
from bot.routing.chain import route

SAMPLES = Path(__file__).parent / "samples" / "config"
EXAMPLE = Path(__file__).parents[2] / "llm_config.example.toml"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n"


@pytest.fixture
def read(tmp_path):
    """Return a reader of a configuration given as text."""

    def read(text, **environ):
        path = tmp_path / "llm_config.toml"
        path.write_text(text, encoding="utf-8")
        return load.configuration(path, environ)

    return read


@pytest.fixture
def fault(read, tmp_path):
    """Return a reader of the fault of a configuration, without the folder's name."""

    def fault(text, **environ):
        with pytest.raises(ConfigError) as caught:
            read(text, **environ)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return fault


def names(chain):
    return [one.name for one in chain]


# --- auto-coder's files --------------------------------------------------------------------------


def test_the_guides_first_block_gives_a_fallback():
    found = load.configuration(SAMPLES / "fallback_alone.toml", {})
    (fallback,) = found.fallback
    assert fallback.model == "gemini-2.5-flash"
    assert fallback.backend_type == "gemini"
    assert fallback.api_key == Secret("your-fallback-api-key")
    assert fallback.temperature == 0.2
    assert fallback.timeout_s == 120
    assert fallback.usage_limit_retry_count == 3
    assert fallback.usage_limit_retry_wait_s == 30
    assert found.policy.primary == ()


def test_the_guides_second_block_switches_at_three():
    found = load.configuration(SAMPLES / "qwen_then_gemini.toml", {})
    assert names(found.policy.primary) == ["qwen", "gemini", "codex"]
    assert names(route(found.policy, 2, 123).chain) == ["qwen", "gemini", "codex"]
    chosen = route(found.policy, 3, 123)
    assert chosen.chain == (BackendName("backend_for_failed_pr", "gemini-2.5-flash"),)
    assert chosen.notices == (
        "Switched to fallback backend for PR #123 (attempt 3)",
        "Using fallback backend: gemini-2.5-flash",
    )
    assert found.backends["gemini"].model == "gemini-2.5-pro", "the fallback leaves it alone"


def test_keys_that_were_never_filled_in_are_told():
    found = load.configuration(SAMPLES / "qwen_then_gemini.toml", {})
    told = [one.partition(".toml:")[2] for one in found.warnings if "placeholder" in one]
    assert told == [
        "14: backends.gemini.api_key is a placeholder, not a key",
        "21: backend_for_failed_pr.api_key is a placeholder, not a key",
    ]


@pytest.mark.parametrize(
    ("text", "primary"),
    [
        pytest.param("[backends.b]\n[backends.a]\n", ["b", "a"], id="no order: as they stand"),
        pytest.param('[a]\nmodel="x"\n[b]\nenabled=true\n', ["a", "b"], id="at the top level"),
        pytest.param(
            '[backend]\ndefault="b"\n[backends.a]\n[backends.b]\n', ["b", "a"], id="default"
        ),
        pytest.param(
            '[backend]\ndefault="b"\norder=["a","b","c"]\n[backends.a]\n[backends.b]\n[backends.c]',
            ["b", "c", "a"],
            id="the default is the head of the rotation",
        ),
        pytest.param(
            '[backend]\ndefault="codex"\norder=["a"]\n[backends.a]', ["codex", "a"], id="joins"
        ),
        pytest.param('[backend]\norder=["a","a"]\n[backends.a]\n', ["a"], id="named twice"),
        pytest.param(
            '[backend]\norder=["a","b"]\n[backends.a]\nenabled=false\n[backends.b]\n',
            ["b"],
            id="disabled",
        ),
        pytest.param(
            '[grok-4.1-fast]\nmodel="x"\n[backends.kimi-k2.5]\n[backend]\n'
            'order=["kimi-k2.5","grok-4.1-fast"]',
            ["kimi-k2.5", "grok-4.1-fast"],
            id="names with dots, not quoted",
        ),
        pytest.param('["grok-4.1"]\nmodel="x"\n', ["grok-4.1"], id="quoted"),
        pytest.param(
            '[grok-4]\nmodel="x"\n[grok-4.1]\nmodel="y"\n', ["grok-4", "grok-4.1"], id="both"
        ),
        pytest.param('[backend]\norder=["claude"]\n', ["claude"], id="an agent without a section"),
        pytest.param("[message_backend]\ndefault='x'\n[backend_for_noedit]\n", [], id="others"),
    ],
)
def test_the_primary_chain(read, text, primary):
    assert names(read(text).policy.primary) == primary


@pytest.mark.parametrize("section", ["backend_for_failed_pr", "backend_with_high_score"])
@pytest.mark.parametrize(
    ("keys", "fallback"),
    [
        pytest.param('model="m"', ["{section}:m"], id="inline"),
        pytest.param('name="z"\nmodel="m"', ["z:m"], id="named"),
        pytest.param('backend_type="qwen"', ["{section}:qwen3-coder-plus"], id="default model"),
        pytest.param('name="b"', ["b:mb"], id="an existing backend"),
        pytest.param('order=["b","a"]', ["b:mb", "a:ma"], id="an order"),
        pytest.param('order=["b"]\nmodel="m"', ["b:mb"], id="the order wins"),
        pytest.param('order=["off","b"]', ["b:mb"], id="a disabled one is left out"),
        pytest.param('model="m"\nenabled=false', [], id="disabled"),
        pytest.param('order=["b"]\nenabled=false', [], id="disabled order"),
    ],
)
def test_the_fallback_chain(read, section, keys, fallback):
    backends = '[backends.a]\nmodel="ma"\n[backends.b]\nmodel="mb"\n[backends.off]\nenabled=false\n'
    found = read(f'[backend]\norder=["a"]\n{backends}[{section}]\n{keys}\n')
    assert [f"{one.name}:{one.model}" for one in found.policy.fallback] == [
        one.format(section=section) for one in fallback
    ]
    assert [f"{one.name}:{one.model}" for one in found.fallback] == [
        one.format(section=section) for one in fallback
    ]
    assert names(found.policy.primary) == ["a"]
    assert section not in found.backends


def test_the_fallback_does_not_leak_into_a_rotation_of_everything(read):
    text = '[backends.a]\n[backends.b]\n[backend_for_failed_pr]\norder=["b"]\n'
    found = read(text)
    assert names(found.policy.primary) == ["a"]
    assert names(found.policy.fallback) == ["b"]
    assert names(read(f'[backend]\ndefault="a"\n{text}').policy.primary) == ["a"]


def test_the_newer_name_of_the_fallback_wins_and_it_is_said(read):
    text = '[backend_for_failed_pr]\nmodel="old"\n[backend_with_high_score]\nmodel="new"\n'
    found = read(text)
    assert [one.model for one in found.fallback] == ["new"]
    assert any("[backend_for_failed_pr] is ignored" in one for one in found.warnings)


def test_default_models_and_types(read):
    found = read(
        "[backends.gemini]\n[backends.qwen]\n[backends.auggie]\n[backends.claude]\n"
        '[backends.codex]\n[backends.mine]\ncommand="fix"\n[backends.api]\nbase_url="http://x"\n'
        '[backends.other]\nbackend_type="claude"\n'
    )
    assert {one.name: (one.backend_type, one.model) for one in found.backends.values()} == {
        "gemini": ("gemini", "gemini-2.5-pro"),
        "qwen": ("qwen", "qwen3-coder-plus"),
        "auggie": ("auggie", "GPT-5"),
        "claude": ("claude", "sonnet"),
        "codex": ("codex", "codex"),
        "mine": ("command", "mine"),
        "api": ("patch_worker", "api"),
        "other": ("claude", "sonnet"),
    }


@pytest.mark.parametrize("key", ["options", "options_for_noedit"])
def test_options_are_inherited_from_the_backend_that_the_type_names(read, key):
    found = read(
        f'[backends.codex]\n{key}=["-x"]\n[backends.a]\nbackend_type="codex"\n'
        f'[backends.b]\nbackend_type="codex"\n{key}=[]\n'
    )
    assert getattr(found.backends["a"], key) == ("-x",)
    assert getattr(found.backends["b"], key) == ()
    assert found.origin[f"backends.a.{key}"].endswith(f"llm_config.toml:2 (backends.codex.{key})")
    assert not any("no effect" in one for one in found.warnings)


def test_options_for_questions_are_inherited_by_themselves(read):
    found = read(
        '[backends.codex]\noptions=["-x"]\noptions_for_noedit=["-q"]\noptions_for_resume=["-r"]\n'
        '[backends.a]\nbackend_type="codex"\noptions=[]\n'
        '[backends.b]\nbackend_type="codex"\noptions_for_noedit=[]\n'
    )
    codex, a, b = (found.backends[name] for name in ("codex", "a", "b"))
    assert (codex.options_for_noedit, codex.options_for_resume) == (("-q",), ("-r",))
    assert (a.options, a.options_for_noedit, a.options_for_resume) == ((), ("-q",), ())
    assert (b.options, b.options_for_noedit) == (("-x",), ())


def test_variables_win_over_the_file_and_shared_ones_do_not(read):
    text = '[backends.grok-4.1-fast]\napi_key="f"\n[backends.b]\nopenai_base_url="http://file"\n'
    found = read(
        text,
        AUTO_CODER_GROK_4_1_FAST_API_KEY="k",
        AUTO_CODER_OPENAI_BASE_URL="http://shared",
        AUTO_CODER_OPENAI_API_KEY="shared",
        AUTO_CODER_B_OPENAI_API_KEY="own",
        AUTO_CODER_DEFAULT_BACKEND="b",
    )
    grok, b = found.backends["grok-4.1-fast"], found.backends["b"]
    assert grok.api_key == Secret("k")
    assert grok.openai_api_key == Secret("shared")
    assert grok.openai_base_url == "http://shared"
    assert b.openai_api_key == Secret("own")
    assert b.openai_base_url == "http://file"
    assert names(found.policy.primary) == ["b", "grok-4.1-fast"]
    origin = found.origin
    assert origin["backends.grok-4.1-fast.api_key"] == "AUTO_CODER_GROK_4_1_FAST_API_KEY"
    assert origin["backends.b.openai_base_url"].endswith("llm_config.toml:4")
    assert origin["backend.default"] == "AUTO_CODER_DEFAULT_BACKEND"


def test_the_fallbacks_key_may_come_from_the_environment(read):
    found = read(
        '[backend_for_failed_pr]\nmodel="m"\n', AUTO_CODER_BACKEND_FOR_FAILED_PR_API_KEY="k"
    )
    assert found.fallback[0].api_key == Secret("k")


# --- our own sections ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "autofix", "total", "per_step"),
    [
        ({}, True, 10, 5),
        ({"REGREEN_ENV": "development"}, True, 10, 5),
        ({"REGREEN_ENV": "Staging"}, True, 6, 3),
        ({"REGREEN_ENV": "production"}, False, 6, 3),
    ],
)
def test_each_environment_has_its_defaults(environment, autofix, total, per_step):
    policy = load.configuration(None, environment).policy
    assert policy.autofix is autofix
    assert policy.retry.total_attempts == total
    assert policy.retry.per_step_attempts == per_step


def test_the_defaults_are_those_of_the_schema():
    assert load.configuration(None, {"REGREEN_ENV": "staging"}).policy == Policy()


def test_a_file_wins_over_the_environments_table_and_a_variable_over_the_file(read):
    text = "[retry]\ntotal_attempts = 4\nper_step_attempts = 2\n[regreen]\nautofix = true\n"
    found = read(text, REGREEN_ENV="production", META_V3_MAX_TOTAL_ATTEMPTS="9")
    assert found.policy.autofix
    assert found.policy.retry.total_attempts == 9
    assert found.policy.retry.per_step_attempts == 2
    assert found.origin["retry.total_attempts"] == "META_V3_MAX_TOTAL_ATTEMPTS"
    assert found.origin["retry.per_step_attempts"].endswith("llm_config.toml:3")
    assert found.origin["retry.cap_s"] == "default"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("FEATURE_META_V3_AUTOFIX", "false", "autofix", False),
        ("FEATURE_META_V3_AUTOFIX", "1", "autofix", True),
        ("META_V3_MAX_PER_STEP_ATTEMPTS", "4", "retry.per_step_attempts", 4),
        ("META_V3_BACKOFF_CAP_SECONDS", "30", "retry.cap_s", 30.0),
        ("AUTOCODER_FEATURE_RETRY_INITIAL_DELAY_S", "2.5", "retry.rejected_base_s", 2.5),
        ("AUTOCODER_FEATURE_RETRY_MAX_DELAY_S", "0", "retry.rejected_cap_s", 0.0),
        ("AUTOCODER_FEATURE_RETRY_EXPONENTIAL_BASE", "3", "retry.rejected_factor", 3.0),
        ("AUTOCODER_FEATURE_RETRY_JITTER", "off", "retry.jitter", False),
        ("AUTOCODER_FEATURE_MAX_SAME_ERROR_STREAK", "5", "retry.same_error", 5),
        ("AUTOCODER_FEATURE_MAX_SAME_DIFF_STREAK", "6", "retry.same_diff", 6),
        ("AUTOCODER_QA_FIX_ENABLED", "0", "qa.feedback", False),
        ("AUTOCODER_QA_SUBAGENT_ENABLED", "1", "qa.enabled", True),
        ("AUTOCODER_QA_MAX_SESSIONS", "7", "qa.max_sessions", 7),
        ("AUTOCODER_QA_SUBAGENT_MAX_ITERATIONS", "4", "qa.max_iterations", 4),
        ("AUTOCODER_PLANNER_ENABLED", "yes", "planning.enabled", True),
    ],
)
def test_the_older_systems_variables(variable, text, key, value):
    found = load.configuration(None, {variable: text})
    assert attrgetter(key)(found.policy) == value
    assert variable in found.origin.values()


def test_own_sections_reach_the_policy(read):
    found = read(
        "[regreen]\nfixers=false\nsettle_s=3\nfallback_after=2\n"
        '[attempts]\ntrusted_markers=["auto-coder"]\n'
        "[retry]\nretries.lint=2\n[retry.multipliers]\ninfra=3\n"
        '[guard]\nmax_files=3\nprotected=["x/**"]\n'
        '[sandbox]\ndriver="none"\npaths=["/opt"]\nmemory_mb=99\nworkers=4\nfetch=["packages.example"]\nfetch_mb=5\nsnapshots_mb=0\n'
        "[qa]\nenabled=true\nmax_sessions=5\n[planning]\nenabled=true\nwithin_s=30\n"
        '[approvals]\nrole="admin"\nremind_s=60\nexpire_s=600\n'
    )
    policy, sandbox = found.policy, found.sandbox
    assert policy.qa == QaPolicy(enabled=True, max_sessions=5)
    assert policy.planning == PlanningPolicy(enabled=True, within_s=30.0)
    assert policy.approvals == ApprovalPolicy("admin", 60.0, 600.0)
    assert (policy.fixers, policy.settle_s, policy.fallback_after) == (False, 3.0, 2)
    assert policy.trusted_markers == ("auto-coder",)
    assert policy.retry.retries["lint"] == 2
    assert policy.retry.retries["transient"] == 3, "the others keep their defaults"
    assert policy.retry.multipliers["infra"] == 3.0
    assert (policy.guard.max_files, policy.guard.max_lines) == (3, 1500)
    assert policy.guard.protected == ("x/**",)
    assert (sandbox.driver, sandbox.paths, sandbox.memory_mb) == ("none", ("/opt",), 99)
    assert sandbox.workers == 4
    assert (sandbox.fetch, sandbox.fetch_mb, sandbox.snapshots_mb) == (("packages.example",), 5, 0)


# --- faults and warnings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            '[backends.qwen]\n# a comment\noptions = [\n  "a",\n]\ntimeout = "abc"\n',
            'llm_config.toml:6: backends.qwen.timeout must be a number, not "abc"',
            id="a number",
        ),
        pytest.param(
            '[backends.q]\ncommand = """\n[not.a.table]\n"""\nmax_retries = 1.5\n',
            "llm_config.toml:5: backends.q.max_retries must be a whole number, not 1.5",
            id="after a text of several lines",
        ),
        pytest.param(
            '[backends.q]\noptions = ["a", 1]\n',
            "llm_config.toml:2: backends.q.options[1] must be text, not 1",
            id="within a list",
        ),
        pytest.param(
            '[grok-4.1-fast]\nenabled = "yes"\n',
            'llm_config.toml:2: grok-4.1-fast.enabled must be true or false, not "yes"',
            id="a name with dots",
        ),
        pytest.param(
            "[backends.q]\napi_key = 123456\n",
            "llm_config.toml:2: backends.q.api_key must be text",
            id="a secret is not shown",
        ),
        pytest.param(
            "[backends]\nq = 3\n",
            "llm_config.toml:2: backends.q must be a table, not 3",
            id="table",
        ),
        pytest.param(
            "backend = 3\n", "llm_config.toml:1: backend must be a table, not 3", id="fixed table"
        ),
        pytest.param(
            "[retry]\n\ntotal_attempts = 0\n",
            "llm_config.toml:3: retry.total_attempts must be a whole number >= 1, not 0",
            id="too small",
        ),
        pytest.param(
            "[retry.retries]\nlint = true\n",
            "llm_config.toml:1: every value of retry.retries must be a whole number",
            id="a table of numbers",
        ),
        pytest.param(
            "[retry]\nflaky_rate = 2\n",
            "llm_config.toml:2: retry.flaky_rate must be a number <= 1.0, not 2",
            id="a share",
        ),
        pytest.param(
            "[regreen]\nbase_look_s = 0\n",
            "llm_config.toml:2: regreen.base_look_s must be a number > 0.0, not 0",
            id="never",
        ),
        pytest.param(
            "[qa]\nenabled = 1\n",
            "llm_config.toml:2: qa.enabled must be true or false, not 1",
            id="a switch",
        ),
        pytest.param(
            "[planning]\nwithin_s = inf\n",
            "llm_config.toml:2: planning.within_s must be a number <= 1000000000.0",
            id="for ever",
        ),
        pytest.param(
            "[approvals]\nrole = 'owner'\n",
            "llm_config.toml:2: approvals.role must be write or admin, not 'owner'",
            id="a role",
        ),
        pytest.param(
            '[planning]\nsynthesis = "cluade"\n',
            'llm_config.toml:2: planning.synthesis names "cluade", which has no section; '
            'did you mean "claude"?',
            id="synthesis",
        ),
        pytest.param(
            "[sandbox]\ndriver = 'gvisor'\n",
            "2: sandbox.driver must be bubblewrap, podman, docker or none, not 'gvisor'",
            id="a choice",
        ),
        pytest.param(
            '[backend]\norder = ["qwne"]\n[backends.qwen]\n',
            'llm_config.toml:2: backend.order names "qwne", which has no section; '
            'did you mean "qwen"?',
            id="order",
        ),
        pytest.param(
            '[backend]\ndefault = "nobody"\n',
            'llm_config.toml:2: backend.default names "nobody", which has no section',
            id="default",
        ),
        pytest.param(
            '[backend_for_failed_pr]\norder = ["nobody"]\n',
            'llm_config.toml:2: backend_for_failed_pr.order names "nobody", which has no section',
            id="fallback's order",
        ),
        pytest.param(
            "[regreen]\n[backend_for_failed_pr]\n",
            "llm_config.toml:2: backend_for_failed_pr needs a model, or an order of backends",
            id="fallback without a model",
        ),
        pytest.param("a = 1\nb = ]\n", "llm_config.toml:2: not valid TOML", id="not TOML"),
        pytest.param("a = 1\na = 2\n", "llm_config.toml:2: not valid TOML", id="a key twice"),
        pytest.param(
            "[guard]\nmax_files = 1\nmax_files = 2\n",
            "llm_config.toml:3: not valid TOML",
            id="a key twice in a table",
        ),
        pytest.param("a = [1,\n", "not valid TOML: the file ends within", id="cut off"),
    ],
)
def test_faults_name_file_line_and_key(fault, text, told):
    assert told in fault(text)


def test_a_fault_of_a_secret_does_not_show_it(fault):
    assert "123456" not in fault("[backends.q]\napi_key = 123456\n")


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("META_V3_MAX_TOTAL_ATTEMPTS", "many", 'must be a whole number, not "many"'),
        ("META_V3_MAX_TOTAL_ATTEMPTS", "0", "must be a whole number >= 1, not 0"),
        ("META_V3_BACKOFF_CAP_SECONDS", "nan", "must be a number >= 0.0"),
        ("META_V3_BACKOFF_CAP_SECONDS", "inf", "must be a number <= 1000000000.0"),
        ("AUTOCODER_FEATURE_RETRY_EXPONENTIAL_BASE", "0.5", "must be a number >= 1.0, not 0.5"),
        ("AUTOCODER_QA_MAX_SESSIONS", "2.5", "must be a whole number"),
        ("AUTOCODER_PLANNER_ENABLED", "maybe", "must be true or false"),
        ("META_V3_BACKOFF_CAP_SECONDS", "x", "must be a number"),
        ("FEATURE_META_V3_AUTOFIX", "perhaps", "must be true or false"),
        ("REGREEN_ENV", "prod", "must be one of development, staging, production"),
        ("AUTO_CODER_DEFAULT_BACKEND", "nobody", 'names "nobody"'),
    ],
)
def test_faults_of_variables_name_them(variable, text, told):
    with pytest.raises(ConfigError) as caught:
        load.configuration(None, {variable: text})
    assert str(caught.value).startswith(variable)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            "[regreen]\nautofx = true\n",
            '2: regreen.autofx is not known and has no effect; did you mean "autofix"?',
            id="key",
        ),
        pytest.param(
            "[retyr]\ncap_s = 1\n", "retyr is not known and has no effect; did you", id="section"
        ),
        pytest.param(
            "[qwen]\nmodle='x'\n", "1: qwen is not known and has no effect", id="not a backend"
        ),
        pytest.param(
            '[backends.q]\nmodle="x"\n', "2: backends.q.modle is not known", id="backend's key"
        ),
        pytest.param(
            '[backend_for_failed_pr]\nmodel="m"\nmodle="x"\n',
            "3: backend_for_failed_pr.modle is not known",
            id="fallback's key",
        ),
        pytest.param("version = 2\n", "1: version is not known", id="at the top"),
        pytest.param(
            "[qa]\nmax_session = 1\n", "2: qa.max_session is not known", id="new section's key"
        ),
        pytest.param(
            "[message_backend.x]\na=1\n",
            "1: [message_backend] has no effect yet",
            id="later tables",
        ),
        pytest.param(
            "[backend_for_noedit]\n", "1: [backend_for_noedit] has no effect yet", id="later too"
        ),
        pytest.param(
            "[backends.q]\nextra_args={a=1}\n",
            "2: backends.q.extra_args has no effect yet",
            id="args",
        ),
        pytest.param(
            '[backend]\norder=["q"]\n[backends.q]\nenabled=false\n',
            "[backend] names q, which is not enabled",
            id="disabled",
        ),
        pytest.param(
            '[q]\nmodel="x"\n[backends.q]\n', "1: [q] is ignored beside [backends.q]", id="twice"
        ),
        pytest.param("", "only the deterministic fixers", id="no backend"),
    ],
)
def test_what_is_odd_is_warned_about(read, text, told):
    assert any(told in one for one in read(text).warnings)


def test_an_auto_coder_file_gives_no_needless_warnings(read):
    text = '[backend]\ndefault="qwen"\norder=["qwen"]\n[backends.qwen]\nmodel="q"\n'
    assert read(text).warnings == ()


def test_no_file_at_all_leaves_the_fixers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load.configuration(None, {"HOME": str(tmp_path)})
    assert found.source is None
    assert found.policy.primary == found.policy.fallback == ()
    assert found.policy.fixers
    assert any("there is no llm_config.toml" in one for one in found.warnings)


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load.configuration(None, {"REGREEN_CONFIG": str(tmp_path / "none.toml")})


def test_the_order_of_looking(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    places = [
        tmp_path / "explicit.toml",
        tmp_path / "variable.toml",
        here / "llm_config.toml",
        here / ".auto-coder" / "llm_config.toml",
        home / ".auto-coder" / "llm_config.toml",
    ]
    for index, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"[guard]\nmax_files = {index + 1}\n")
    monkeypatch.chdir(here)
    environ = {"HOME": str(home)}
    named = environ | {"REGREEN_CONFIG": str(places[1])}

    def seen(path, env):
        return load.configuration(path, env).policy.guard.max_files

    assert seen(places[0], named) == 1
    assert seen(None, named) == 2
    assert seen(None, environ) == 3
    places[2].unlink()
    assert seen(None, environ) == 4
    places[3].unlink()
    assert seen(None, environ) == 5


# --- the example ---------------------------------------------------------------------------------


def test_the_example_loads_without_a_warning_but_for_what_it_turns_off():
    found = load.configuration(EXAMPLE, {})
    assert names(found.policy.primary) == ["primary"]
    assert names(found.fallback) == ["backend_for_failed_pr"]
    assert [one.partition(": ")[2] for one in found.warnings] == [
        "[backend] names second, which is not enabled"
    ]


def test_the_examples_commented_lines_are_valid_too(read):
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    shown = [
        line.removeprefix("# ") if re.match(r"# (\w+ = |\[)", line) else line
        for line in lines
        if not line.startswith(("# order =", "# api_key ="))
    ]
    found = read("\n".join(shown), REGREEN_ENV="staging")
    policy = found.policy
    assert (policy.retry, policy.qa, policy.planning, policy.approvals) == (
        RetryPolicy(),
        QaPolicy(),
        PlanningPolicy(),
        ApprovalPolicy(),
    )
    assert names(found.drains.chains["fix"].backends) == ["primary"]
    assert not any("not known" in one for one in found.warnings)


# --- the server's environment --------------------------------------------------------------------

SERVER = {
    "REGREEN_APP_ID": "12",
    "REGREEN_PRIVATE_KEY": PEM,
    "REGREEN_WEBHOOK_SECRET": "f00dbabe-cafe",
}


def test_the_server_needs_three_variables_and_has_defaults_for_the_rest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load.server(SERVER)
    assert (found.app_id, found.host, found.port) == (12, "127.0.0.1", 8080)
    assert found.private_key == Secret(PEM)
    assert found.webhook_secrets == (Secret("f00dbabe-cafe"),)
    assert found.github_url == "https://api.github.com"
    assert found.data_dir == tmp_path / ".regreen"
    assert found.database_url == f"sqlite:///{tmp_path}/.regreen/regreen.db"
    assert found.environment == "development"
    assert found.config_path is None
    assert "f00dbabe" not in repr(found)
    assert "BEGIN" not in repr(found)


def test_the_server_reads_all_its_variables(tmp_path):
    found = load.server(
        SERVER
        | {
            "REGREEN_WEBHOOK_SECRET": "old-one-1234, new-one-5678",
            "REGREEN_GITHUB_URL": "http://127.0.0.1:9000/",
            "REGREEN_DATABASE_URL": "postgres://me@db/regreen",
            "REGREEN_DATA_DIR": str(tmp_path),
            "REGREEN_CONFIG": "/etc/llm.toml",
            "REGREEN_HOST": "0.0.0.0",
            "REGREEN_PORT": "80",
            "REGREEN_ENV": "production",
            "SENTRY_DSN": "https://x@sentry/1",
        }
    )
    assert [one.reveal() for one in found.webhook_secrets] == ["old-one-1234", "new-one-5678"]
    assert found.github_url == "http://127.0.0.1:9000"
    assert found.database_url == "postgresql://me@db/regreen"
    assert (found.data_dir, found.config_path) == (tmp_path, Path("/etc/llm.toml"))
    assert (found.host, found.port, found.environment) == ("0.0.0.0", 80, "production")
    assert found.sentry_dsn == "https://x@sentry/1"


@pytest.mark.parametrize("form", ["path", "escaped"])
def test_the_key_may_be_a_path_or_have_escaped_line_ends(tmp_path, form):
    (tmp_path / "app.pem").write_text(PEM)
    value = str(tmp_path / "app.pem") if form == "path" else PEM.replace("\n", "\\n")
    assert load.server(SERVER | {"REGREEN_PRIVATE_KEY": value}).private_key == Secret(PEM)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("REGREEN_APP_ID", "", "is not set"),
        ("REGREEN_APP_ID", "abc", "must be a whole number"),
        ("REGREEN_APP_ID", "0", "from 1"),
        ("REGREEN_PRIVATE_KEY", "", "is not set"),
        ("REGREEN_PRIVATE_KEY", "/nowhere/app.pem", "cannot be read"),
        ("REGREEN_PRIVATE_KEY", "-----BEGIN CERTIFICATE-----", "no PEM private key"),
        ("REGREEN_WEBHOOK_SECRET", "", "token_hex"),
        ("REGREEN_WEBHOOK_SECRET", "secret", "token_hex"),
        ("REGREEN_WEBHOOK_SECRET", "short", "token_hex"),
        ("REGREEN_WEBHOOK_SECRET", "changeme", "token_hex"),
        ("REGREEN_WEBHOOK_SECRET", "Change-Me-123", "token_hex"),
        ("REGREEN_WEBHOOK_SECRET", "development", "token_hex"),
        ("REGREEN_WEBHOOK_SECRET", "12345678", "token_hex"),
        ("REGREEN_WEBHOOK_SECRET", "f00dbabe-cafe,", "token_hex"),
        ("REGREEN_WEBHOOK_SECRET", "a-good-one-1,a-good-one-2,a-good-one-3", "at most two"),
        ("REGREEN_PORT", "99999", "must be a whole number"),
        ("REGREEN_GITHUB_URL", "api.github.com", "must be the API's address"),
        ("REGREEN_DATABASE_URL", "mysql://x", "sqlite:/// or postgresql://"),
        ("REGREEN_ENV", "test", "must be one of"),
    ],
)
def test_what_is_missing_or_weak_names_the_variable(variable, value, told):
    with pytest.raises(ConfigError) as caught:
        load.server(SERVER | {variable: value})
    assert str(caught.value).startswith(variable)
    assert told in str(caught.value)
    assert (
        not value
        or len(value) < 8
        or variable != "REGREEN_WEBHOOK_SECRET"
        or value not in str(caught.value)
    )


def test_a_dot_env_file_is_read_and_the_process_wins(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text('REGREEN_HOST="from-file"\nREGREEN_PORT=1\nREGREEN_ENV=$HOME\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGREEN_PORT", "2")
    found = load.environment()
    assert found["REGREEN_HOST"] == "from-file"
    assert found["REGREEN_PORT"] == "2"
    assert found["REGREEN_ENV"] == "$HOME", "a dollar in a secret is a dollar"


# --- the command line ----------------------------------------------------------------------------


def test_check_says_what_is_in_force():
    done = CliRunner().invoke(app, ["check", "--config", str(EXAMPLE)])
    assert done.exit_code == 0
    assert "primary: primary (qwen3-coder-plus)" in done.stdout
    assert "fallback after 3 attempts: backend_for_failed_pr (gemini-2.5-flash)" in done.stdout
    assert "warning: " in done.stderr


def test_check_fails_with_file_line_and_key(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("[regreen]\nsettle_s = 'soon'\n")
    done = CliRunner().invoke(app, ["check", "--config", str(broken)])
    assert done.exit_code == 1
    assert f'{broken}:2: regreen.settle_s must be a number, not "soon"' in done.stderr


def test_show_names_who_set_what_and_hides_secrets(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('[backends.q]\napi_key = "very-secret"\n[retry]\ncap_s = 5\n')
    done = CliRunner().invoke(app, ["show", "--json", "--config", str(path)])
    shown = json.loads(done.stdout)
    assert done.exit_code == 0
    assert shown["settings"]["retry.cap_s"] == {"value": 5, "origin": f"{path}:4"}
    assert shown["settings"]["retry.base_s"] == {"value": 1.0, "origin": "default"}
    assert shown["settings"]["backends.q.api_key"]["value"] == "***"
    assert shown["primary"] == ["q"]
    assert "very-secret" not in done.stdout


def test_show_prints_a_table(tmp_path):
    done = CliRunner().invoke(app, ["show", "--config", str(EXAMPLE)], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "retry.total_attempts" in done.stdout
