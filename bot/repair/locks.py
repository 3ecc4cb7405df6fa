"""Lock files: what is installed is decided there, so a patch changes one only where it must.

It must when the manifest beside it changes in the same patch, or when a failure speaks of the lock
file or of vulnerable packages.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from bot.domain.values import FailingStep, FailureType

# The lock file, and the manifests that it follows.
LOCKS: Mapping[str, Collection[str]] = {
    "package-lock.json": ("package.json",),
    "npm-shrinkwrap.json": ("package.json",),
    "yarn.lock": ("package.json",),
    "pnpm-lock.yaml": ("package.json", "pnpm-workspace.yaml"),
    "bun.lock": ("package.json",),
    "bun.lockb": ("package.json",),
    "poetry.lock": ("pyproject.toml",),
    "uv.lock": ("pyproject.toml",),
    "pdm.lock": ("pyproject.toml",),
    "pylock.toml": ("pyproject.toml",),
    "pipfile.lock": ("pipfile",),
    "requirements.lock": ("pyproject.toml", "requirements.in", "requirements.txt"),
    "cargo.lock": ("cargo.toml",),
    "go.sum": ("go.mod",),
    "gemfile.lock": ("gemfile",),
    "composer.lock": ("composer.json",),
    "gradle.lockfile": ("build.gradle", "build.gradle.kts"),
    "packages.lock.json": ("directory.packages.props",),
    "mix.lock": ("mix.exs",),
    "pubspec.lock": ("pubspec.yaml",),
    "flake.lock": ("flake.nix",),
}


def unneeded_locks(paths: Sequence[str], steps: Sequence[FailingStep]) -> Iterator[str]:
    """Yield the lock files among *paths* that nothing asks to be changed."""
    names = {path.rpartition("/")[2].casefold() for path in paths}
    for path in sorted(set(paths)):
        name = path.rpartition("/")[2].casefold()
        manifests = LOCKS.get(name)
        if manifests is None or names.intersection(manifests) or _asked_for(name, steps):
            continue
        yield path


def _asked_for(name: str, steps: Sequence[FailingStep]) -> bool:
    return any(
        step.signal.type is FailureType.SECURITY
        or name in _said(step)
        or "lockfile" in _said(step)
        or "lock file" in _said(step)
        for step in steps
    )


def _said(step: FailingStep) -> str:
    signal = step.signal
    lines = (one.text for one in signal.evidence)
    return "\n".join((signal.message, *lines, signal.excerpt[-20_000:])).casefold()
