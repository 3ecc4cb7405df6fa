"""What prettier and eslint have in common: where they are installed, and who depends on them."""

from typing import Any

import msgspec

from bot.backends.tree import TreeView


def programs(tool: str) -> tuple[str, ...]:
    """Return where *tool* may be: the project's own first."""
    return f"node_modules/.bin/{tool}", tool


def depends(view: TreeView, tool: str) -> bool:
    """Tell whether the project's package.json knows *tool*."""
    manifest = _manifest(view)
    if tool in manifest:
        return True
    return any(
        isinstance(manifest.get(key), dict) and tool in manifest[key]
        for key in ("dependencies", "devDependencies")
    )


def configured(view: TreeView, *starts: str) -> bool:
    """Tell whether a settings file at the root has a name that begins so."""
    return any("/" not in path and path.startswith(starts) for path in view.files)


def _manifest(view: TreeView) -> dict[str, Any]:
    try:
        manifest = msgspec.json.decode(view.text("package.json") or "{}")
    except (ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
