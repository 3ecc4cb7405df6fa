"""A webhook endpoint that remembers what it got."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.simulator.loopback import served


@dataclass
class Receiver:
    """What arrived, in order, as (headers, body); `status` is what it answers."""

    url: str = ""
    status: int = 202
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def guids(self) -> list[str]:
        return [headers["x-github-delivery"] for headers, _ in self.got]

    def events(self) -> list[str]:
        return [headers["x-github-event"] for headers, _ in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    async def take(request: Request) -> Response:
        receiver.got.append((dict(request.headers), await request.body()))
        return Response(status_code=receiver.status)

    with served(Starlette(routes=[Route("/hook", take, methods=["POST"])])) as url:
        receiver.url = f"{url}/hook"
        yield receiver
