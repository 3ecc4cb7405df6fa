"""Makes text from outside harmless where it is shown, stored or handed on. The one place for it.

What a log, a model or a stranger wrote must not mention people, close issues, load images, hide
words, switch CI off or carry a secret, wherever it ends up: a comment, a check run, a commit, a
prompt, a row. `plain` takes out what nobody sees, `quote`, `code` and `fence` show the rest in
Markdown, `for_commit` in a commit message. `cut_bytes` and `cut_characters` bring Markdown of ours
under a limit of GitHub's.
"""

import re
from collections.abc import Callable, Collection
from enum import Enum
from typing import Any, TypeVar

import msgspec

from bot.domain.leaks import redact

T = TypeVar("T")
Clean = Callable[[str], str]
GAP = "\u200b"  # breaks a word that GitHub would act on, and is not seen
_ESCAPES = re.compile(
    r"(?:\x1b|\x9b)(?:[\[]?[0-?]*[ -/]*[@-~]|\][^\x07\x1b\x9c]{0,4000}(?:\x07|\x1b\\|\x9c)?)"
)
# Control characters but tab and line feed; soft hyphen, joiners and fillers; what changes the
# direction of text; surrogates; variation selectors; tag characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_COMMENT = re.compile(r"<!--.{0,20000}?(?:-->|\Z)", re.DOTALL)


def plain(text: str) -> str:
    """Return *text* without colours, control characters and characters that nobody sees."""
    return _UNSEEN.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def uncommented(text: str) -> str:
    """Return *text* without HTML comments, which a rendered page does not show."""
    return _COMMENT.sub("", text)


def quote(text: str, limit: int = 300) -> str:
    """Show untrusted *text* within a line of Markdown: nothing in it acts."""
    clean = " ".join(redact(plain(text)).split())
    if len(clean) > limit:
        clean = clean[: limit - 1] + "…"
    # An entity would become its character before mentions are looked for.
    clean = clean.replace("&", "&amp;").replace("<", "&lt;")
    clean = clean.replace("![", f"!{GAP}[").replace("](", f"]{GAP}(").replace("][", f"]{GAP}[")
    clean = re.sub(r"@(?=\w)", f"@{GAP}", clean)
    clean = re.sub(r"#(?=\d)|\bGH-(?=\d)", lambda one: one[0] + GAP, clean, flags=re.IGNORECASE)
    clean = re.sub(r"\bwww\.", f"www{GAP}.", clean, flags=re.IGNORECASE)
    return re.sub(r"(?<=\w)://", f":{GAP}//", clean)


def code(text: str, limit: int = 120) -> str:
    """Show a name as inline code."""
    return "`" + " ".join(redact(plain(text)).replace("`", "'").split())[:limit] + "`"


def fence(text: str, language: str = "") -> str:
    """Show untrusted *text* as code: nothing in it can end the block, mention or close anything."""
    clean = redact(plain(text))
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", clean)), default=0))
    return f"{ticks}{language}\n{clean.rstrip()}\n{ticks}"


def for_commit(text: str) -> str:
    """Return *text* for a commit message: it mentions nobody, closes nothing, switches no CI off.

    https://docs.github.com/en/actions/how-tos/manage-workflow-runs/skip-workflow-runs
    """
    text = re.sub(r"@(?=\w)", "(at)", redact(plain(text)))
    text = re.sub(r"https?://", "", text)  # a link to an issue closes it, too
    text = re.sub(r"#(?=\d)|\bGH-(?=\d)", "no. ", text, flags=re.IGNORECASE)
    skips = r"\[([^\[\]]*\b(?:ci|skip|actions)\b[^\[\]]*)\]"
    text = re.sub(skips, r"(\1)", text, flags=re.IGNORECASE)
    return re.sub(r"\bskip-checks\b", "skip checks", text, flags=re.IGNORECASE)


def scrubbed(value: T, clean: Clean = redact, keep: Collection[str] = ()) -> T:
    """Return *value* with every text in it cleaned, however deep; fields named in *keep* stay."""
    return _scrubbed(value, clean, keep)  # type: ignore[no-any-return]  # of the type it was given


def _scrubbed(value: Any, clean: Clean, keep: Collection[str]) -> Any:
    match value:
        case Enum() | None | bool() | int() | float():
            return value
        case str():
            return clean(value)
        case tuple():
            return tuple(_scrubbed(one, clean, keep) for one in value)
        case list():
            return [_scrubbed(one, clean, keep) for one in value]
        case dict():
            return {key: _scrubbed(one, clean, keep) for key, one in value.items()}
        case msgspec.Struct():
            names = [name for name in value.__struct_fields__ if name not in keep]
            return msgspec.structs.replace(
                value, **{name: _scrubbed(getattr(value, name), clean, keep) for name in names}
            )
        case _:
            return value


# --- under a limit --------------------------------------------------------------------------------

_HALF = re.compile(r"(?:<[^<>]{0,300}|&[#\w]{0,32})\Z")  # a tag or an entity without its end
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")


def cut_bytes(text: str, limit: int, note: str) -> str:
    """Return *text* in at most *limit* bytes of UTF-8; what was cut ends with *note*."""
    return _cut(text, limit, note, lambda part: len(part.encode(errors="replace")))


def cut_characters(text: str, limit: int, note: str) -> str:
    """Return *text* in at most *limit* characters; what was cut ends with *note*."""
    return _cut(text, limit, note, len)


def _cut(text: str, limit: int, note: str, size: Callable[[str], int]) -> str:
    """Cut *text* between characters, never in a tag or an entity, and close what is open."""
    if size(text) <= limit:
        return text
    least, most = 0, len(text)  # characters that may stay: more text is never smaller
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if size(text[:middle]) <= limit else (least, middle - 1)
    kept = text[:least]
    while kept:
        closed = _closed(_HALF.sub("", kept)) + note
        over = size(closed) - limit
        if over <= 0:
            return closed
        kept = kept[: -max(1, over // 4)]
    return note if size(note) <= limit else ""


def _closed(kept: str) -> str:
    """Close a code block and folds that are open at the end of *kept*."""
    open_fence = ""
    for line in kept.splitlines():
        if not (mark := _FENCE.match(line)):
            continue
        if not open_fence:
            open_fence = mark[1]
        elif mark[1].startswith(open_fence) and not mark[2].strip():
            open_fence = ""
    if open_fence:
        # A tick that stands alone at the end would make the closing line longer than it is.
        kept = f"{kept.rstrip('`~')}\n{open_fence}"
    folds = kept.count("<details") - kept.count("</details>")
    return kept + "\n\n</details>" * max(0, folds)
