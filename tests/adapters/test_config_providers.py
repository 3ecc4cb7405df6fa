"""`provider_metadata.toml` and `provider_fallback`: the ways to a backend's model."""

import pytest

from bot.config import load
from bot.config.schema import Strategy
from bot.config.watch import Watched
from bot.domain.errors import ConfigError
from bot.domain.values import Secret

QWEN = """
[backend]
order = ["qwen"]
[backends.qwen]
model = "qwen3-coder-plus"
api_key = "own-key"
base_url = "https://own.example/v1"
options = ["--debug"]
price_in = 1.0
price_out = 2.0
"""
METADATA = """
[qwen.azure]
command = "uvx"
args = ["some-proxy"]
description = "Qwen by Azure"
AZURE_ENDPOINT = "https://azure.example/openai/v1"
AZURE_API_VERSION = "2024-02-15-preview"
AZURE_API_KEY = "azure-key"

[qwen.open-router]
OPENROUTER_API_KEY = "${ROUTER}"
model = "qwen/qwen3-coder:free"
price_in = 0.0
price_out = 0.0

[qwen.direct]
QWEN_API_KEY = "direct-key"
QWEN_MODEL = "qwen-max"
options = []
"""
LISTED = QWEN + 'providers = ["open-router", "azure", "direct"]\n'


@pytest.fixture
def read(tmp_path):
    """Return a reader of the two files, given as text."""

    def read(text, metadata="", **environ):
        path = tmp_path / "llm_config.toml"
        path.write_text(text, encoding="utf-8")
        (tmp_path / "provider_metadata.toml").write_text(metadata, encoding="utf-8")
        return load.configuration(path, environ)

    return read


def told(found):
    return [one.removeprefix(f"{found.source.parent}/") for one in found.warnings]


# --- what a provider is --------------------------------------------------------------------------


def test_each_provider_is_the_backend_with_what_is_different_there(read):
    qwen = read(LISTED, METADATA, ROUTER="router-key").backends["qwen"]
    router, azure, direct = qwen.ways.values()

    assert qwen.providers == ("open-router", "azure", "direct"), "in the order of the list"
    assert (azure.api_key, azure.base_url) == (
        Secret("azure-key"),
        "https://azure.example/openai/v1",
    )
    assert (azure.model, azure.options, azure.price_in) == ("qwen3-coder-plus", ("--debug",), 1.0)
    assert azure.env == {"AZURE_API_VERSION": "2024-02-15-preview"}, "neither key nor address"
    assert (router.openai_api_key, router.openai_base_url) == (
        Secret("router-key"),
        "https://openrouter.ai/api/v1",
    )
    assert (router.api_key, router.base_url) == (None, None), "the backend's own do not go there"
    assert (router.model, router.price_in) == ("qwen/qwen3-coder:free", 0.0)
    assert (direct.model, direct.api_key) == ("qwen-max", Secret("direct-key"))
    assert direct.base_url == "https://own.example/v1", "it has no address of its own"
    assert direct.options == ()
    assert {(way.name, way.backend_type) for way in qwen.ways.values()} == {("qwen", "qwen")}
    assert (qwen.api_key, qwen.model) == (Secret("own-key"), "qwen3-coder-plus")


def test_each_is_a_lane_with_its_own_host_and_price(read):
    lanes = read(LISTED, METADATA, ROUTER="k").policy.routing.lanes
    assert [(lane.key, lane.backend, lane.provider, lane.host) for lane in lanes] == [
        ("qwen/open-router", "qwen", "open-router", "openrouter.ai"),
        ("qwen/azure", "qwen", "azure", "azure.example"),
        ("qwen/direct", "qwen", "direct", "own.example"),
    ]
    assert [lane.price_usd for lane in lanes] == [0.0, 0.068, 0.068]
    assert all(lane.probed for lane in lanes)


def test_a_backend_is_reached_through_the_provider_that_is_named(read):
    qwen = read(LISTED, METADATA, ROUTER="k").backends["qwen"]
    assert qwen.through("azure") is qwen.ways["azure"]
    assert qwen.through("") is qwen.ways["open-router"], "the first"
    assert qwen.through("gone") is None
    assert [way.provider for way in qwen.ways.values()] == list(qwen.providers)


def test_a_backend_without_providers_is_reached_by_itself(read):
    qwen = read(QWEN).backends["qwen"]
    assert (qwen.through(""), qwen.ways, qwen.providers) == (qwen, {}, ())
    assert qwen.through("azure") is None


@pytest.mark.parametrize(
    ("text", "metadata", "ways"),
    [
        pytest.param(QWEN, METADATA, ["azure", "open-router", "direct"], id="no list: all"),
        pytest.param(QWEN + "providers = []\n", METADATA, [], id="an empty list: none"),
        pytest.param(
            QWEN + 'providers = ["direct"]\n', METADATA, ["direct"], id="those that are listed"
        ),
        pytest.param(
            '[backends.mine]\nbackend_type="qwen"\nproviders=["azure"]\n',
            METADATA,
            ["azure"],
            id="of the type",
        ),
        pytest.param(
            '[backends.mine]\nproviders=["shared"]\n', '[shared]\nX = "1"\n', ["shared"], id="any's"
        ),
        pytest.param(
            "[grok-4]\nmodel='m'\n[grok-4.1-fast]\nmodel='m'\n",
            "[grok-4.1-fast.zai]\nX='1'\n[grok-4.free]\n",
            ["free"],
            id="names with dots",
        ),
    ],
)
def test_which_providers_a_backend_has(read, text, metadata, ways):
    found = read(text, metadata)
    assert list(next(iter(found.backends.values())).ways) == ways


def test_names_with_dots_are_told_apart(read):
    found = read(
        "[grok-4]\nmodel='m'\n[grok-4.1-fast]\nmodel='m'\n",
        "[grok-4.1-fast.zai]\nX='1'\n[grok-4.free]\n",
    )
    assert list(found.backends["grok-4.1-fast"].ways) == ["zai"]


def test_a_fallback_of_its_own_has_providers_too(read):
    found = read(
        '[backend_for_failed_pr]\nmodel="m"\nbackend_type="qwen"\nproviders=["azure"]\n', METADATA
    )
    assert found.fallback[0].ways["azure"].api_key == Secret("azure-key")
    assert [lane.key for lane in found.policy.routing.fallback_lanes] == [
        "backend_for_failed_pr (fallback)/azure"
    ]


def test_who_set_it_is_known_and_secrets_do_not_show(read, tmp_path):
    read(LISTED, METADATA, ROUTER="router-key")
    found, settings = load.explained(tmp_path / "llm_config.toml", {"ROUTER": "router-key"})
    assert found.origin["providers.qwen.azure.api_key"].endswith("provider_metadata.toml:8")
    assert found.origin["providers.qwen.open-router.model"].endswith("provider_metadata.toml:12")
    shown = str([settings.value(key) for key in settings]) + str(found)
    assert not [key for key in ("azure-key", "router-key", "direct-key") if key in shown]


def test_a_key_of_the_backend_is_not_sent_to_another_address(read):
    text = QWEN.replace("api_key", "openai_api_key") + 'providers = ["x"]\n'
    way = read(text, '[qwen.x]\nbase_url = "https://x.example/v1"\n').backends["qwen"].ways["x"]
    assert (way.api_key, way.openai_api_key) == (None, None)
    assert way.base_url == "https://x.example/v1"


def test_the_file_is_found_where_auto_coder_has_it(tmp_path):
    config, home = tmp_path / "llm_config.toml", tmp_path / "home"
    config.write_text(QWEN)
    (home / ".auto-coder").mkdir(parents=True)
    (home / ".auto-coder" / "provider_metadata.toml").write_text("[qwen.home]\n")
    environ = {"HOME": str(home)}
    assert load.configuration(config, environ).backends["qwen"].providers == ("home",)
    (tmp_path / "provider_metadata.toml").write_text("[qwen.beside]\n")
    assert load.configuration(config, environ).backends["qwen"].providers == ("beside",)


def test_a_change_of_it_is_noticed(tmp_path):
    (tmp_path / "llm_config.toml").write_text(QWEN)
    metadata, clock = tmp_path / "provider_metadata.toml", [0.0]
    said: list[str] = []
    watched = Watched(
        tmp_path / "llm_config.toml", {}, report=said.append, seconds=lambda: clock[0]
    )
    assert watched.current().backends["qwen"].providers == ()
    for at, text in enumerate(("[qwen.a]\n", "[qwen.a]\nmodel = 1\n", "[qwen.ab]\n"), start=1):
        metadata.write_text(text)
        clock[0] = at * 10.0
        watched.current()
    assert watched.current().backends["qwen"].providers == ("ab",)
    assert len(said) == 1
    assert "provider_metadata.toml:2: qwen.a.model must be text, not 1" in said[0]


# --- flags ---------------------------------------------------------------------------------------

FLAGS = '[backends.opencode]\nmodel="own"\noptions=["--x"]\n[agent_chain.provider_fallback]\n'


def test_flags_are_providers_by_the_model_that_they_name(read):
    found = read(
        f'{FLAGS}opencode = ["-m opencode/glm-4.7-free", "--model=zai/glm-4.7 --agent b"]\n'
    )
    opencode = found.backends["opencode"]
    assert {name: (way.model, way.options) for name, way in opencode.ways.items()} == {
        "opencode/glm-4.7-free": ("opencode/glm-4.7-free", ("--x",)),
        "zai/glm-4.7": ("zai/glm-4.7", ("--x", "--agent", "b")),
    }
    assert [lane.key for lane in found.policy.routing.lanes] == [
        "opencode/opencode/glm-4.7-free",
        "opencode/zai/glm-4.7",
    ]


def test_flags_without_a_model_are_called_by_themselves(read):
    way = read(f'{FLAGS}opencode = ["--agent b"]\n').backends["opencode"].ways["--agent b"]
    assert (way.model, way.options) == ("own", ("--x", "--agent", "b"))


def test_flags_come_after_the_providers(read):
    text = QWEN + '[agent_chain]\nprovider_fallback.qwen = ["-m other"]\n'
    assert read(text, "[qwen.a]\n").backends["qwen"].providers == ("a", "other")


def test_without_flags_there_is_one_lane(read):
    found = read(f"{FLAGS}opencode = []\n")
    assert [lane.key for lane in found.policy.routing.lanes] == ["opencode"]


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("[qwen.a]\nmodel = 3\n", "provider_metadata.toml:2: qwen.a.model must be text, not 3"),
        ('[qwen.a]\nargs = "x"\n', 'provider_metadata.toml:2: qwen.a.args must be a list, not "x"'),
        ("[qwen.a]\nX = [1]\n", "provider_metadata.toml:2: qwen.a.X must be text, not [1]"),
        ("[qwen.a]\napi_key = 7\n", "provider_metadata.toml:2: qwen.a.api_key must be text"),
        ("[qwen.a]\nprice_in = -1\n", "provider_metadata.toml:2: qwen.a.price_in must be a number"),
        ("[qwen.a\n", "provider_metadata.toml:1: not valid TOML"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(read, metadata, said):
    with pytest.raises(ConfigError) as caught:
        read(QWEN, metadata)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "metadata", "said"),
    [
        pytest.param(
            QWEN,
            '[qwen.a]\nmodle = "x"\n',
            "provider_metadata.toml:2: qwen.a.modle is not known and has no effect; did you mean"
            ' "model"?',
            id="key",
        ),
        pytest.param(
            QWEN,
            '[qwen.a]\ncommand = "uvx"\n',
            "provider_metadata.toml:2: qwen.a.command has no effect: the gateway stands before the"
            " API, and no proxy is started",
            id="proxy",
        ),
        pytest.param(
            QWEN,
            '[qwem.a]\nX = "1"\n',
            "provider_metadata.toml:1: [qwem.a] has no effect: no backend has it among its "
            'providers; did you mean "qwen"?',
            id="backend",
        ),
        pytest.param(
            QWEN + 'providers = ["azur"]\n',
            "[qwen.azure]\n",
            'llm_config.toml:11: backends.qwen.providers names "azur", which provider_metadata.toml'
            ' does not describe: it is the backend as it stands; did you mean "azure"?',
            id="not described",
        ),
        pytest.param(
            QWEN,
            '[qwen.a]\nQWEN_API_KEY = "${NOT_SET}"\n',
            "provider_metadata.toml:2: qwen.a.QWEN_API_KEY needs the variable NOT_SET, which is not"
            " set",
            id="variable",
        ),
        pytest.param(
            QWEN,
            '[qwen.a]\nAWS_SECRET_ACCESS_KEY = "s"\n',
            "provider_metadata.toml:2: qwen.a.AWS_SECRET_ACCESS_KEY is a secret, so no agent is"
            " given it, and has no effect",
            id="secret",
        ),
        pytest.param(
            QWEN,
            '[qwen.a]\nA_API_KEY = "s"\nB_API_KEY = "t"\n',
            "provider_metadata.toml:3: qwen.a.B_API_KEY has no effect: ",
            id="two keys",
        ),
        pytest.param(
            QWEN,
            'x = "1"\n',
            "provider_metadata.toml:1: x is no provider and has no effect",
            id="no table",
        ),
    ],
)
def test_what_is_odd_is_told(read, text, metadata, said):
    found = told(read(text, metadata))
    assert any(one.startswith(said) for one in found), found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SESSION_TOKEN", "s"),
        ("MY_PASSWORD", "s"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "s"),
        ("HARMLESS", "${REGREEN_WEBHOOK_SECRET}"),
    ],
)
def test_no_secret_reaches_an_agents_environment(read, key, value):
    found = read(QWEN, f'[qwen.a]\n{key} = "{value}"\n', REGREEN_WEBHOOK_SECRET="s")
    way = found.backends["qwen"].ways["a"]
    assert way.env == {}
    assert way.api_key == Secret("own-key")


def test_no_secret_reaches_an_agents_options(read):
    found = read(QWEN, '[qwen.a]\noptions = ["--k=${X_API_KEY}"]\n', X_API_KEY="s")
    assert "s" not in str(found.backends["qwen"].ways["a"].options)
    assert any("holds a secret" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("value", "expected"), [("true", "true"), ("8", "8"), ('"a ${B} c"', "a b c"), ('""', None)]
)
def test_a_variable_is_text(read, value, expected):
    way = read(QWEN, f"[qwen.a]\nMAX_TOKENS = {value}\n", B="b").backends["qwen"].ways["a"]
    assert way.env.get("MAX_TOKENS") == expected


def test_a_budget_needs_the_price_of_every_way(read):
    text = '[backends.q]\napi_key="k"\n[budget]\nper_day_usd=1.0\n'
    priced = "[q.a]\nprice_in=1.0\nprice_out=1.0\n"
    assert read(text, priced).backends["q"].ways["a"].price
    with pytest.raises(ConfigError, match=r"backends.q or its providers need price_in"):
        read(text, f"{priced}[q.b]\nX='1'\n")


# --- taking turns --------------------------------------------------------------------------------

SWITCH = "always_switch_after_execution=true\n"
A, B = "[backends.a]\nmodel='m'\n", "[backends.b]\nmodel='m'\n"


@pytest.mark.parametrize(
    ("text", "strategy", "said"),
    [
        pytest.param(A + B, Strategy.INTELLIGENT, "", id="not set"),
        pytest.param(A + SWITCH + B + SWITCH, Strategy.ROUND_ROBIN, "", id="all"),
        pytest.param(
            A + SWITCH + B, Strategy.ROUND_ROBIN, "holds for all of the rotation", id="some"
        ),
        pytest.param(A + SWITCH, Strategy.INTELLIGENT, "no other backend", id="alone"),
        pytest.param(
            f'{A}{SWITCH}{B}[fallback_system]\nstrategy="cost"\n',
            Strategy.COST,
            "sets the strategy cost",
            id="a strategy of its own",
        ),
        pytest.param(
            f"{A}{SWITCH}{B}[fallback_system]\nenabled=false\n",
            Strategy.INTELLIGENT,
            "fallback_system.enabled is false",
            id="off",
        ),
        pytest.param(
            f'[backend]\norder=["b"]\n{A}{SWITCH}{B}', Strategy.INTELLIGENT, "", id="not in order"
        ),
    ],
)
def test_always_switching_is_taking_turns(read, text, strategy, said):
    found = read(text)
    assert found.policy.routing.strategy is strategy
    switching = [one for one in found.warnings if "always_switch" in one]
    assert [said in one for one in switching] == ([True] if said else [])
