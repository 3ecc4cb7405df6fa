"""Row 15: a second pull request at the same commit gets the success of the first.

Control: the check run is one for each pull request at a head, found by its `external_id`
(`bot/github/card.py`). Off (two cards of one name), the second would overwrite the first.
"""

from bot.domain.values import Card, Conclusion, PullRef, Secret, Sha
from bot.github.connect import connect
from bot.runtime.clock import SystemClock
from tests.support.scripted_github import a_server
from tests.support.simulated import REPO, simulated_github

github = simulated_github(run_workflows=False)


def shown(github, *cards: Card) -> dict[str, str | None]:
    """Show cards; return the conclusions of our check runs at the head by what they name."""
    bot = connect(
        a_server(github.url, Secret(github.private_key), github.app_id),
        SystemClock(),
        seconds_between_writes=0,
    )
    for card in cards:
        bot.checks.show(card)
    bot.close()
    with github.hub.state.lock:
        found = [one for one in github.hub.state.checks.values() if one.name == "regreen"]
    return {str(one.external_id): one.conclusion for one in found}


def test_the_first_ones_success_is_not_the_siblings(github):
    first = PullRef(REPO, github.open_pull(REPO, {"a": "1\n"}))
    head = Sha(github.head(REPO, first.number))
    sibling = PullRef(REPO, first.number + 1)
    waiting = Card(sibling, head, "waits", "s")
    green = Card(first, head, "green", "s", Conclusion.SUCCESS)
    assert shown(github, waiting, green) == {str(first): "success", str(sibling): None}


def test_under_one_name_it_would_be(github):
    first = PullRef(REPO, github.open_pull(REPO, {"a": "1\n"}))
    head = Sha(github.head(REPO, first.number))
    waiting, green = (
        Card(first, head, "waits", "s"),
        Card(first, head, "green", "s", Conclusion.SUCCESS),
    )
    assert shown(github, waiting, green) == {str(first): "success"}
