# ruff: noqa: E501 (patterns and log lines are quoted whole, with the signs that tools print)
"""Evidence of rate limits and quotas."""

from functools import partial

from bot.domain.values import FailureType
from bot.failures.taxonomy import rule

row = partial(rule, FailureType.RATE_LIMIT)

RULES = (
    row(
        "status-429",
        "",
        0.985,
        r"(?i)returned error: 429\b|\bgot 429\b|(status( code)?|code|HTTP(/[\d.]+)?|error|response|HttpError)[: =]+\(?429\b|\bE429\b|\b429:? Too Many Requests|FETCH_429|ERROR 429",
        "fatal: unable to access 'http://x/': The requested URL returned error: 429",
        "Request failed with status code 429",
        "npm error code E429",
        but_not=("429 passed", "2026-01-01T00:00:00.4290000Z ok", "1429 rows"),
    ),
    row(
        "too-many",
        "",
        0.93,
        r"(?i)\btoo many requests\b|toomanyrequests",
        "toomanyrequests: You have reached your pull rate limit.",
    ),
    row(
        "api-limit",
        "github",
        0.98,
        r"API rate limit exceeded|secondary rate limit|abuse detection mechanism|(?i)rate limit (was |has been )?(exceeded|reached|hit)|rate[- ]limited\b|You have reached your (unauthenticated )?pull rate limit|exceeded .{0,20}rate limit|RateLimitError|RateLimitExceeded|rate_limit_exceeded",
        "##[error]API rate limit exceeded for installation ID 1.",
        but_not=("should respect the rate limit",),
    ),
    row(
        "throttled",
        "cloud",
        0.94,
        r"ThrottlingException|Throttling: |Rate exceeded|RequestLimitExceeded|TooManyRequestsException|SlowDown\b|ProvisionedThroughputExceeded|OperationNotAllowed.*quota",
        "An error occurred (ThrottlingException) when calling the X operation: Rate exceeded",
    ),
    row(
        "quota",
        "",
        0.95,
        r"(?i)\bquota (has been |was |is )?(exceeded|hit|exhausted|reached)|quotaExceeded|QUOTA_EXCEEDED|insufficient_quota|RESOURCE_EXHAUSTED|exceeded (your|the|its) .{0,30}quota|storage quota has been hit|usage limit (reached|exceeded)|(spending|usage|budget) limit .{0,30}(reached|needs to be increased|exceeded)|out of credits|LimitExceededException|monthly .{0,20}limit .{0,20}(reached|exceeded)|build minutes",
        "##[error]Failed to CreateArtifact: Artifact storage quota has been hit.",
        but_not=("disk quota fine",),
    ),
    row("retry-after", "", 0.6, r"(?i)^.{0,40}\bretry-after: ?\d+", "< Retry-After: 60"),
)
