"""Chains and drains in both schemas, and which backends the steps of a repair have from them."""

import re
from pathlib import Path

import pytest

from bot.config import load, shapes
from bot.config.schema import BackendName, Chain, Drain, Drains
from bot.domain.errors import ConfigError

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
BACKENDS = '[backends.a]\nmodel="ma"\n[backends.b]\nmodel="mb"\n[backends.off]\nenabled=false\n'
NAMED = '[agent_chains]\nx=["a"]\ny=["b","a"]\n[agent_drains]\n'


@pytest.fixture
def read(tmp_path):
    def read(text, **environ):
        path = tmp_path / "llm_config.toml"
        path.write_text(text, encoding="utf-8")
        return load.configuration(path, environ)

    return read


@pytest.fixture
def fault(read, tmp_path):
    def fault(text):
        with pytest.raises(ConfigError) as caught:
            read(text)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return fault


def names(chain):
    return [one.name for one in chain]


def bound(found):
    return {str(drain): names(chain.backends) for drain, chain in found.drains.chains.items()}


# --- the seed's own values -----------------------------------------------------------------------


def test_the_seeds_defaults():
    drains = load.configuration(None, {}).drains
    assert drains == Drains()
    assert not drains.chains
    assert not drains.provider_fallback
    assert (drains.max_retries, drains.retry_delay_ms, drains.max_cycles) == (3, 1000, 3)
    assert (drains.multiplier_hundredths, drains.max_backoff_ms) == (200, 60_000)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        pytest.param(
            'developer = ["claude", "codex"]\nreviewer = ["codex"]',
            {
                "planning": ("developer", ["claude", "codex"]),
                "development": ("developer", ["claude", "codex"]),
                "review": ("reviewer", ["codex"]),
                "fix": ("reviewer", ["codex"]),
                "commit": ("reviewer", ["codex"]),
                "analysis": ("developer", ["claude", "codex"]),
            },
            id="analysis takes the developer's",
        ),
        pytest.param(
            'developer = ["claude"]\nreviewer = []',
            {
                "planning": ("developer", ["claude"]),
                "development": ("developer", ["claude"]),
                "analysis": ("developer", ["claude"]),
            },
            id="no reviewer: no review, fix or commit",
        ),
        pytest.param(
            'commit = []\nreviewer = ["a", "b"]',
            {
                "review": ("reviewer", ["a", "b"]),
                "fix": ("reviewer", ["a", "b"]),
                "commit": ("reviewer", ["a", "b"]),
            },
            id="an empty commit takes the reviewer's",
        ),
        pytest.param(
            'commit = ["a"]\nreviewer = ["b"]',
            {
                "review": ("reviewer", ["b"]),
                "fix": ("reviewer", ["b"]),
                "commit": ("commit", ["a"]),
            },
            id="commit has its own",
        ),
        pytest.param(
            'developer = ["a"]\nanalysis = ["b"]',
            {
                "planning": ("developer", ["a"]),
                "development": ("developer", ["a"]),
                "analysis": ("analysis", ["b"]),
            },
            id="analysis has its own",
        ),
        pytest.param("max_retries = 5", {}, id="retry keys alone bind nothing"),
    ],
)
def test_roles_become_drains(read, roles, expected):
    chains = read(f"{BACKENDS}[agent_chain]\n{roles}\n").drains.chains
    assert {
        str(drain): (chain.name, names(chain.backends)) for drain, chain in chains.items()
    } == expected


def test_the_seeds_file(read):
    found = read(
        '[agent_chain]\ndeveloper = ["claude", "codex"]\nreviewer = ["codex", "claude"]\n'
        "max_retries = 5\nretry_delay_ms = 2000\n"
        "[agent_chain.provider_fallback]\n"
        'opencode = ["-m opencode/glm-4.7-free", "-m zai/glm-4.7"]\n'
    )
    drains = found.drains
    assert drains.chains[Drain.DEVELOPMENT] == Chain(
        "developer", (BackendName("claude", "sonnet"), BackendName("codex", "codex"))
    )
    assert names(drains.chains[Drain.FIX].backends) == ["codex", "claude"]
    assert (drains.max_retries, drains.retry_delay_ms) == (5, 2000)
    assert drains.provider_fallback == {
        "opencode": ("-m opencode/glm-4.7-free", "-m zai/glm-4.7"),
    }
    assert found.policy.drains == drains
    assert drains.own_rounds
    assert found.warnings == ()
    assert "opencode" not in found.backends, "a name for flags is no backend in use"


@pytest.mark.parametrize(
    ("factor", "hundredths"),
    [
        ("1.0", 100),
        ("1.5", 150),
        ("2", 200),
        ("2.5", 250),
        ("3.0", 300),
        ("10.0", 1000),
        ("1.00001", 100),
        ("1.125", 113),
        ("0.0", 0),
        ("1e9", 100_000),
        ("inf", 100_000),
    ],
)
def test_the_multiplier_is_kept_in_hundredths(read, factor, hundredths):
    found = read(f"[agent_chain]\nbackoff_multiplier = {factor}\n")
    assert found.drains.multiplier_hundredths == hundredths


@pytest.mark.parametrize(
    ("key", "own"),
    [
        ("", False),
        ("max_retries = 1", False),
        ("retry_delay_ms = 1000", True),
        ("backoff_multiplier = 2.0", True),
        ("max_backoff_ms = 60000", True),
        ("max_cycles = 3", True),
    ],
)
def test_a_key_of_the_rounds_has_all_of_them_decide(read, key, own):
    assert read(f"[agent_chain]\n{key}\n").policy.drains.own_rounds is own


# --- named chains --------------------------------------------------------------------------------


def test_named_chains_are_bound_to_drains_with_their_models(read):
    found = read(f'{BACKENDS}{NAMED}fix="y"\ncommit="x"\n[agent_chain]\nmax_cycles=1\n')
    assert bound(found) == {"fix": ["b", "a"], "commit": ["a"]}
    assert found.drains.chains[Drain.FIX].backends[0] == BackendName("b", "mb")
    assert found.drains.max_cycles == 1, "the retry keys stay in the older section"
    assert [one.partition(".toml:")[2] for one in found.warnings] == [
        "12: agent_drains.commit has no effect yet",
    ]
    origin = found.origin
    assert origin["agent_drains.fix"].endswith("llm_config.toml:11")
    assert origin["agent_chain.max_cycles"].endswith("llm_config.toml:14")
    assert origin["agent_chain.max_retries"] == "default"


def test_disabled_backends_are_left_out_and_told(read):
    found = read(f'{BACKENDS}[agent_chains]\nx=["off","a"]\n[agent_drains]\nfix="x"\n')
    assert bound(found) == {"fix": ["a"]}
    assert names(found.policy.primary) == ["a"]
    assert any("agent_chains.x names off, which is not enabled" in one for one in found.warnings)


def test_a_chain_of_disabled_backends_leaves_the_fixers(read):
    found = read(f'{BACKENDS}[agent_chains]\nx=["off"]\n[agent_drains]\nfix="x"\n')
    assert found.policy.primary == ()
    assert any("only the deterministic fixers" in one for one in found.warnings)


def test_a_chain_that_no_drain_names_is_told(read):
    warnings = read(f"{BACKENDS}{NAMED}fix='x'\n").warnings
    assert [one.partition(".toml:")[2] for one in warnings] == [
        "9: agent_chains.y has no effect: no drain of [agent_drains] names it"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            NAMED + 'fix = "z"\n',
            'llm_config.toml:11: agent_drains.fix names "z", which is no chain of [agent_chains]',
            id="chain",
        ),
        pytest.param(
            '[agent_chains]\nshared_dev=["a"]\n[agent_drains]\nfix = "shard_dev"\n',
            'names "shard_dev", which is no chain of [agent_chains]; did you mean "shared_dev"?',
            id="chain, nearly",
        ),
        pytest.param(
            '[agent_chain]\nmine=["a"]\n[agent_drains]\nfix = "mine"\n',
            'names "mine", which is no chain of [agent_chains]; it stands in [agent_chain]: did '
            "you mean [agent_chains]?",
            id="chain in the older section",
        ),
        pytest.param(
            '[agent_drains]\nfixer = "x"\n',
            "llm_config.toml:8: agent_drains.fixer is no drain (planning, development, review, "
            'fix, commit, analysis); did you mean "fix"?',
            id="drain",
        ),
        pytest.param(
            '[agent_drains]\ndeveloper = "x"\n', 'did you mean "development"?', id="a role"
        ),
        pytest.param(
            '[agent_chains]\nx = ["a", "cluade"]\n',
            'llm_config.toml:8: agent_chains.x names "cluade", which has no section; '
            'did you mean "claude"?',
            id="backend",
        ),
        pytest.param(
            '[agent_chain]\nreviewer = ["nobody"]\n',
            'llm_config.toml:8: agent_chain.reviewer names "nobody", which has no section',
            id="backend of a role",
        ),
        pytest.param(
            "[agent_chain]\nprovider_fallback.opncode = ['-m x']\n",
            "llm_config.toml:8: agent_chain.provider_fallback.opncode: there is no backend of "
            'this name; did you mean "opencode"?',
            id="provider's backend",
        ),
        pytest.param(
            "[agent_chains]\nx = []\n[agent_drains]\nfix = 'x'\n",
            'agent_drains.fix names "x", a chain without backends',
            id="empty",
        ),
        pytest.param(
            "[agent_chains]\nx = 'a'\n",
            'llm_config.toml:8: agent_chains.x must be a list, not "a"',
            id="no list",
        ),
        pytest.param(
            "[agent_chains]\nx = ['a', 1]\n",
            "llm_config.toml:8: agent_chains.x[1] must be text, not 1",
            id="no text",
        ),
        pytest.param(
            "[agent_drains]\nfix = ['a']\n",
            'llm_config.toml:8: agent_drains.fix must be text, not ["a"]',
            id="a list for a drain",
        ),
        pytest.param(
            "[agent_chain]\nprovider_fallback.a = [1]\n",
            "llm_config.toml:8: agent_chain.provider_fallback.a[0] must be text, not 1",
            id="flags",
        ),
        pytest.param(
            "[agent_chain]\nretry_delay_ms = -1\n",
            "llm_config.toml:8: agent_chain.retry_delay_ms must be a whole number >= 0, not -1",
            id="negative",
        ),
        pytest.param(
            "[agent_chain]\nbackoff_multiplier = nan\n",
            "llm_config.toml:8: agent_chain.backoff_multiplier must be a number >= 0.0",
            id="nan",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(fault, text, told):
    assert told in fault(BACKENDS + text)


@pytest.mark.parametrize("section", shapes.DRAIN_SECTIONS)
def test_a_section_is_a_table(fault, section):
    assert fault(f"{section} = 3\n") == f"llm_config.toml:1: {section} must be a table, not 3"


def test_an_unknown_key_is_told(read):
    (told,) = read(f"{BACKENDS}[agent_chain]\nmax_retry = 1\n").warnings
    assert (
        'agent_chain.max_retry is not known and has no effect; did you mean "max_retries"' in told
    )


# --- both schemas in one file --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "drains", "expected"),
    [
        pytest.param(
            'developer = ["a", "b"]\ncommit = ["b"]\n',
            'fix = "x"\n',
            {"fix": ["a"], "development": ["a", "b"], "commit": ["b"]},
            id="what is bound already stays",
        ),
        pytest.param(
            'developer = ["b"]\nreviewer = ["b"]\nanalysis = ["a"]\n',
            'fix = "x"\n',
            {
                "fix": ["a"],
                "development": ["b"],
                "commit": ["b"],
                "analysis": ["a"],
            },
            id="nothing is turned on that no role asked for",
        ),
        pytest.param("reviewer = []\n", 'fix = "x"\n', {"fix": ["a"]}, id="an empty role counts"),
    ],
)
def test_both_schemas_are_refused_and_the_mend_that_is_shown_works(
    read, fault, roles, drains, expected
):
    named = f'[agent_chains]\nx = ["a"]\n[agent_drains]\n{drains}'
    told = fault(f"{BACKENDS}{named}[agent_chain]\nmax_retries = 9\n{roles}")
    first = roles.split(" ")[0]
    assert told.startswith(
        f"llm_config.toml:13: agent_chain.{first} cannot stand beside [agent_chains]"
    )
    told_roles = ", ".join(re.findall(r"^(\w+) =", roles, re.MULTILINE))
    assert f"Take {told_roles} out of [agent_chain]" in told

    parts: dict[str, str] = {"agent_chains": 'x = ["a"]\n', "agent_drains": drains}
    section = ""
    for line in told.split("\n")[1:]:
        if line.startswith("    ["):
            section = line.strip(" []")
        else:
            parts[section] += line.strip() + "\n"
    mended = "".join(f"[{name}]\n{text}" for name, text in parts.items())
    assert bound(read(f"{BACKENDS}{mended}[agent_chain]\nmax_retries = 9\n")) == expected


# --- what the steps of a repair get --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "primary"),
    [
        pytest.param(NAMED + "fix='y'\ndevelopment='x'\n", ["b", "a"], id="the fix drain"),
        pytest.param(NAMED + "development='y'\nreview='x'\n", ["b", "a"], id="development"),
        pytest.param(NAMED + "review='y'\ncommit='x'\n", ["a", "b"], id="neither: as before"),
        pytest.param('[agent_chain]\nreviewer=["b"]\n', ["b"], id="the reviewer fixes"),
        pytest.param('[agent_chain]\ndeveloper=["b"]\n', ["b"], id="else the developer"),
        pytest.param('[agent_chain]\ncommit=["b"]\n', ["a", "b"], id="a role that fixes nothing"),
        pytest.param('[agent_chains]\nz=["claude"]\n[agent_drains]\ncommit="z"\n', ["a", "b"],
                     id="an agent that only commits joins no rotation"),
    ],
)  # fmt: skip
def test_who_mends(read, text, primary):
    assert names(read(BACKENDS + text).policy.primary) == primary


def test_an_order_beside_the_fix_drain_is_told(read):
    text = f'[backend]\norder=["a","b"]\n{BACKENDS}{NAMED}fix="y"\nplanning="x"\n'
    found = read(text, AUTO_CODER_DEFAULT_BACKEND="a")
    assert names(found.policy.primary) == ["b", "a"]
    assert [one.partition("llm_config.toml:")[2] or one for one in found.warnings] == [
        "2: backend.order has no effect beside the fix drain",
        "AUTO_CODER_DEFAULT_BACKEND: backend.default has no effect beside the fix drain",
    ]


def test_the_fallback_stays_apart(read):
    found = read(f'{BACKENDS}{NAMED}fix="x"\n[backend_for_failed_pr]\norder=["b"]\n')
    assert names(found.policy.primary) == ["a"]
    assert names(found.policy.fallback) == ["b"]


@pytest.mark.parametrize(
    ("text", "planners", "synthesis"),
    [
        pytest.param("", [], "", id="off"),
        pytest.param("[planning]\nenabled=true\n", ["a"], "a", id="on: the first primary"),
        pytest.param(NAMED + "planning='y'\n", ["b", "a"], "b", id="a drain turns it on"),
        pytest.param(
            NAMED + "planning='y'\n[planning]\nenabled=false\n", [], "", id="off in so many words"
        ),
        pytest.param(
            NAMED + "planning='y'\n[planning]\nsynthesis='a'\n", ["b", "a"], "a", id="synthesis"
        ),
        pytest.param(
            NAMED + "planning='y'\n[planning]\nsynthesis='off'\n",
            ["b", "a"],
            "b",
            id="synthesis by a disabled one",
        ),
        pytest.param(
            NAMED + "fix='y'\n[planning]\nenabled=true\nsynthesis='codex'\n",
            ["b"],
            "codex",
            id="synthesis by an agent without a section",
        ),
        pytest.param('[agent_chain]\ndeveloper=["b","a"]\n', [], "", id="a role plans nothing"),
        pytest.param(
            '[agent_chain]\ndeveloper=["b","a"]\nreviewer=["a"]\n[planning]\nenabled=true\n',
            ["b"],
            "b",
            id="unless planning is on: then the first developer",
        ),
    ],
)
def test_who_plans(read, text, planners, synthesis):
    policy = read(BACKENDS + text).policy
    assert names(policy.planners) == planners
    assert policy.planning.synthesis == synthesis


def test_a_variable_turns_the_planning_drain_off(read):
    found = read(f"{BACKENDS}{NAMED}planning='y'\n", AUTOCODER_PLANNER_ENABLED="0")
    assert found.policy.planners == ()
    told = "AUTOCODER_PLANNER_ENABLED: planning.enabled is false, so the planning drain has no"
    assert any(told in one for one in found.warnings)


def test_planning_without_a_backend_is_told(read):
    found = read("[planning]\nenabled=true\n")
    assert found.policy.planners == ()
    assert any("planning.enabled has no effect" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("text", "analysts"),
    [
        pytest.param("", [], id="nobody"),
        pytest.param(NAMED + "analysis='y'\n", ["b", "a"], id="the drain"),
        pytest.param('[agent_chain]\nanalysis=["b"]\n', ["b"], id="the role"),
        pytest.param('[agent_chain]\ndeveloper=["b"]\n', [], id="not for a sibling's chain"),
    ],
)
def test_who_analyses(read, text, analysts):
    assert names(read(BACKENDS + text).policy.analysts) == analysts


@pytest.mark.parametrize(
    ("text", "reviewers"),
    [
        pytest.param("", [], id="nobody"),
        pytest.param(NAMED + "review='y'\n", ["b", "a"], id="the drain"),
        pytest.param('[agent_chain]\nreviewer=["b"]\n', [], id="the role fixes; it costs no more"),
        pytest.param(
            '[agent_chains]\nx=["off","a"]\n[agent_drains]\nreview="x"\n', ["a"], id="off"
        ),
    ],
)
def test_who_reviews(read, text, reviewers):
    assert names(read(BACKENDS + text).policy.reviewers) == reviewers


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        ('commit=["a"]', "8: agent_chain.commit has no effect yet"),
        ('reviewer=["a"]', ""),
        ("backoff_multiplier=1.5", ""),
    ],
)
def test_what_nothing_goes_by_is_told(read, roles, told):
    found = read(f"{BACKENDS}[agent_chain]\n{roles}\n")
    effect = [one.partition(".toml:")[2] for one in found.warnings if "no effect yet" in one]
    assert effect == ([told] if told else [])


# --- the document --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [*shapes.keys_of(shapes.AgentChainKeys), *Drain])
def test_every_key_is_documented(key):
    text = DOCUMENT.read_text(encoding="utf-8")
    part = text.split("### `[agent_chains]`", 1)[1].split("\n### ", 1)[0]
    assert re.search(rf"`{key}(\.<backend>)?`", part)


# --- the review ---------------------------------------------------------------------------------


def test_a_mode_without_reviewers_is_warned_of(read):
    found = read(f"{BACKENDS}[review]\nmode = 'gate'\n")
    assert any("review.mode has no effect without a review drain" in w for w in found.warnings)
    assert not any("review.mode" in w for w in read(BACKENDS).warnings)


def test_how_a_change_is_proved_is_read(read):
    policy = read(f"{BACKENDS}[gatekeeper]\nverify = 'both'\nci_wait_s = 60\n").policy
    assert (policy.gatekeeper.verify, policy.gatekeeper.ci_wait_s) == ("both", 60)
    with pytest.raises(ConfigError, match=r"gatekeeper\.verify must be one of local, ci, both"):
        read(f"{BACKENDS}[gatekeeper]\nverify = 'maybe'\n")
