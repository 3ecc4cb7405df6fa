"""The agents: their command lines, what they are given, and what they may not do.

Programs that stand in for agents run in the real sandbox; the agents themselves are in
`tests/acceptance/test_agents.py`, their recorded output in `test_backend_captures.py`.
"""

import json
import os
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.backends import aside, endpoints, words
from bot.backends.base import Agent, Invocation, Job
from bot.backends.homes import Homes
from bot.backends.registry import BACKENDS, Registry
from bot.backends.run import witnessed
from bot.config.schema import BackendConfig, Configuration, SandboxConfig
from bot.domain.answers import Answer, DrainMode, Ending
from bot.domain.models import Api, Call, Caps, Origin, Price, PriceOf, Tokens
from bot.domain.ports import ORDINARY, Sandbox, Terms
from bot.domain.values import PullRef, Purpose, Question, Remote, Secret, Usage
from bot.gateway.chat import Chat
from bot.simulator.model import ScriptedModel
from bot.workspace.git import Git
from bot.workspace.sandbox import Bubblewrap, NoSandbox
from bot.workspace.worktree import GitTrees
from tests.support.bubblewrap import TOOLS, skip_without_bubblewrap
from tests.support.captures import SAMPLES
from tests.support.gateways import running
from tests.support.origins import Origin as Repository
from tests.support.sandboxes import PlainSandbox
from tests.support.tasks import a_failing_step, a_task, fill, texts

AGENTS = sorted(endpoints.AGENTS)
every = pytest.mark.parametrize("cli", AGENTS)
AT = datetime(2026, 1, 2, tzinfo=UTC)
ORIGIN = Origin("run", 1, PullRef("acme/shop", 7), "1", "codex")


def a_job(cli: str, tree: Path = SAMPLES, **changes) -> Job:
    config = BackendConfig("mine", cli, changes.pop("model", "m-1"))
    for name in ("options", "options_for_noedit", "options_for_resume"):
        config = replace(config, **{name: changes.pop(name, ())})
    job = Job(config, a_task(title="Mend prices"), tree, PlainSandbox(), Chat(), lambda: False)
    return replace(job, session="s-1", prompt_file="p.md", url="http://gw", **changes)


def invocation(cli: str, tree: Path = SAMPLES, **changes) -> Invocation:
    agent = BACKENDS[cli]
    assert isinstance(agent, Agent)
    made = agent.command(a_job(cli, tree, **changes))
    assert isinstance(made, Invocation)
    return made


def argv(cli: str, **changes) -> tuple[str, ...]:
    return invocation(cli, **changes).argv


# --- Command lines ----------------------------------------------------------------------------


LINES = {
    "aider": """
        aider --model openai/m-1 --edit-format diff --yes-always --no-git --no-auto-commits
        --no-dirty-commits --no-gitignore --no-check-update --analytics-disable
        --no-show-release-notes --no-show-model-warnings --no-pretty --no-fancy-input
        --no-detect-urls --no-suggest-shell-commands --map-tokens 0 --message-file p.md
        -- calc.py test_calc.py
    """,
    "claude": """
        claude -p --output-format stream-json --verbose --strict-mcp-config --model m-1
        --dangerously-skip-permissions
    """,
    "codex": """
        codex exec --json --skip-git-repo-check -s workspace-write -m m-1
        --disable unbounded_connection_retries --disable plugins --disable apps
        -c approval_policy=never -c analytics.enabled=false -c check_for_update_on_startup=false
        -c model_provider=regreen -c 'model_providers.regreen={name="regreen",\
base_url="http://gw/v1",env_key="REGREEN_MODEL_KEY",wire_api="responses",\
request_max_retries=2,stream_max_retries=2,stream_idle_timeout_ms=120000}' -
    """,
    "gemini": "gemini -o stream-json --approval-mode yolo -m m-1",
    "opencode": "opencode run --format json -m regreen/m-1 --title 'regreen s-1'",
    "qwen": """
        qwen --auth-type openai -o stream-json --approval-mode yolo --max-wall-time 1800s
    """,
}
VARIABLES = {
    "aider": """
        OPENAI_API_KEY=sk-regreen OPENAI_API_BASE=http://gw/v1 LITELLM_LOCAL_MODEL_COST_MAP=True
    """,
    "claude": """
        ANTHROPIC_BASE_URL=http://gw ANTHROPIC_API_KEY=sk-regreen CLAUDE_CODE_MAX_RETRIES=2
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 IS_SANDBOX=1
    """,
    "codex": "REGREEN_MODEL_KEY=sk-regreen",
    "gemini": """
        GEMINI_API_KEY=sk-regreen GOOGLE_GEMINI_BASE_URL=http://gw
        GEMINI_CLI_TRUST_WORKSPACE=true GEMINI_CLI_NO_RELAUNCH=true
    """,
    "opencode": """
        OPENCODE_DISABLE_AUTOUPDATE=1 OPENCODE_DISABLE_MODELS_FETCH=1
        OPENCODE_DISABLE_LSP_DOWNLOAD=1 OPENCODE_DISABLE_DEFAULT_PLUGINS=1
    """,
    "qwen": """
        OPENAI_API_KEY=sk-regreen OPENAI_BASE_URL=http://gw/v1 OPENAI_MODEL=m-1
        QWEN_CODE_NO_RELAUNCH=1 QWEN_CODE_SUPPRESS_YOLO_WARNING=1
    """,
}


@every
def test_the_command_line_and_the_variables(cli, tmp_path):
    made = invocation(cli, fill(tmp_path, {"calc.py": "", "test_calc.py": ""}))
    assert list(made.argv) == shlex.split(LINES[cli])
    env = {name: one for name, one in made.env.items() if name != "OPENCODE_CONFIG_CONTENT"}
    assert env == dict(word.split("=") for word in VARIABLES[cli].split())


def test_settings_that_need_a_file_lie_in_the_home_folder():
    given = {
        cli: {name: json.loads(one) for name, one in invocation(cli).files.items()}
        for cli in AGENTS
    }
    quiet = {"general": {"enableAutoUpdate": False}, "privacy": {"usageStatisticsEnabled": False}}
    assert {cli: files for cli, files in given.items() if files} == {
        "gemini": {
            ".gemini/settings.json": {
                **quiet,
                "general": {"enableAutoUpdate": False, "maxAttempts": 1},
                "security": {"auth": {"selectedType": "gemini-api-key"}},
            }
        },
        "qwen": {
            ".qwen/settings.json": {
                **quiet,
                "model": {"generationConfig": {"timeout": 300_000, "maxRetries": 0}},
            }
        },
    }


def test_opencode_knows_the_gateway_as_its_only_provider():
    settings = json.loads(invocation("opencode").env["OPENCODE_CONFIG_CONTENT"])
    assert (settings["autoupdate"], settings["share"]) == (False, "disabled")
    assert settings["enabled_providers"] == ["regreen"] == list(settings["provider"])
    assert settings["permission"] == {"*": "allow"}
    options = settings["provider"]["regreen"]["options"]
    assert (options["baseURL"], options["apiKey"]) == ("http://gw/v1", "sk-regreen")
    asked = json.loads(invocation("opencode", question="?").env["OPENCODE_CONFIG_CONTENT"])
    assert asked["permission"]["*"] == "deny"


@every
def test_the_prompt_is_neither_an_argument_nor_a_variable(cli):
    made = invocation(cli)
    assert "Mend prices" in made.stdin
    assert "Never weaken" in made.stdin
    assert "Mend prices" not in repr((made.argv, made.env, made.files))


def test_the_sandbox_of_codex_is_off_inside_ours_only():
    assert "workspace-write" in argv("codex")
    inside = Bubblewrap(SandboxConfig(), TOOLS)
    assert "danger-full-access" in argv("codex", sandbox=inside)


@pytest.mark.parametrize(
    ("cli", "options", "line", "not_in"),
    [
        ("codex", ["--dangerously-bypass-approvals-and-sandbox"], "{0}", "-s"),
        ("codex", ["--model", "[model_name]"], "--model m-1", "-m"),
        ("codex", ["--json", "-c", "x=1"], "-c x=1", ""),
        ("claude", ["--print", "--dangerously-skip-permissions"], "--dangerously-skip", "--print"),
        ("claude", ["--output-format", "json", "--effort", "high"], "--effort high", "json"),
        ("claude", ["--output-format=json"], "stream-json", "--output-format=json"),
        ("claude", ["--permission-mode", "acceptEdits"], "{0}", "--dangerously-skip-permissions"),
        ("gemini", ["--yolo"], "--yolo", "--approval-mode"),
        ("gemini", ["-o", "text", "--debug"], "--debug", "text"),
        ("qwen", ["-y"], "-y", "--approval-mode"),
        ("qwen", ["--max-wall-time", "5m"], "--max-wall-time 5m", "1800s"),
        ("opencode", ["--model", "openai/x", "--agent", "build"], "--agent build", "openai/x"),
        ("aider", ["--message", "x", "--edit-format", "whole"], "whole", "--message "),
    ],
)
def test_every_choice_is_made_once(cli, options, line, not_in):
    made = shlex.join(argv(cli, options=tuple(options)))
    assert line.format(*options) in made
    assert not not_in or f" {not_in} " not in f"{made} "
    flags = [word for word in argv(cli, options=tuple(options)) if word.startswith("--")]
    repeated = {"--disable"}
    assert len(flags) == len(set(flags)) or set(flags) & repeated


def test_placeholders_are_filled_and_unknown_ones_stay():
    options = ("[model_name]", "--s=[sessionId]", "[settings]", "[model_provider]", "[nothing]")
    assert argv("claude", options=options)[-5:] == (
        *("m-1", "--s=s-1", "[settings]", "[model_provider]", "[nothing]"),
    )
    assert "--s=agent-7" in argv("claude", options=options, resume="agent-7")


@every
def test_a_question_has_its_own_options_and_prompt(cli):
    question = "Why is it red?"
    made = invocation(cli, question=question, options=("--a",), options_for_noedit=("--b",))
    assert made.stdin.endswith("Why is it red?\n")
    assert "You only answer" in made.stdin
    assert "--b" in made.argv
    assert "--a" not in made.argv
    assert "--a" in argv(cli, question=question, options=("--a",)), "it takes the ordinary ones"


@pytest.mark.parametrize(
    ("cli", "option"),
    [("claude", "--dangerously-skip-permissions"), ("gemini", "--yolo"), ("qwen", "-y")],
)
def test_a_question_is_never_asked_with_leave_to_change(cli, option):
    made = argv(cli, question="Why?", options=(option, "--debug"))
    assert option not in made
    assert "yolo" not in made
    assert "--debug" in made


@pytest.mark.parametrize(
    ("cli", "line"),
    [
        ("codex", "resume id-7 -"),
        ("claude", "--resume id-7"),
        ("gemini", "--resume id-7"),
        ("qwen", "--resume id-7"),
        ("opencode", "--session id-7"),
    ],
)
def test_a_session_goes_on(cli, line):
    assert line in shlex.join(argv(cli, resume="id-7"))
    assert "id-7" not in argv(cli)


def test_options_for_resume_come_with_a_session_and_may_replace_our_flag():
    options = {"options_for_resume": ("--continue",)}
    assert "--continue" not in argv("claude", **options)
    made = argv("claude", resume="id-7", **options)
    assert "--continue" in made
    assert "--resume" not in made


@pytest.mark.parametrize("cli", ["codex", "claude", "gemini"])
def test_a_model_that_is_only_the_backend_s_name_is_left_to_the_agent(cli):
    assert not {"-m", "--model"} & set(argv(cli, model=cli))
    assert {"-m", "--model"} & set(argv(cli))


@pytest.mark.parametrize("cli", ["opencode", "aider"])
def test_an_agent_that_needs_a_model_says_so(cli):
    agent = BACKENDS[cli]
    assert isinstance(agent, Agent)
    answer = agent.command(a_job(cli, model="mine"))
    assert answer == Answer(Ending.NOT_FOUND, detail="backend mine names no model")


# --- Words ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", words.RULES, ids=lambda rule: rule.example[:40])
def test_each_row_of_words_tells_its_ending(rule):
    status = 0 if 0 in rule.statuses else next(iter(rule.statuses))
    assert words.meaning(rule.example, status) is rule.ending


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_alone_mean_nothing(rows, seconds):
    assert words.meaning(f"{rows} rows, {seconds} passed in 0.{seconds}s (step {rows})") is None


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (401, Ending.AUTH),
        (402, Ending.USAGE_LIMIT),
        (404, Ending.NOT_FOUND),
        (429, Ending.RATE_LIMITED),
        (500, Ending.UNAVAILABLE),
        (529, Ending.UNAVAILABLE),
    ],
)
def test_a_status_tells_without_words(status, ending):
    assert words.meaning("", status) is ending
    assert words.meaning(f"unexpected status {status}: oh") is ending


# --- The gateway is the first witness -----------------------------------------------------------


def a_call(ending: Ending | None, **more) -> Call:
    given = {"tokens": Tokens(100, 10), "cost_nano": None, "detail": "the endpoint said so"}
    return Call("1", ORIGIN, AT, "m", ending=ending, **{**given, **more})


@pytest.mark.parametrize(
    ("said", "seen", "ending"),
    [
        (Ending.TOOL_FAILED, [Ending.RATE_LIMITED], Ending.RATE_LIMITED),
        (Ending.TIMEOUT, [None, Ending.USAGE_LIMIT], Ending.USAGE_LIMIT),
        (Ending.UNAVAILABLE, [Ending.AUTH, Ending.KILLED], Ending.AUTH),
        (Ending.EDITED, [Ending.AUTH], Ending.AUTH),
        (Ending.EDITED, [None, Ending.NOT_FOUND], Ending.EDITED),
        (Ending.NO_CHANGE, [Ending.RATE_LIMITED, None], Ending.NO_CHANGE),
        (Ending.INVALID, [None], Ending.INVALID),
        (Ending.KILLED, [Ending.RATE_LIMITED], Ending.KILLED),
        (Ending.TIMEOUT, [], Ending.TIMEOUT),
    ],
)
def test_what_the_gateway_saw_comes_before_what_the_agent_says(said, seen, ending):
    answer = witnessed(Answer(said, detail="own words"), [a_call(one) for one in seen], "mine")
    assert answer.ending is ending
    assert answer.detail == ("own words" if ending is said else "mine: the endpoint said so")


def test_the_gateway_counts_tokens_money_and_the_wait():
    calls = [a_call(None, cost_nano=2_000_000_000), a_call(Ending.RATE_LIMITED, retry_after_s=9.0)]
    answer = witnessed(Answer(Ending.TOOL_FAILED, usage=Usage(1, 1, 9.0)), calls, "mine")
    assert answer.usage == Usage(200, 20, 2.0)
    assert answer.retry_after_s == 9.0


@pytest.mark.parametrize(
    ("config", "api", "base_url"),
    [
        (BackendConfig("a", "codex", "m"), Api.OPENAI, "https://api.openai.com/v1"),
        (BackendConfig("a", "claude", "m"), Api.ANTHROPIC, "https://api.anthropic.com"),
        (
            BackendConfig("a", "gemini", "m"),
            Api.GEMINI,
            "https://generativelanguage.googleapis.com",
        ),
        (
            BackendConfig("a", "aider", "m", openai_base_url="http://o/v1"),
            Api.OPENAI,
            "http://o/v1",
        ),
        (BackendConfig("a", "claude", "m", openai_base_url="http://o"), Api.ANTHROPIC, None),
        (BackendConfig("a", "patch_worker", "m", base_url="http://o"), Api.OPENAI, "http://o"),
    ],
)
def test_the_gateway_is_told_where_a_backend_may_call(config, api, base_url):
    keyed = replace(config, api_key=Secret("k"), models=("m",), price_in=1.0, price_out=2.0)
    whole = Configuration(budget=Caps(per_day_usd=1.0), prices=(PriceOf("m*", Price(9.0, 9.0)),))
    grant = endpoints.grant(keyed, config.backend_type, ORIGIN, whole)
    assert not isinstance(grant, Answer)
    assert (grant.api, grant.key, grant.models) == (api, Secret("k"), ("m",))
    assert grant.base_url == (base_url or "https://api.anthropic.com")
    assert grant.price == keyed.price
    assert grant.caps.per_day_usd == 1.0
    assert (grant.price_of("m"), grant.price_of("m-2")) == (keyed.price, Price(9.0, 9.0))


def end(config: BackendConfig, tree: Path, sandbox: Sandbox | None = None, **given) -> Answer:
    configuration = Configuration(backends={config.name: config})
    registry = Registry(lambda: configuration, sandbox or PlainSandbox(), Chat(), **given)
    return registry.run(config.name, fallback=False, task=a_task(), tree=tree, stop=lambda: False)


def test_without_a_key_no_agent_starts(tmp_path):
    with running() as (gateway, _, _):
        keyless = end(BackendConfig("codex", "codex", "m"), tmp_path, gateway=gateway)
    assert (keyless.ending, keyless.detail) == (Ending.AUTH, "backend codex has no api_key")


def test_the_model_of_an_agent_that_cannot_start_is_asked_for_a_patch(tmp_path):
    fill(tmp_path, {"a.py": "x = 1\n"})
    edit = "a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n"
    with ScriptedModel() as model, running() as (gateway, _, _):
        model.will_answer("m", edit, edit.replace("2", "3").replace("= 1", "= 2"))
        keyed = BackendConfig(
            "gemini", "gemini", "m", base_url=model.url, api_key=Secret("sk-real")
        )
        missing = end(keyed, tmp_path, gateway=gateway)
        alone = end(keyed, tmp_path)
        assert [call.authorization for call in model.calls] == ["Bearer sk-real"] * 2
    assert (missing.ending, alone.ending) == (Ending.EDITED, Ending.EDITED)
    assert missing.detail.startswith("gemini is not installed in the sandbox, so gemini was asked")
    assert alone.detail.startswith("the gateway does not run here, so gemini was asked")
    assert missing.usage.input_tokens > 0
    assert texts(tmp_path) == {"a.py": "x = 3\n"}


def test_an_agent_that_cannot_start_and_has_no_endpoint_is_not_found(tmp_path):
    keyed = BackendConfig("opencode", "opencode", "m", api_key=Secret("k"))
    with running() as (gateway, _, _):
        missing = end(keyed, tmp_path, gateway=gateway)
    alone = end(keyed, tmp_path)
    assert (missing.ending, alone.ending) == (Ending.NOT_FOUND, Ending.NOT_FOUND)
    assert "opencode is not installed" in missing.detail
    assert "the gateway does not run here" in alone.detail


# --- Homes --------------------------------------------------------------------------------------


def test_a_home_is_gone_unless_a_session_may_go_on(tmp_path):
    homes = Homes(tmp_path)
    with homes.open("") as home:
        home.fill({".x/settings.json": "{}"})
        assert (home.path / ".x/settings.json").read_text() == "{}"
        assert home.token == ""
    assert list(tmp_path.iterdir()) == []


def test_a_kept_home_is_found_again_and_left_as_it_is(tmp_path):
    homes = Homes(tmp_path)
    with homes.open("") as home:
        home.fill({"settings": "ours"})
        (home.path / "session").write_text("s")
        home.keep = "agent-7"
        token = home.token
    with homes.open(token) as again:
        (again.path / "settings").unlink()
        (again.path / "settings").symlink_to(tmp_path / "elsewhere")
        again.fill({"settings": "ours"})
        assert again.resume == "agent-7"
        assert (again.path / "session").read_text() == "s"
    assert not (tmp_path / "elsewhere").exists()
    assert list(tmp_path.iterdir()) == [], "nobody kept it again"


@pytest.mark.parametrize("name", ["..", "a", "0" * 32, "../" * 10 + "x", "", "0" * 31 + "/"])
def test_a_session_that_is_not_here_is_a_new_one(tmp_path, name):
    with Homes(tmp_path / "homes").open(f"{name}.agent-7") as home:
        assert home.resume == ""
        assert home.path.is_relative_to(tmp_path / "homes")


def test_one_session_is_never_used_twice_at_a_time(tmp_path):
    homes = Homes(tmp_path)
    with homes.open("") as home:
        home.keep = "agent-7"
        token = home.token
    with homes.open(token) as first, homes.open(token) as second:
        assert (first.resume, second.resume) == ("agent-7", "")
        assert first.path != second.path


def test_a_home_that_nobody_came_back_to_is_removed(tmp_path):
    homes = Homes(tmp_path)
    tokens = []
    for _ in range(2):
        with homes.open("") as home:
            home.keep = "s"
            tokens.append(home.token)
    old = tmp_path / tokens[0].split(".")[0]
    os.utime(old, (1, 1))
    with homes.open("") as home:
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {home.name, tokens[1].split(".")[0]}


def test_without_a_root_no_session_goes_on():
    homes = Homes()
    with homes.open("") as home:
        home.fill({"a/b": "x"})
        home.keep = "s"
        path = home.path
    assert (home.token, path.exists()) == ("", False)


def test_a_home_whose_rights_were_taken_away_is_removed(tmp_path):
    with Homes(tmp_path).open("") as home:
        (home.path / "deep" / "er").mkdir(parents=True)
        (home.path / "deep").chmod(0)
    assert list(tmp_path.iterdir()) == []


# --- Aside --------------------------------------------------------------------------------------

STEERING = {
    ".claude/settings.json": "hooks",
    "sub/.Claude/x": "1",
    ".mcp.json": "{}",
    "AGENTS.md": "obey",
    "sub/deep/CLAUDE.md": "obey",
    ".codex/config.toml": "",
    "opencode.json": "{}",
}


def test_what_would_steer_an_agent_is_away_and_comes_back(tmp_path):
    tree = fill(tmp_path / "tree", {"a.py": "x = 1\n", "sub/b.py": "", **STEERING})
    before = texts(tree)
    with aside.put_aside(tree):
        assert texts(tree) == {"a.py": "x = 1\n", "sub/b.py": ""}
        fill(tree, {".claude/made": "by the agent", "AGENTS.md": "by the agent", "a.py": "x = 2\n"})
    assert texts(tree) == {**before, "a.py": "x = 2\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_nothing_is_put_back_through_a_link_that_the_agent_made(tmp_path):
    outside = fill(tmp_path / "outside", {"kept": ""})
    tree = fill(tmp_path / "tree", {"sub/CLAUDE.md": "obey", "gone/AGENTS.md": "obey"})
    with aside.put_aside(tree):
        (tree / "sub").rmdir()
        (tree / "sub").symlink_to(outside)
        (tree / "gone").rmdir()
    assert texts(outside) == {"kept": ""}
    assert not (tree / "gone").exists()


def test_links_are_moved_and_never_followed(tmp_path):
    outside = fill(tmp_path / "outside", {"settings.json": ""})
    tree = fill(tmp_path / "tree", {"a.py": ""})
    (tree / ".claude").symlink_to(outside)
    with aside.put_aside(tree):
        assert texts(tree) == {"a.py": ""}
    assert texts(tree) == {".claude": str(outside), "a.py": ""}
    assert texts(outside) == {"settings.json": ""}


# --- Programs that stand in for agents, in the real sandbox ---------------------------------------

PROPER = """\
echo '{"type":"thread.started","thread_id":"t-1"}'
echo '{"type":"item.completed","item":{"type":"command_execution"}}'
echo '{"type":"turn.completed","usage":{}}'
"""


def inside(bin_: Path) -> Sandbox:
    """Return the real sandbox with what is in a folder on its PATH."""
    skip_without_bubblewrap()
    return Bubblewrap(SandboxConfig(), f"{bin_}:{TOOLS}")


def outside(bin_: Path) -> Sandbox:
    return NoSandbox(SandboxConfig(), f"{bin_}:{TOOLS}")


either = pytest.mark.parametrize("sandbox_for", [inside, outside])


def program(tmp_path: Path, script: str, name: str = "codex") -> Path:
    """Put a program called *name* into a folder for the PATH."""
    bin_ = tmp_path / "programs" / "bin"
    bin_.mkdir(parents=True, exist_ok=True)
    (bin_ / name).write_text(f"#!/bin/sh\n{script}")
    (bin_ / name).chmod(0o755)
    return bin_


def run(
    sandbox: Sandbox,
    tree: Path,
    *,
    cli: str = "codex",
    stop=lambda: False,
    terms: Terms = ORDINARY,
    homes: Path | None = None,
    **changes,
) -> Answer:
    config = BackendConfig(cli, cli, "m", base_url="http://127.0.0.1:9/v1", **changes)
    configuration = Configuration(backends={cli: config})
    with running() as (gateway, _, _):
        registry = Registry(lambda: configuration, sandbox, Chat(), gateway=gateway, homes=homes)
        given = {"task": a_task(), "tree": tree, "stop": stop, "terms": terms}
        return registry.run(cli, fallback=False, **given)


@pytest.fixture
def tree(tmp_path) -> Path:
    return fill(tmp_path / "tree", {"a.py": "x = 1\n"})


@either
def test_an_agent_gets_the_prompt_a_home_and_the_gateways_address(sandbox_for, tmp_path, tree):
    script = 'cat > got; env >> got; ls -A "$HOME" >> got\n' + PROPER
    answer = run(sandbox_for(program(tmp_path, script)), tree)
    got = (tree / "got").read_text()
    assert answer.ending is Ending.EDITED
    assert "Never weaken" in got
    assert "REGREEN_MODEL_KEY=sk-regreen" in got
    assert sorted(texts(tree)) == ["a.py", "got"]


@either
def test_what_an_agent_makes_of_its_prompts_file_is_gone(sandbox_for, tmp_path, tree):
    script = 'for one in .regreen-prompt-*; do rm "$one"; mkdir "$one"; touch "$one/x"; done\n'
    bin_ = program(tmp_path, script, "mender")
    config = BackendConfig("mine", "command", "m", command="mender [prompt_file]")
    answer = end(config, tree, sandbox_for(bin_))
    assert answer.ending is Ending.EDITED, answer.detail
    assert texts(tree) == {"a.py": "x = 1\n"}


@either
def test_settings_lie_in_the_home_of_the_agent(sandbox_for, tmp_path, tree):
    script = 'cp "$HOME/.gemini/settings.json" seen; ls -A >> seen'
    run(sandbox_for(program(tmp_path, script, "gemini")), tree, cli="gemini")
    settings, *listed = (tree / "seen").read_text().partition("}}}")
    assert "gemini-api-key" in settings
    assert "".join(listed).split() == ["}}}a.py", "seen"], "and no file of ours in the tree"


@either
def test_a_program_that_is_missing(sandbox_for, tmp_path, tree):
    keyed = BackendConfig("aider", "aider", "m", api_key=Secret("k"))
    with running() as (gateway, _, _):
        answer = end(keyed, tree, sandbox_for(tmp_path / "nowhere"), gateway=gateway)
    assert answer.ending is Ending.NOT_FOUND
    assert "aider is not installed" in answer.detail


def test_an_agent_that_edits_nothing_leaves_the_tree_as_it_was(tmp_path, tree):
    answer = run(inside(program(tmp_path, PROPER)), tree)
    assert answer.ending is Ending.EDITED, "it came to a proper end; the diff says the rest"
    assert texts(tree) == {"a.py": "x = 1\n"}


def test_an_agent_that_prints_without_end_is_ended(tmp_path, tree):
    answer = run(inside(program(tmp_path, "exec yes '{}'")), tree)
    assert answer.ending is Ending.INVALID
    assert "bytes of output" in answer.detail


def test_an_agent_that_asks_the_same_again_and_again_is_ended(tmp_path, tree):
    step = '{"type":"step_finish","part":{"reason":"unknown"}}'
    script = f"while :; do echo '{step}'; sleep 0.01; done"
    answer = run(inside(program(tmp_path, script, "opencode")), tree, cli="opencode")
    assert answer.ending is Ending.INVALID
    assert "cannot be read" in answer.detail


def test_an_agent_that_says_nothing_is_ended(tmp_path, tree):
    answer = run(inside(program(tmp_path, "sleep 300")), tree, timeout_s=1.0)
    assert answer.ending is Ending.TIMEOUT


def test_an_agent_is_stopped_with_all_that_it_started(tmp_path, tree):
    name = f"300.{os.getpid()}1"
    script = (
        f"(setsid sleep {name} & ) ; sh -c 'sleep {name} & sleep {name} & wait' &\n"
        f"nohup sleep {name} &\ntouch up; wait"
    )
    answer = run(inside(program(tmp_path, script)), tree, stop=(tree / "up").exists)
    assert answer.ending is Ending.KILLED
    assert running_with(name) == []


def test_what_an_agent_left_running_ends_with_it(tmp_path, tree):
    name = f"300.{os.getpid()}2"
    script = f"setsid sleep {name} >/dev/null 2>&1 & nohup sleep {name} >/dev/null 2>&1 &\n{PROPER}"
    assert run(inside(program(tmp_path, script)), tree).ending is Ending.EDITED
    assert running_with(name) == []


def running_with(word: str) -> list[psutil.Process]:
    """Return the processes that still run; those that are being killed may take a moment."""
    found = [p for p in psutil.process_iter(["cmdline"]) if word in (p.info["cmdline"] or ())]
    return list(psutil.wait_procs(found, 10)[1])


def test_what_an_agent_writes_elsewhere_is_lost(tmp_path, tree):
    script = 'for at in /etc /usr / .. "$HOME" /tmp; do echo x > $at/escaped; done; echo x > made\n'
    assert run(inside(program(tmp_path, script + PROPER)), tree).ending is Ending.EDITED
    assert texts(tree) == {"a.py": "x = 1\n", "made": "x\n"}
    assert [*tmp_path.rglob("escaped"), *Path("/tmp").glob("escaped")] == []
    assert not Path("/etc/escaped").exists()


def test_what_an_agent_commits_by_itself_is_only_a_change_of_files(tmp_path):
    origin = Repository(tmp_path)
    head = origin.commit({"a.py": "x = 1\n"})
    script = (
        "git init -q . && echo 'x = 2' > a.py && git add -A && "
        f"git -c user.name=a -c user.email=a@b commit -qm mine || exit 1\n{PROPER}"
    )
    sandbox = inside(program(tmp_path, script))
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with trees.open("o/r", head, Remote(str(origin.bare), "")) as opened:
        assert run(sandbox, opened.path).ending is Ending.EDITED
        diff = opened.diff()
    assert [line for line in diff.splitlines() if line[:1] in "+-"][2:] == ["-x = 1", "+x = 2"]
    assert ".git" not in diff.replace("diff --git", "")
    assert origin.at() == head


def test_settings_that_a_pull_request_brings_are_not_there_and_come_back(tmp_path):
    tree = fill(tmp_path / "tree", {"a.py": "", **STEERING})
    before = texts(tree)
    script = f'find . -type f -iname "*claude*" -o -name "AGENTS.md" | xargs -r false\n{PROPER}'
    assert run(inside(program(tmp_path, f"set -e\n{script}")), tree).ending is Ending.EDITED
    assert texts(tree) == before


@either
def test_a_session_goes_on_in_the_same_home(sandbox_for, tmp_path, tree):
    script = 'echo "$@" >> "$HOME/calls"; cp "$HOME/calls" calls\n' + PROPER
    sandbox, homes = sandbox_for(program(tmp_path, script)), tmp_path / "homes"
    first = run(sandbox, tree, homes=homes)
    second = run(sandbox, tree, homes=homes, terms=Terms(resume=first.session))
    calls = (tree / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert "resume t-1" not in calls[0]
    assert "resume t-1" in calls[1]
    assert (first.mode, second.mode) == (DrainMode.NORMAL, DrainMode.CONTINUATION)
    assert second.session == first.session != ""


def test_an_agent_that_lost_its_session_starts_anew(tmp_path, tree):
    lost = (
        'case "$*" in *resume*) echo "Error: no rollout found for thread id t-1"; exit 1;; esac\n'
    )
    sandbox, homes = inside(program(tmp_path, lost + PROPER)), tmp_path / "homes"
    first = run(sandbox, tree, homes=homes)
    second = run(sandbox, tree, homes=homes, terms=Terms(resume=first.session))
    assert second.ending is Ending.EDITED
    assert second.session not in {"", first.session}


def test_the_sessions_of_spoilt_runs_are_not_kept(tmp_path, tree):
    script = (
        'echo \'{"type":"thread.started","thread_id":"t-1"}\'\n'
        'echo \'{"type":"turn.failed","error":{"message":"the context window is full"}}\''
    )
    answer = run(inside(program(tmp_path, script)), tree, homes=tmp_path / "homes")
    assert (answer.ending, answer.session) == (Ending.CONTEXT_EXCEEDED, "")
    assert list((tmp_path / "homes").iterdir()) == []


def test_a_question_reaches_the_agent(tmp_path, tree):
    script = "cat > asked\n" + PROPER
    run(inside(program(tmp_path, script)), tree, terms=Terms(question="Why is it red?"))
    assert (tree / "asked").read_text().endswith("Why is it red?\n")


def test_a_long_judgement_keeps_its_first_line(tmp_path, tree):
    said = "VERDICT: no\\n" + "It hides the symptom. " * 300
    message = f'{{"type":"item.completed","item":{{"type":"agent_message","text":"{said}"}}}}'
    (tmp_path / "said").write_text(message)
    script = f"cat {tmp_path / 'said'}; echo\n" + PROPER
    config = BackendConfig("codex", "codex", "m", base_url="http://127.0.0.1:9/v1")
    configuration = Configuration(backends={"codex": config})
    with running() as (gateway, _, _):
        sandbox = outside(program(tmp_path, script))
        registry = Registry(lambda: configuration, sandbox, Chat(), gateway=gateway)
        question = Question(Purpose.ANALYSIS, a_task(a_failing_step()))
        answer = registry.consult(
            "codex", question=question, tree=tree, within_s=20.0, stop=lambda: False
        )
    assert answer.ending is Ending.NO_CHANGE
    assert answer.text.splitlines()[0] == "VERDICT: no"
    assert len(answer.text) > 6_000


def test_fixers_answer_no_questions(tmp_path):
    registry = Registry(Configuration, PlainSandbox(), Chat())
    given = {"task": a_task(a_failing_step()), "tree": tmp_path, "stop": lambda: False}
    answer = registry.run("fixers", fallback=False, terms=Terms(question="Why?"), **given)
    assert answer.ending is Ending.NOT_FOUND
    assert json.dumps(answer.detail) == '"fixers answer no questions"'
