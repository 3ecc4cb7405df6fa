"""Row 36: a pattern of the user's own that takes for ever on a line of a hostile log.

Control: RE2, which is linear (`bot/failures/patterns.py`); the configuration refuses what RE2 does
not know. Off (Python's own `re`), the same pattern on a line of forty letters uses up its time.
The measure is processor time, which the kernel keeps: 1 s more than starting took.
"""

import subprocess
import sys

import pytest

LIMITED = """
import resource, re
from bot.config import load
from bot.failures.patterns import Pattern
used = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + 2
resource.setrlimit(resource.RLIMIT_CPU, (used, used))
"""
EVIL = ["(a+)+$", "(a|aa)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"]


def survives(script: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + script], capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, -9, -24}, done.stderr
    return done.returncode == 0


def test_a_long_line_costs_no_more_than_its_length():
    assert survives(
        f"for evil in {EVIL!r}: Pattern(evil).matches(b'a' * 100_000 + b'!')"  # all within 1 s
    )


@pytest.mark.parametrize("evil", EVIL[:1])
def test_with_pythons_own_it_would_not_end(evil):
    assert not survives(f"re.search({evil!r}, 'a' * 40 + '!')")
