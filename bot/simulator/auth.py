"""Who is asking, and whether they may.

Four kinds of callers: nobody, the App itself (a JWT signed with its key), an installation token,
and a person. Unlike GitHub, which shows public things to any token, an installation token here
always needs the permission that the operation names: a missing permission then shows in a test.
https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

import base64
import binascii
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.types import Options

from bot.simulator.clock import now
from bot.simulator.hub import Hub
from bot.simulator.problems import Problem, forbidden, not_found
from bot.simulator.state import LEVELS, Installation, Repo, Token, User

JWT_S = 600  # the longest life that GitHub accepts
SKEW_S = 60
TOKEN_LENGTH = 520


@dataclass(frozen=True, slots=True)
class AppItself:
    """The App, by its JWT."""

    slug: str


Who = AppItself | Token | User | None


@dataclass(frozen=True, slots=True)
class Need:
    """What an operation asks: of a token any one of *permissions*, of a person *person*."""

    permissions: tuple[str, ...]
    level: str = "read"
    person: str = "read"


def new_key() -> str:
    """Make an RSA key and return it as PEM text."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def new_person_token() -> str:
    """Make a personal access token."""
    return f"ghp_{secrets.token_hex(18)}"


def credentials(header: str) -> str | None:
    """Return the token in an Authorization header: Bearer, token or the password of Basic."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return value.strip() or None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or user or None


def identify(hub: Hub, token: str | None) -> Who:
    """Return whose *token* it is; raise a 401 Problem when nobody's or too old."""
    if token is None:
        return None
    if token.count(".") == 2 and not token.startswith("gh"):  # noqa: PLR2004 - a JWT has three parts
        return _app(hub, token)
    issued = hub.state.tokens.get(token)
    if issued is not None and issued.expires_at > now():
        return issued
    for user in hub.state.users.values():
        if user.token and secrets.compare_digest(user.token.encode(), token.encode()):
            return user
    raise Problem(401, "Bad credentials")


@cache
def _public(private_key: str) -> rsa.RSAPublicKey:
    """Return the App's public key; reading the private one checks its numbers, for some 30 ms."""
    key = serialization.load_pem_private_key(private_key.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.public_key()


def _app(hub: Hub, token: str) -> AppItself:
    options: Options = {
        "verify_exp": False,
        "verify_iat": False,
        "require": ["exp", "iat", "iss"],
    }
    try:
        claims = jwt.decode(token, _public(hub.private_key), algorithms=["RS256"], options=options)
    except jwt.PyJWTError as error:
        raise Problem(401, "A JSON web token could not be decoded") from error
    at = int(now().timestamp())
    if str(claims["iss"]) not in {str(hub.app.id), f"Iv1.{hub.app.id:016x}"}:
        raise Problem(401, "Integration not found")
    if not isinstance(claims["iat"], int) or claims["iat"] > at + SKEW_S:
        raise Problem(401, "'Issued at' claim ('iat') must be in the past")
    if not isinstance(claims["exp"], int) or claims["exp"] <= at:
        raise Problem(401, "'Expiration time' claim ('exp') must be in the future")
    if claims["exp"] > at + JWT_S + SKEW_S or claims["exp"] - claims["iat"] > JWT_S + SKEW_S:
        raise Problem(401, "'Expiration time' claim ('exp') is too far in the future")
    return AppItself(hub.app.slug)


def actor(hub: Hub, who: Who) -> User:
    """Return the account in whose name *who* writes."""
    if isinstance(who, User):
        return who
    if who is None:
        raise Problem(401, "Requires authentication")
    return hub.app.bot


def permit(hub: Hub, who: Who, repo: Repo, need: Need) -> None:
    """Raise the Problem that GitHub answers when *who* may not; return when they may."""
    if isinstance(who, AppItself):
        raise forbidden()
    if isinstance(who, Token):
        _permit_token(who, repo, need)
    elif isinstance(who, User):
        _permit_person(hub, who, repo, need)
    elif repo.private:
        raise not_found()
    elif need.level != "read":
        raise Problem(401, "Requires authentication")


def _permit_token(token: Token, repo: Repo, need: Need) -> None:
    if token.installation.suspended_at is not None:
        raise Problem(403, "This installation has been suspended")
    if repo.id not in token.repos:
        raise not_found() if repo.private else forbidden()
    if not any(allows(token, permission, need.level) for permission in need.permissions):
        raise forbidden()


def allows(token: Token, permission: str, level: str) -> bool:
    """Tell whether a token holds a permission at a level."""
    return LEVELS.index(token.permissions.get(permission, "none")) >= LEVELS.index(level)


def _permit_person(hub: Hub, user: User, repo: Repo, need: Need) -> None:
    held = LEVELS.index(hub.state.permission(repo, user))
    if held < LEVELS.index("read"):
        if repo.private:
            raise not_found()
        held = LEVELS.index("read")  # anyone reads and comments on what is public
    if held < LEVELS.index(need.person):
        raise Problem(403, "Must have write access to the repository.")


def mint(
    hub: Hub, installation: Installation, repos: list[Repo], permissions: dict[str, str] | None
) -> Token:
    """Issue an installation token; no *permissions* means all that the App has."""
    wanted = dict(permissions or hub.app.permissions)
    wanted.setdefault("metadata", "read")
    for name, level in wanted.items():
        if LEVELS.index(hub.app.permissions.get(name, "none")) < LEVELS.index(level):
            raise Problem(422, "The permissions requested are not granted to this installation.")
    head = f"ghs_{hub.app.id}_"
    text = head + secrets.token_urlsafe(TOKEN_LENGTH)[: TOKEN_LENGTH - len(head)]
    expires_at = now() + timedelta(seconds=hub.limits.token_s)
    everything = covered(hub, installation)
    token = Token(
        text=text,
        installation=installation,
        repos=frozenset(repo.id for repo in repos),
        permissions=wanted,
        expires_at=expires_at,
        narrowed=len(repos) < len(everything),
    )
    hub.state.tokens[text] = token
    return token


def covered(hub: Hub, installation: Installation) -> list[Repo]:
    """List the repositories of an installation."""
    repos = hub.state.repos.values()
    return [repo for repo in repos if repo.installed and repo.owner is installation.account]


def expire(hub: Hub, at: datetime) -> int:
    """End every installation token at *at*; return how many there are."""
    for token in hub.state.tokens.values():
        token.expires_at = min(token.expires_at, at)
    return len(hub.state.tokens)
