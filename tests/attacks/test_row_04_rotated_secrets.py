"""Row 4: a secret that was replaced is used by who stole it.

Control: only the secrets of `REGREEN_WEBHOOK_SECRET` count, two while one is being replaced. Off
(it is still listed), what the old one signed is stored.
"""

from bot.web.signature import genuine, sign
from tests.support.intake import SECOND, SECRET, Server, server, store

__all__ = ["server", "store"]


def test_either_of_two_secrets_is_live_and_a_removed_one_is_not():
    old, new = sign(b"old", b"{}"), sign(b"new", b"{}")
    assert genuine([b"new", b"old"], b"{}", old)
    assert genuine([b"new", b"old"], b"{}", new)
    assert not genuine([b"new"], b"{}", old)
    assert not genuine([], b"{}", old)


def test_a_removed_one_is_401_and_leaves_no_row(server: Server):
    assert server.post(key="removed").status == 401
    assert server.store.guids() == set()


def test_while_it_is_listed_it_counts(server: Server):
    assert server.post(x_github_delivery="a", key=SECRET).status == 202
    assert server.post(x_github_delivery="b", key=SECOND).status == 202
    assert server.store.guids() == {"a", "b"}
