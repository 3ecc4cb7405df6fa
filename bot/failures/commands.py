# ruff: noqa: E501 (patterns are quoted whole, with the signs that tools print)
"""What a failing command was for, when its output says nothing that the table knows."""

from bot.domain.values import FailureType
from bot.failures.patterns import Pattern

WEIGHT = 0.55
WORD_WEIGHT = 0.45

BY_COMMAND: tuple[tuple[FailureType, str], ...] = (
    (
        FailureType.SECURITY,
        r"\b(bandit|npm audit|pip-audit|cargo (audit|deny)|trivy|gitleaks|trufflehog|snyk|grype|osv-scanner|govulncheck|gosec|semgrep|brakeman|bundle[- ]audit|checkov|tfsec|safety check|codeql)\b",
    ),
    (
        FailureType.SCHEMA_MIGRATION,
        r"\b(alembic|flyway|liquibase|prisma migrate|knex migrate|db:migrate|manage\.py (migrate|makemigrations)|sqlx migrate|goose|dbmate|typeorm migration)\b",
    ),
    (
        FailureType.TYPECHECK,
        r"\b(mypy|pyright|basedpyright|tsc|vue-tsc|svelte-check|flow check|srb tc|phpstan|psalm|pytype|type-?check|check-types|ty check)\b",
    ),
    (
        FailureType.LINT,
        r"\b(ruff|flake8|black|isort|pylint|eslint|prettier|biome|stylelint|gofmt|golangci-lint|clippy|cargo fmt|rustfmt|rubocop|checkstyle|spotless\w*|ktlint\w*|detekt|shellcheck|actionlint|yamllint|pre-commit|hadolint|standard|phpcs|php-cs-fixer|swiftlint|scalafmt\w*|lint\w*|format:check|fmt)\b",
    ),
    (
        FailureType.TEST_ASSERT,
        r"\b(pytest|tox|nox|unittest|go test|cargo (test|nextest)|(npm|yarn|pnpm|bun)( run)? test|jest|vitest|mocha|ava|karma|cypress|playwright|rspec|phpunit|pest|dotnet test|ctest|gradlew? .*test|mvn .*(test|verify)|make (check|test)|rake test|mix test|flutter test|sbt .*test)\b",
    ),
    (
        FailureType.RUNTIME,
        r"\b(build|compile|make|cmake|install|webpack|vite|docker build|mvn|gradlew?|go run|node|python)\b",
    ),
)
BY_NAME: tuple[tuple[FailureType, str], ...] = (
    (FailureType.SECURITY, r"(?i)\b(security|audit|vulnerab\w+|secrets?|sast|codeql)\b"),
    (FailureType.TYPECHECK, r"(?i)\b(type ?-?check\w*|types|mypy|tsc)\b"),
    (FailureType.LINT, r"(?i)\b(lint\w*|format\w*|style|pre-commit)\b"),
    (FailureType.TEST_ASSERT, r"(?i)\b(unit|integration|e2e)? ?tests?\b"),
    (FailureType.RUNTIME, r"(?i)\b(build|compile)\b"),
)

_COMMANDS = [(kind, Pattern(pattern)) for kind, pattern in BY_COMMAND]
_NAMES = [(kind, Pattern(pattern)) for kind, pattern in BY_NAME]


def purpose(command: str, step: str) -> tuple[FailureType, float] | None:
    """Return what *command*, or else the *step*'s name, was for, and how much that says."""
    script = command.split("\nshell: ", 1)[0].encode("utf-8", "replace")[:4000]
    for kind, pattern in _COMMANDS:
        if pattern.matches(script):
            return kind, WEIGHT
    for kind, pattern in _NAMES:
        if pattern.matches(step.encode("utf-8", "replace")):
            return kind, WORD_WEIGHT
    return None
