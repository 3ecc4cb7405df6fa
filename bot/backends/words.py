r"""What an agent's own words for a failure mean.

The HTTP status that it names comes first; where one status stands for several things, or none is
named, the words decide. The first row that fits wins. They are read in what an agent says about its
own failure, never in a model's text or a tool's output: "429" is found in "1429 rows" as well.
"""

import re
from dataclasses import dataclass

from bot.domain.answers import Ending

_NAMED = re.compile(
    r"""(?:\bstatus:?|API\ Error:|\bcode\\?"?:|\()\ ?(?P<status>[45]\d\d)\b""", re.VERBOSE
)
_LATER = re.compile(
    r"(?:again|retry|reset)(?: after| in)? "
    r"(?:(\d{1,4})h ?)?(?:(\d{1,4})m ?)?(\d{1,6}(?:\.\d+)?)s\b",
    re.IGNORECASE,
)
_ANY = range(600)
_NONE_OR_400 = (0, 400)


@dataclass(frozen=True, slots=True)
class Rule:
    """Statuses (0: none named) and words that mean one ending, with an example of such words."""

    statuses: range | tuple[int, ...]
    words: re.Pattern[str] | None
    ending: Ending
    example: str = ""


def _rule(statuses: range | tuple[int, ...], words: str, ending: Ending, example: str) -> Rule:
    return Rule(statuses, re.compile(words, re.IGNORECASE) if words else None, ending, example)


RULES = (
    _rule(
        _ANY,
        r"no space left on device|\bENOSPC\b",
        Ending.DISK_FULL,
        "ENOSPC: no space left on device, write",
    ),
    _rule(
        (0, *range(400, 430)),
        r"context[ _](?:length|window)|prompt is too long|input token count|hit a token limit",
        Ending.CONTEXT_EXCEEDED,
        "Codex ran out of room in the model's context window.",
    ),
    _rule((413,), "", Ending.CONTEXT_EXCEEDED, "Request Entity Too Large"),
    _rule((401,), "", Ending.AUTH, "Incorrect API key provided"),
    _rule((402,), "", Ending.USAGE_LIMIT, "Insufficient credits"),
    _rule(
        (0, 429),
        r"per[ _]?min|(?:again|retry) in \d{1,3}(?:\.\d+)?s\b",
        Ending.RATE_LIMITED,
        "You exceeded your current quota. Please retry in 2.1s.",
    ),
    _rule(
        (0, 400, 403, 429),
        r"quota|billing|\bcredits?\b|usage.limit|-hour limit|exhausted your",
        Ending.USAGE_LIMIT,
        "The usage limit has been reached",
    ),
    _rule((429,), "", Ending.RATE_LIMITED, "exceeded retry limit, last status: 429"),
    _rule((0,), r"rate.?limit", Ending.RATE_LIMITED, "rate limit exceeded"),
    _rule(
        (*_NONE_OR_400, 403),
        r"content.?(?:polic|filter)|moderation|\bsafety\b|refusal",
        Ending.REFUSED,
        "rejected by our content policy",
    ),
    _rule((403,), "", Ending.AUTH, "Country, region, or territory not supported"),
    _rule(
        _NONE_OR_400,
        r"model\b.{0,120}(?:does not exist|may not exist)|models/\S+ is not found",
        Ending.NOT_FOUND,
        "The requested model 'gpt-0' does not exist.",
    ),
    _rule(
        (0,),
        r"no (?:conversation|rollout|saved session) found|session not found|session identifier",
        Ending.NOT_FOUND,
        "No conversation found with session ID",
    ),
    _rule((404,), "", Ending.NOT_FOUND, "not found"),
    _rule(
        _NONE_OR_400,
        r"(?:incorrect|invalid|missing|wrong) (?:x-)?api.?key|api key not valid|unauthorized|"
        r"authenticat|auth method|not logged in|missing environment variable|"
        r"not have permission|region, or territory",
        Ending.AUTH,
        "API key not valid. Please pass a valid API key.",
    ),
    _rule((408, 504), "", Ending.TIMEOUT, "Gateway Timeout"),
    _rule(range(500, 600), "", Ending.UNAVAILABLE, "Overloaded"),
    _rule(
        (0,),
        r"empty (?:or malformed )?response|non-SSE|JSON segment|without a finish reason|"
        r"closed before response\.completed",
        Ending.INVALID,
        "Incomplete JSON segment at the end",
    ),
    _rule((0,), r"tim(?:ed?|e-) ?out", Ending.TIMEOUT, "The operation timed out."),
    _rule(
        (0,),
        r"connection|connect to|ECONN|network|fetch failed|terminated|stream disconnected",
        Ending.NETWORK,
        "Connection failed: error sending request",
    ),
    _rule(
        (0,),
        r"overloaded|high demand|at capacity|unavailable|the server had an error",
        Ending.UNAVAILABLE,
        "Selected model is at capacity.",
    ),
)


def meaning(words: str, status: int = 0) -> Ending | None:
    """Return what a failure in these words is, None when they do not tell."""
    if not status and (named := _NAMED.search(words)):
        status = int(named["status"])
    return next((rule.ending for rule in RULES if _fits(rule, status, words)), None)


def delay_s(words: str) -> float | None:
    """Return the seconds after which the words say to come back, None when they do not say."""
    found = _LATER.search(words)
    if found is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _fits(rule: Rule, status: int, words: str) -> bool:
    return status in rule.statuses and (rule.words is None or bool(rule.words.search(words)))
