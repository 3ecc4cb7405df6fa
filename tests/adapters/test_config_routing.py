"""`[fallback_system]`, `[frameworks.*]`, `[task_routing]`: seed 3's file, and faults in one."""

import json

import msgspec
import pytest

from bot.config import load
from bot.config.schema import Policy, RoutingPolicy, Strategy
from bot.domain.errors import ConfigError

SEED = """
[fallback_system]
enabled = true
strategy = "intelligent_primary_secondary"
monitoring_interval = 30
health_check_timeout = 10
consecutive_failure_threshold = 3
error_rate_threshold = 0.3
response_time_threshold = 30.0

[frameworks.primary]
name = "claude"
enabled = true
priority = 1
health_weight = 1.0

[frameworks.secondary]
name = "opencode"
enabled = true
priority = 2
health_weight = 0.9

[task_routing]
simple_tasks = "opencode"
complex_tasks = "claude"
web_development = "opencode"
algorithm_implementation = "claude"
"""
THREE = '[backends.x]\nmodel="m"\n[backends.y]\nmodel="m"\n[backends.z]\nmodel="m"\n'


@pytest.fixture
def read(tmp_path):
    """Return a reader of a configuration given as text."""

    def read(text):
        path = tmp_path / "llm_config.toml"
        path.write_text(text, encoding="utf-8")
        return load.configuration(path, {})

    return read


@pytest.fixture
def fault(read, tmp_path):
    """Return a reader of the fault of a configuration, without the folder's name."""

    def fault(text):
        with pytest.raises(ConfigError) as caught:
            read(text)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return fault


def primary(found):
    return [one.name for one in found.policy.primary]


def test_the_seeds_file_is_read_whole(read):
    found = read(SEED)
    assert primary(found) == ["claude", "opencode"]
    assert not found.warnings
    routing = found.policy.routing
    assert [(lane.key, lane.weight) for lane in routing.lanes] == [
        ("claude", 1.0),
        ("opencode", 0.9),
    ]
    assert routing.tasks == {
        "simple_tasks": "opencode",
        "complex_tasks": "claude",
        "web_development": "opencode",
        "algorithm_implementation": "claude",
    }


def test_without_the_sections_the_defaults_hold(read):
    found = read(THREE).policy.routing
    assert (found.strategy, found.enabled, found.hysteresis_s) == (Strategy.INTELLIGENT, True, 300)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("enabled = false", "enabled", False),
        ('strategy = "cost"', "strategy", Strategy.COST),
        ("monitoring_interval = 7", "monitoring_interval_s", 7),
        ("health_check_timeout = 3.5", "health_check_timeout_s", 3.5),
        ("consecutive_failure_threshold = 5", "consecutive_failures", 5),
        ("error_rate_threshold = 0.5", "error_rate", 0.5),
        ("response_time_threshold = 12", "response_time_s", 12),
        ("hysteresis_time = 60", "hysteresis_s", 60),
        ("min_health = 0.2", "min_health", 0.2),
        ("min_target_health = 0.6", "min_target_health", 0.6),
        ("preventive = false", "preventive", False),
        ('compare = ["cost", "performance"]', "compare", (Strategy.COST, Strategy.PERFORMANCE)),
        ("compare_share = 0.2", "compare_share", 0.2),
        ('overrides = {"o/web.js" = "x"}', "overrides", {"o/web.js": "x"}),
    ],
)
def test_every_key_arrives_where_it_is_used(read, line, field, value):
    assert getattr(RoutingPolicy(), field) != value
    found = read(f"{THREE}[fallback_system]\n{line}\n")
    assert getattr(found.policy.routing, field) == value


def test_who_set_it_is_known(read):
    found = read(f"{THREE}[fallback_system]\nhysteresis_time = 60\n")
    assert found.origin["fallback_system.hysteresis_time"].endswith("llm_config.toml:8")
    assert found.origin["fallback_system.strategy"] == "default"


def test_frameworks_go_first_by_priority_and_the_others_follow(read):
    frameworks = '[frameworks.b]\nname="y"\npriority=2\n[frameworks.a]\nname="z"\npriority=1\n'
    assert primary(read(THREE + frameworks)) == ["z", "y", "x"]


def test_a_framework_that_is_not_enabled_takes_no_part(read):
    assert primary(read(f'{THREE}[frameworks.a]\nname="y"\nenabled=false\n')) == ["x", "z"]


def test_a_lane_knows_its_host_its_price_and_whether_it_can_be_asked(read):
    found = read(
        '[backends.p]\nbase_url="https://api.example.com/v1"\nmodel="m"\n'
        'price_in=1.0\nprice_out=5.0\n[backends.q]\ncommand="agent"\n'
    )
    known, unknown = found.policy.routing.lanes
    assert (known.host, known.price_usd, known.probed) == ("api.example.com", 0.08, True)
    assert (unknown.host, unknown.price_usd, unknown.probed) == ("", None, False)


def test_every_provider_is_a_lane(read):
    found = read('[backends.p]\nmodel="m"\nproviders=["zai", "free"]\n')
    assert [lane.key for lane in found.policy.routing.lanes] == ["p/zai", "p/free"]


def test_a_fallback_of_its_own_has_a_lane_of_its_own(read):
    found = read(f'{THREE}[backend_for_failed_pr]\nname="x"\nmodel="better"\n')
    assert [lane.key for lane in found.policy.routing.fallback_lanes] == ["x (fallback)"]
    ordered = read(f'{THREE}[backend_for_failed_pr]\norder=["z"]\n')
    assert ordered.policy.routing.fallback_lanes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            '[fallback_system]\nstrategy="best"\n',
            "llm_config.toml:8: fallback_system.strategy must be one of primary_secondary, "
            "intelligent_primary_secondary, round_robin, performance, task_specific, cost, "
            "not 'best'",
            id="strategy",
        ),
        pytest.param(
            '[fallback_system]\nhysteresis_time="long"\n',
            'llm_config.toml:8: fallback_system.hysteresis_time must be a number, not "long"',
            id="type",
        ),
        pytest.param(
            "[fallback_system]\nerror_rate_threshold=30\n",
            "llm_config.toml:8: fallback_system.error_rate_threshold must be a number <= 1.0",
            id="bound",
        ),
        pytest.param(
            '[fallback_system]\ncompare=["cost"]\n',
            "llm_config.toml:8: fallback_system.compare must name two different strategies",
            id="one side",
        ),
        pytest.param(
            '[fallback_system]\noverrides={"o/*"="xx"}\n',
            'llm_config.toml:8: fallback_system.overrides.o/* names "xx", which has no section',
            id="override",
        ),
        pytest.param(
            '[frameworks.a]\nname="claud"\n',
            'llm_config.toml:8: frameworks.a.name names "claud", which has no section; '
            'did you mean "claude"?',
            id="framework",
        ),
        pytest.param(
            "[frameworks.a]\npriority=1\n",
            "llm_config.toml:7: [frameworks.a] needs the name of a backend",
            id="nameless",
        ),
        pytest.param(
            'frameworks = "claude"\n',
            'llm_config.toml:1: frameworks must be a table, not "claude"',
            id="no table",
        ),
        pytest.param(
            '[task_routing]\nsimple_tasks="nobody"\n',
            'llm_config.toml:8: task_routing.simple_tasks names "nobody", which has no section',
            id="task",
        ),
        pytest.param(
            "[task_routing]\nsimple_tasks=1\n",
            "llm_config.toml:8: task_routing.simple_tasks must be text, not 1",
            id="task type",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(fault, text, said):
    whole = text + THREE if text.startswith("frameworks =") else THREE + text
    assert fault(whole).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[fallback_system]\nstratgy="cost"\n', 'did you mean "strategy"?'),
        ('[frameworks.a]\nname="x"\nweight=1\n', "frameworks.a.weight is not known"),
        ('[task_routing]\nsimple_task="x"\n', 'did you mean "simple_tasks"?'),
    ],
)
def test_what_is_unknown_is_warned_about(read, text, said):
    (warning,) = read(THREE + text).warnings
    assert said in warning


def test_the_policy_travels_as_json(read):
    policy = read(SEED).policy
    encoded = msgspec.json.encode(policy)
    assert msgspec.json.decode(encoded, type=Policy) == policy
    assert json.loads(encoded)["routing"]["strategy"] == "intelligent_primary_secondary"
