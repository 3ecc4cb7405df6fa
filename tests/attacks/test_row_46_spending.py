"""Row 46: somebody has the bot spend its owner's money.

Control: the gateway holds a call's greatest likely cost back in the ledger before it is sent, and
refuses what would not fit under a cap. A thousand calls go through the real gateway, with a ledger
in SQLite. Off (no cap), they would all be paid for. How often one pull request is worked on at all
is bounded besides (row 47).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bot.domain.models import Caps, accounts
from bot.runtime.clock import SystemClock
from bot.store.database import connect
from bot.store.ledger import SqlLedger
from bot.store.migrate import migrate
from tests.support.gateways import ORIGIN, Opened, a_grant, opened
from tests.support.model_api import ModelApi, model_api, reply, says

NANO = 10**9
CAPS = ["per_attempt_usd", "per_pull_usd", "per_repo_usd", "per_tenant_usd", "per_day_usd"]
USAGE = {"prompt_tokens": 100, "completion_tokens": 50}
ANSWER = {"id": "1", "choices": [{"message": {"content": "ok"}}], "usage": USAGE}
ASKED = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 50}
COST = 100 * 2_000 + 50 * 10_000  # in nano-dollars, at the grant's price for a million tokens
CAP = 40 * COST


@pytest.fixture
def vendor() -> Iterator[ModelApi]:
    with model_api(says(reply(200, ANSWER))) as api:
        yield api


@pytest.fixture
def ledger(tmp_path) -> Iterator[SqlLedger]:
    database = connect("", tmp_path)
    migrate(database)
    yield SqlLedger(database)
    database.close()


def called(agent: Opened, times: int) -> set[int]:
    def call(_: int) -> int:
        return agent.client.post("/v1/chat/completions", json=ASKED).status_code

    with ThreadPoolExecutor(4) as pool:
        return set(pool.map(call, range(times)))


def spent(ledger: SqlLedger, caps: Caps) -> int:
    """Return what the account that is full says, in nano-dollars."""
    names = [one.name for one in accounts(ORIGIN, caps, SystemClock().now())]
    return max(ledger.spent(name).spent_nano + ledger.spent(name).held_nano for name in names)


@pytest.mark.parametrize("cap", CAPS)
def test_of_a_thousand_calls_no_more_are_paid_for_than_fit_under_a_cap(vendor, ledger, cap):
    caps = Caps(**{cap: CAP / NANO})
    with opened(a_grant(vendor.url, caps=caps), ledger) as agent:
        assert called(agent, 1_000 // len(CAPS)) == {200, 402}
    assert 0 < len(vendor.seen) <= CAP // COST
    assert spent(ledger, caps) <= CAP
    assert len(vendor.seen) * COST == spent(ledger, caps)


def test_without_the_cap_each_would_be_paid_for(vendor, ledger):
    with opened(a_grant(vendor.url), ledger) as agent:
        assert called(agent, 60) == {200}
    assert spent(ledger, Caps()) == 60 * COST > CAP
