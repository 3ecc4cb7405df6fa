"""GitHub's size limits, as pure functions on text.

Text over a limit is answered with 422, and a check run or comment that meets one silently never
changes again. So what we send is cut to fit beforehand, and says that it was cut. Hidden markers
(`<!-- regreen … -->`) survive the cut: by them we find our own things again.
"""

import re

from bot.domain.inert import cut_bytes, cut_characters

TITLE_CHARS = 255
SUMMARY_BYTES = 65_535
COMMENT_CHARS = 65_536
ANNOTATIONS_PER_REQUEST = 50

_NOTE = "\n\n… shortened: GitHub takes no longer text here."
_MARKER = re.compile(r"<!-- regreen\b[^>]*-->")


def fit_title(text: str) -> str:
    """Return *text* on one line of at most 255 characters."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1] + "…"


def fit_bytes(text: str, limit: int = SUMMARY_BYTES) -> str:
    """Return *text* cut to *limit* bytes of UTF-8, whole to the last character and code block."""
    return cut_bytes(text, limit, _NOTE)


def fit_comment(body: str) -> str:
    """Return *body* cut to 65,536 characters, with every hidden marker that it began with.

    A marker stays where it is, since its readers look at the top; only what was cut off is moved.
    """
    if len(body) <= COMMENT_CHARS:
        return body
    markers = tuple(dict.fromkeys(_MARKER.findall(body)))
    room = sum(len(f"\n{marker}") for marker in markers)
    kept = cut_characters(body, COMMENT_CHARS - room, _NOTE)
    return kept + "".join(f"\n{marker}" for marker in markers if marker not in kept)
