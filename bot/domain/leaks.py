"""Secrets in text: a table of well-known formats, key blocks, and passwords by their looks.

Values that would leak in another dress are found too: long base64, hex and percent-encoded strings
and escapes are decoded and looked at again, and the text is also read backwards. Every pattern is
bounded, so the time is linear in the text. `Known` finds secrets that we hold ourselves, which may
have any format.
"""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote

from bot.domain.values import Secret as Held
from bot.domain.values import Value

REDACTED = "[redacted]"
SHOWN = 4
PLAUSIBLE_ENTROPY = 3.0  # bits for each character; English words have about 2.5 at this length

FORMATS: tuple[tuple[str, str], ...] = (
    ("GitHub token", r"\bgh[pousr]_[A-Za-z0-9._-]{36,}"),
    ("GitHub token", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
    ("GitLab token", r"\bgl(?:pat|ptt|dt|rt|soat|cbt|imt|agent)-[A-Za-z0-9_.-]{20,300}"),
    ("AWS key id", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    ("AWS secret key", r"(?i)aws.{0,30}?['\"=: ](?-i:[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"),
    ("Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,300}"),
    ("Slack webhook", r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,200}"),
    ("Google key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("Google token", r"\bya29\.[A-Za-z0-9_-]{20,2000}|\bGOCSPX-[A-Za-z0-9_-]{20,60}"),
    ("Stripe key", r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,300}|\bwhsec_[A-Za-z0-9+/]{24,100}"),
    ("model API key", r"\bsk-(?:proj|ant|or-v1|svcacct|admin)-[A-Za-z0-9_-]{20,}"),
    ("model API key", r"\bsk-(?=[A-Za-z]{0,100}\d)[A-Za-z0-9]{20,}"),
    ("npm token", r"\bnpm_[A-Za-z0-9]{36,100}"),
    ("PyPI token", r"\bpypi-[A-Za-z0-9_-]{50,1000}"),
    ("crates.io token", r"\bcio[A-Za-z0-9]{32}\b"),
    ("Hugging Face token", r"\bhf_[A-Za-z0-9]{30,100}"),
    ("SendGrid key", r"\bSG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,128}"),
    ("Twilio key", r"\bSK[0-9a-f]{32}\b"),
    ("DigitalOcean token", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    ("Docker Hub token", r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,100}"),
    ("Shopify token", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    ("Databricks token", r"\bdapi[a-f0-9]{32}\b"),
    ("Telegram token", r"\b\d{8,10}:AA[A-Za-z0-9_-]{32,40}"),
    ("age key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{50,70}"),
    ("Vault token", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,300}"),
    ("Azure key", r"\bAccountKey=[A-Za-z0-9+/]{60,100}={0,2}"),
    (
        "JSON web token",
        r"\beyJ[A-Za-z0-9_-]{10,4000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{10,2000}",
    ),
    (
        "password in a URL",
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"<>{}$]{0,100}:(?P<value>[^\s:/@'\"<>{}$*]{6,200})@",
    ),
    (
        "authorization header",
        r"(?i)\bauthorization['\"]?\s{0,4}[:=]\s{0,4}['\"]?(?:bearer|token|basic)\s{1,4}(?P<value>[A-Za-z0-9+/._=-]{16,2000})",
    ),
)
KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----")
KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----")
KEY_LENGTH = 8000
ASSIGNED = re.compile(
    r"(?i)(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)"
    r"[A-Za-z0-9_-]{0,40}['\"]?\s{0,8}(?:=>|:=|[:=])\s{0,8}"
    r"(?:['\"](?P<quoted>[^'\"\s]{8,300})['\"]|(?P<bare>[A-Za-z0-9+/_.=-]{16,300})(?=\s|$))"
)
PLACEHOLDER = re.compile(
    r"(?i)\$\{|\$\(|\{\{|<[a-z]|%\(|example|change_?me|placeholder|dummy|your[_-]|xxxx|\*\*\*|redacted"
    r"|os\.environ|getenv|process\.env|secrets?\.|config\.|settings\.|^[a-z_.]+$|^[A-Z_]+$"
)
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,12000}={0,2}")
READABLE = re.compile(r"[ -~]{16}")
HEX = re.compile(r"(?:[0-9a-fA-F]{2}){20,6000}")
PERCENT = re.compile(r"(?=[\w.~-]{0,200}%[0-9a-fA-F]{2})[\w.~%-]{24,12000}")
ESCAPES = re.compile(r"(?:[\w.-]{0,200}\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})){4,2000}[\w.-]{0,600}")
GLUE = re.compile(r"['\"`]\s{0,40}[+.,&\\]{0,2}\s{0,80}(?:[rbfu]{0,2})['\"`]")

# A pattern is asked only where the text, in lower case, has one of the words that it cannot do
# without: to look for a word is a hundred times quicker.
NEEDS: dict[str, tuple[str, ...]] = {
    "GitHub token": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    "GitLab token": (
        "glpat-",
        "glptt-",
        "gldt-",
        "glrt-",
        "glsoat-",
        "glcbt-",
        "glimt-",
        "glagent-",
    ),
    "AWS key id": ("akia", "asia", "abia", "acca"),
    "AWS secret key": ("aws",),
    "Slack token": ("xox",),
    "Slack webhook": ("hooks.slack.com/",),
    "Google key": ("aiza",),
    "Google token": ("ya29.", "gocspx-"),
    "Stripe key": ("sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"),
    "model API key": ("sk-",),
    "npm token": ("npm_",),
    "PyPI token": ("pypi-",),
    "crates.io token": ("cio",),
    "Hugging Face token": ("hf_",),
    "SendGrid key": ("sg.",),
    "Twilio key": ("sk",),
    "DigitalOcean token": ("_v1_",),
    "Docker Hub token": ("dckr_",),
    "Shopify token": ("shpat_", "shpca_", "shppa_", "shpss_"),
    "Databricks token": ("dapi",),
    "Telegram token": (":aa",),
    "age key": ("age-secret-key-1",),
    "Vault token": ("hvs.", "hvb.", "hvr."),
    "Azure key": ("accountkey=",),
    "JSON web token": ("eyj",),
    "password in a URL": ("://",),
    "authorization header": ("authorization",),
}

_FORMATS = [(name, NEEDS[name], re.compile(pattern)) for name, pattern in FORMATS]


class Secret(Value, frozen=True):
    """A secret found in a text: what it is, and where its characters stand."""

    name: str
    begin: int
    end: int


def secrets(text: str) -> tuple[Secret, ...]:
    """Return the secrets in *text*, plain or encoded, in order and without overlaps."""
    # The order of a set changes from process to process, and with it what people read: where two
    # rules find the same place, the one that knows the format tells it.
    found = sorted(
        [*_known(text), *_keys(text), *_assigned(text), *_backwards(text), *_encoded(text)],
        key=lambda secret: (secret.begin, -secret.end),
    )
    kept: list[Secret] = []
    for secret in found:
        if not kept or secret.begin >= kept[-1].end:
            kept.append(secret)
        elif secret.end > kept[-1].end:
            kept[-1] = Secret(kept[-1].name, kept[-1].begin, secret.end)
    return tuple(kept)


def redact(text: str) -> str:
    """Return *text* with every secret that the table knows replaced."""
    parts: list[str] = []
    last = 0
    for secret in secrets(text):
        parts += (text[last : secret.begin], REDACTED)
        last = secret.end
    return "".join(parts) + text[last:]


def hint(text: str, secret: Secret) -> str:
    """Return the first characters of a secret, enough to find it and not to use it."""
    return text[secret.begin : secret.begin + SHOWN] + "…"


def _known(text: str) -> Iterator[Secret]:
    folded = text.casefold()
    for name, needed, pattern in _FORMATS:
        if not any(word in folded for word in needed):
            continue
        for match in pattern.finditer(text):
            begin, end = match.span("value" if "value" in pattern.groupindex else 0)
            yield Secret(name, begin, end)


def _keys(text: str) -> Iterator[Secret]:
    """Find private keys, whole or cut off; a cut one ends after at most `KEY_LENGTH`."""
    for begins in KEY_BEGINS.finditer(text):
        ends = KEY_ENDS.search(text, begins.end(), begins.end() + KEY_LENGTH)
        yield Secret(
            "private key", begins.start(), ends.end() if ends else _key_end(text, begins.end())
        )


def _key_end(text: str, begin: int) -> int:
    """Return where key material that has no end line stops."""
    position = begin
    for line in text[begin : begin + KEY_LENGTH].splitlines(keepends=True):
        if not re.fullmatch(r"[\s+>|-]*[A-Za-z0-9+/=\\n\"',]*\s*", line):
            break
        position += len(line)
    return position


def _assigned(text: str) -> Iterator[Secret]:
    for match in ASSIGNED.finditer(text):
        group = "quoted" if match["quoted"] else "bare"
        value = match[group]
        if plausible(value):
            yield Secret("password", *match.span(group))


def plausible(value: str) -> bool:
    """Return whether *value* looks like a secret and not like a word or a placeholder."""
    if PLACEHOLDER.search(value) or not any(sign.isdigit() for sign in value):
        return False
    if not any(sign.isalpha() for sign in value):
        return False
    return entropy(value) >= PLAUSIBLE_ENTROPY


def entropy(value: str) -> float:
    """Return the bits of information in each character of *value*."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)


def _backwards(text: str) -> Iterator[Secret]:
    size = len(text)
    for secret in _known(text[::-1]):
        yield Secret(f"{secret.name}, backwards", size - secret.end, size - secret.begin)


def glued(text: str) -> str:
    """Return *text* with string literals that follow each other joined, as a program joins them."""
    return GLUE.sub("", text)


def in_pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of secrets that only show once string literals are joined."""
    whole = glued(text)
    for secret in _known(whole) if whole != text else ():
        value = whole[secret.begin : secret.end]
        if value not in text:
            yield secret.name, value


def _encoded(text: str) -> Iterator[Secret]:
    for encoding, pattern, decode in (
        ("base64", BASE64, _from_base64),
        ("hex", HEX, _from_hex),
        ("percent encoding", PERCENT, unquote),
        ("escapes", ESCAPES, _from_escapes),
    ):
        for match in pattern.finditer(text):
            plain = decode(match[0])
            inside = next(iter((*_known(plain), *_keys(plain))), None) if plain else None
            if inside is not None:
                yield Secret(f"{inside.name}, in {encoding}", *match.span())


def _from_base64(text: str) -> str:
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    for offset in range(4):  # the string may begin inside a longer one
        part = bare[offset:]
        part += "A" * (-len(part) % 4)
        try:
            plain = base64.b64decode(part).decode("latin-1")
        except (binascii.Error, ValueError):
            continue
        if READABLE.search(plain) and (next(_known(plain), None) or KEY_BEGINS.search(plain)):
            return plain
    return ""


def _from_hex(text: str) -> str:
    return bytes.fromhex(text).decode("latin-1")


def _from_escapes(text: str) -> str:
    return re.sub(r"\\(?:x(..)|u(....))", lambda one: chr(int(one[1] or one[2], 16)), text)


SHORTEST = 6  # a shorter secret would blot out ordinary words
SHORTEST_ENCODED = 12


class Known:
    """Secrets that we hold ourselves, in every spelling in which they may come by."""

    def __init__(self, held: Iterable[Held]) -> None:
        found = {text for one in held for text in _spellings(one.reveal())}
        longest_first = sorted(found, key=lambda text: (-len(text), text))
        self._exact = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def within(self, text: str) -> bool:
        """Return whether one of them is in *text*."""
        return self._exact is not None and self._exact.search(text) is not None

    def hidden(self, text: str, by: str) -> str:
        """Return *text* with *by* in the place of each."""
        return text if self._exact is None else self._exact.sub(lambda _: by, text)


def _spellings(text: str) -> Iterator[str]:
    """Yield the ways in which a secret appears: plain, on one line, escaped, encoded, backwards."""
    bare = text.strip()
    if len(bare) < SHORTEST:
        return
    yield from (bare, bare.replace("\n", "\\n"), bare.replace("\n", ""))
    if len(bare) < SHORTEST_ENCODED:
        return
    raw = bare.encode(errors="replace")
    yield from (bare[::-1], raw.hex(), raw.hex().upper(), quote(bare, safe=""))
    for shift in range(3):  # where it begins within the text that was encoded
        encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        whole = encoded[-(-8 * shift // 6) : len(encoded) - (1 if (shift + len(raw)) % 3 else 0)]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")
