"""What recorded runs of the agents' command lines come to.

Our own samples always run; the larger set lies outside the project and runs where it is. "Edited"
says that the agent came to a proper end, whatever it did: the diff is looked at by others.
"""

import pytest

from bot.backends.base import Agent, Job
from bot.backends.registry import BACKENDS
from bot.config.schema import BackendConfig
from bot.domain.answers import Answer, Ending
from bot.domain.ports import Finished
from bot.gateway.chat import Chat
from tests.support.captures import SAMPLES, capture, sample, shared
from tests.support.sandboxes import PlainSandbox
from tests.support.tasks import a_task

OWN = {
    "fix": Ending.EDITED,
    "empty": Ending.INVALID,
    "key": Ending.AUTH,
    "limit": Ending.RATE_LIMITED,
    "quota": Ending.USAGE_LIMIT,
    "model": Ending.NOT_FOUND,
    "html": Ending.INVALID,
}
# Recorded in formats that we do not ask for (x-json, x-text, x-human) a run has no result to read.
# Where the model hung, gemini's own words are that the network failed.
EXPECTED = {
    "aider": {
        Ending.EDITED: "fix flaky-500 flaky-rate",
        Ending.KILLED: "hang",
        Ending.NETWORK: "connrefused drop",
        Ending.UNAVAILABLE: "err-500 err-503 err-529",
        Ending.RATE_LIMITED: "err-rate err-rate60",
        Ending.USAGE_LIMIT: "err-credit err-quota err-usage",
        Ending.AUTH: "err-auth err-perm",
        Ending.NOT_FOUND: "err-model",
        Ending.CONTEXT_EXCEEDED: "err-context",
        Ending.INVALID: "empty garbage",
    },
    "claude": {
        Ending.EDITED: """
            bwrap-net bwrap-net-probe bwrap-net-uid1000 fix flaky-500 flaky-529 flaky-rate probe
            sleeptool x-acceptEdits-root x-auth-token x-bare x-bwrap x-default-mode
            x-dontAsk-allowedTools-root x-json x-json-schema x-no-disable-flags
            x-probe-env-scrub x-resume1 x-resume2 x-session-id x-uid65534
        """,
        Ending.KILLED: """
            bwrap-sleeptool-kill bwrap-sleeptool-term x-sleeptool-int x-sleeptool-kill
            x-sleeptool-term
        """,
        Ending.TIMEOUT: """
            cap-hang cap-hang-firstbyte cap-stall cap-stall-watchdog hang loop stall x-max-turns
        """,
        Ending.NETWORK: "cap-connrefused connrefused drop",
        Ending.UNAVAILABLE: """
            cap-err-500 cap-err-529 err-500 err-503 err-529 err-sse-overload
        """,
        Ending.RATE_LIMITED: """
            cap-err-rate cap-err-rate60 err-rate err-rate60 err-sse-rate err-usage
        """,
        Ending.USAGE_LIMIT: "err-credit err-quota x-max-budget x-oauth-usage",
        Ending.AUTH: "cap-err-auth err-auth err-perm x-nokey x-text-401",
        Ending.NOT_FOUND: "err-model x-resume-bad",
        Ending.CONTEXT_EXCEEDED: "err-context err-sse-context",
        Ending.INVALID: "empty garbage",
        Ending.TOOL_FAILED: "root-IS_SANDBOX-yes x-root-no-IS_SANDBOX x-session-id-again",
    },
    "codex": {
        Ending.EDITED: """
            bwrap-net bwrap-net-nested-workspace-write
            bwrap-net-nested-workspace-write-uid1000 bwrap-net-uid1000 fix fix-gpt-5.5
            fix-gpt-6-astra flaky-500 flaky-rate flaky-sse-rate probe x-builtin-openai x-bwrap
            x-bwrap-nested-workspace-write x-bypass x-envcore x-readonly x-resume1 x-resume2
            x-sleeptool-background x-uid65534
        """,
        Ending.KILLED: """
            bwrap-sleeptool-kill bwrap-sleeptool-term sleeptool x-native-sleeptool-int
            x-native-sleeptool-kill x-native-sleeptool-kill-fullaccess x-native-sleeptool-term
            x-native-sleeptool-term-fullaccess x-wrapper-sleeptool-kill
        """,
        Ending.TIMEOUT: "cap-hang cap-stall hang loop stall",
        Ending.NETWORK: """
            cap-connrefused cap-drop connrefused drop x-builtin-env x-connrefused-nounbound
            x-connrefused-nounbound0
        """,
        Ending.UNAVAILABLE: """
            cap-err-500 cap-flaky-500 err-500 err-503 err-529 err-sse-overload
        """,
        Ending.RATE_LIMITED: "cap-err-rate cap-err-rate60 err-rate err-rate60 err-sse-rate",
        Ending.USAGE_LIMIT: "err-credit err-quota err-sse-quota err-usage",
        Ending.AUTH: "cap-err-auth err-auth err-perm x-nokey",
        Ending.NOT_FOUND: "err-model x-resume-bad",
        Ending.CONTEXT_EXCEEDED: "err-context err-sse-context",
        Ending.INVALID: "empty garbage",
        Ending.TOOL_FAILED: "x-human x-nogit x-wire-chat",
    },
    "gemini": {
        Ending.EDITED: """
            bwrap-net fix flaky-500 flaky-503 flaky-rate probe x-auto_edit x-bwrap
            x-default-mode x-model-default x-no-relaunch x-probe x-prompt-arg x-resume1
            x-resume2 x-skip-trust x-uid65534
        """,
        Ending.KILLED: """
            bwrap-sleeptool-kill bwrap-sleeptool-term sleeptool x-hang-term x-sleeptool-kill
            x-sleeptool-term
        """,
        Ending.TIMEOUT: "stall x-max-turns",
        Ending.NETWORK: "cap1-connrefused cap1-hang connrefused drop hang",
        Ending.UNAVAILABLE: "cap1-err-500 err-500 err-503 err-529",
        Ending.RATE_LIMITED: "cap1-err-rate err-rate err-rate60",
        Ending.USAGE_LIMIT: "cap1-err-usage err-credit err-quota err-usage",
        Ending.AUTH: """
            err-auth err-perm x-json-err-auth x-no-settings x-nokey x-text-err-auth
        """,
        Ending.NOT_FOUND: "err-model x-resume-bad",
        Ending.CONTEXT_EXCEEDED: "err-context",
        Ending.INVALID: "empty err-sse-context err-sse-overload garbage",
        Ending.TOOL_FAILED: "loop x-json x-untrusted-yolo",
    },
    "opencode": {
        Ending.EDITED: """
            bwrap-net fix flaky-500 flaky-503 flaky-rate probe x-anthropic x-arg x-auto-flag
            x-bwrap x-cost x-default-perms x-no-disable-env x-openai-responses x-resume1
            x-resume2 x-title x-uid65534 x-warm-1 x-warm-2
        """,
        Ending.KILLED: "sleeptool x-sleeptool-int x-sleeptool-term",
        Ending.TIMEOUT: """
            err-rate60 err-sse-context err-sse-overload hang loop stall x-agent-steps
            x-chunkTimeout-stall x-timeout-option-hang
        """,
        Ending.NETWORK: "connrefused drop",
        Ending.UNAVAILABLE: "err-500 err-503 err-529",
        Ending.RATE_LIMITED: "err-rate",
        Ending.USAGE_LIMIT: "err-credit err-quota err-usage",
        Ending.AUTH: "err-auth err-perm x-openai-responses-401",
        Ending.NOT_FOUND: "err-model x-resume-bad",
        Ending.CONTEXT_EXCEEDED: "err-context",
        Ending.INVALID: "empty garbage",
        Ending.TOOL_FAILED: """
            x-invalid-config x-model-not-in-config x-perms-ask x-text x-unknown-provider
        """,
    },
    "qwen": {
        Ending.EDITED: """
            bwrap-net fix flaky-500 flaky-503 flaky-rate probe x-auth-anthropic x-auto-edit
            x-bare x-bwrap x-default-mode x-direct-cli.js x-latest-on-node20 x-no-relaunch
            x-resume1 x-resume2 x-uid65534
        """,
        Ending.KILLED: """
            bwrap-sleeptool-kill sleeptool x-direct-cli.js-sleeptool-term x-hang-term
            x-sleeptool-kill x-sleeptool-term
        """,
        Ending.TIMEOUT: """
            err-rate60 hang stall x-max-session-turns x-max-tool-calls x-max-wall-time
            x-max-wall-time-hang
        """,
        Ending.NETWORK: "cap0-connrefused connrefused drop",
        Ending.UNAVAILABLE: "cap0-err-500 err-500 err-503 err-529 err-sse-overload",
        Ending.RATE_LIMITED: "cap0-err-rate err-rate err-sse-rate",
        Ending.USAGE_LIMIT: "cap0-err-quota err-credit err-quota err-usage",
        Ending.AUTH: "err-auth err-perm x-nokey x-text-err-auth",
        Ending.NOT_FOUND: "err-model x-resume-bad",
        Ending.CONTEXT_EXCEEDED: "err-context err-sse-context",
        Ending.INVALID: "empty garbage",
        Ending.TOOL_FAILED: "loop x-json x-text",
    },
}
CAPTURES = {
    (cli, case): ending
    for cli, ends in EXPECTED.items()
    for ending, cases in ends.items()
    for case in cases.split()
}


def read(cli: str, finished: Finished, **changes) -> Answer:
    agent, config = BACKENDS[cli], BackendConfig(cli, cli, "m", **changes)
    assert isinstance(agent, Agent)
    job = Job(config, a_task(), SAMPLES, PlainSandbox(), Chat(), lambda: False)
    return agent.read(job, finished)


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.txt")))
def test_every_sample_of_ours_has_its_ending(name):
    cli, case = name.split("-")
    answer = read(cli, sample(name))
    assert answer.ending is OWN[case]
    assert bool(answer.detail) == (answer.ending is not Ending.EDITED)


@pytest.mark.parametrize(("cli", "case"), sorted(CAPTURES))
def test_every_capture_has_its_ending(cli, case):
    folder = shared()
    if folder is None:
        pytest.skip("REGREEN_SHARED does not say where the captures are")
    assert read(cli, capture(folder / cli / f"{case}.txt")).ending is CAPTURES[cli, case]


def test_no_capture_is_left_out():
    folder = shared()
    if folder is None:
        pytest.skip("REGREEN_SHARED does not say where the captures are")
    assert {(path.parent.name, path.stem) for path in folder.glob("*/*.txt")} == set(CAPTURES)


@pytest.mark.parametrize("cli", sorted(EXPECTED))
def test_a_proper_end_carries_text_tokens_and_session(cli):
    answer = read(cli, sample(f"{cli}-fix"))
    assert "mend" in answer.text.lower()
    assert answer.usage.input_tokens >= 2000
    assert answer.usage.output_tokens >= 30
    assert bool(answer.session) == (cli != "aider"), "aider keeps no sessions"


@pytest.mark.parametrize("cli", sorted(EXPECTED))
def test_without_a_word_of_its_end_an_agent_has_failed(cli):
    whole = sample(f"{cli}-fix").output.splitlines()
    cut = "\n".join(line for line in whole[:3] if "result" not in line)
    assert read(cli, Finished(0, cut, 1.0)).ending is Ending.TOOL_FAILED
    assert read(cli, Finished(0, "", 1.0)).ending is Ending.TOOL_FAILED


@pytest.mark.parametrize("cli", sorted(EXPECTED))
@pytest.mark.parametrize(
    ("finished", "ending"),
    [
        (Finished(137, "", 9.0, timed_out=True, fault="no output for 9 s"), Ending.TIMEOUT),
        (Finished(137, "", 9.0, endless=True, fault="more than 9 bytes"), Ending.INVALID),
        (Finished(137, "", 9.0, stopped=True, fault="stopped"), Ending.KILLED),
        (Finished(137, "", 9.0, fault="more than 9 MB of memory"), Ending.KILLED),
        (Finished(127, "x: No such file or directory", 0.1), Ending.NOT_FOUND),
        (Finished(1, "ENOSPC: no space left on device, write", 0.1), Ending.DISK_FULL),
    ],
    ids=["silent", "endless", "stopped", "killed", "missing", "disk full"],
)
def test_how_the_sandbox_ended_it_counts_where_the_agent_says_nothing(cli, finished, ending):
    assert read(cli, finished).ending is ending


def test_a_silent_agent_is_told_by_its_silence():
    finished = Finished(137, "", 600.0, timed_out=True, fault="no output for 600 s")
    assert read("codex", finished).detail == "codex was ended: no output for 600 s"


def test_a_limit_tells_when_to_come_back():
    assert read("codex", _turn_failed("Rate limit reached. Try again in 2s.")).retry_after_s == 2
    waits = read("codex", _turn_failed("usage limit; your quota will reset after 3h0m5s."))
    assert waits.retry_after_s == 3 * 3600 + 5


def test_plain_markers_are_sought_in_the_agents_words_not_in_what_its_tools_print():
    marked = {"usage_markers": ("plan is used up",)}
    tool = '{"type":"item.completed","item":{"type":"command_execution","aggregated_output":"%s"}}'
    printed = f"{tool % 'plan is used up'}\n{sample('codex-fix').output}"
    assert read("codex", Finished(0, printed, 1.0), **marked).ending is Ending.EDITED
    said = _turn_failed("Your PLAN IS USED UP until Monday.")
    assert read("codex", said, **marked).ending is Ending.USAGE_LIMIT


def test_markers_of_json_are_sought_in_every_event():
    marked = {"usage_markers": ({"type": "turn.completed", "usage": {"output_tokens": 40}},)}
    answer = read("codex", sample("codex-fix"), **marked)
    assert answer.ending is Ending.USAGE_LIMIT, "also where the exit code is 0"


def _turn_failed(message: str) -> Finished:
    return Finished(1, f'{{"type":"turn.failed","error":{{"message":"{message}"}}}}\n', 1.0)


@pytest.mark.parametrize("wait", ["\u00b2", "9" * 400, "1e9", "-1", "soon"])
def test_a_wait_that_is_no_number_is_none(wait):
    data = (
        f'"data":{{"message":"no","statusCode":429,"responseHeaders":{{"retry-after":"{wait}"}}}}'
    )
    answer = read("opencode", Finished(1, f'{{"type":"error","error":{{{data}}}}}\n', 1.0))
    assert (answer.ending, answer.retry_after_s) == (Ending.RATE_LIMITED, None)


@pytest.mark.parametrize("count", ["9" * 400, "1.2.3", ",.,", "."])
def test_a_count_that_is_no_number_counts_for_nothing(count):
    output = f"Applied edit to a.py\nTokens: {count} sent, {count}k received.\n"
    answer = read("aider", Finished(0, output, 1.0))
    assert (answer.ending, answer.usage.input_tokens) == (Ending.EDITED, 0)
