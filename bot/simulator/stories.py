"""The six pull requests of the demo: one shop, six ways to break it, and what the model answers.

Everything here is data. The failures are real: the workflow runs these files with real commands.
Only the model is scripted, and the demo says so.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPO = "demo/shop"
PRIMARY, FALLBACK = "scripted-primary", "scripted-fallback"

_WORKFLOW = """\
name: ci
on: [pull_request]
jobs:
  lint:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Lint
        run: ruff check --no-cache .
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Prices of the day
        run: python -B tools/rates.py
      - name: Test
        run: python -B -m unittest discover -s tests
  audit:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Audit
        run: python -B tools/audit.py
"""

_PRICE = '''\
"""What things cost."""


def gross(net: float, tax: float) -> float:
    """Return the price with tax; *tax* is a share, such as 0.19."""
    return round(net * (1 + tax), 2)


def total(prices: list[float]) -> float:
    """Return what all of it costs."""
    return round(sum(prices), 2)
'''

_SHIPPING = '''\
"""What sending things costs."""


def shipping(weight_kg: float, express: bool = False) -> float:
    """Return the fee: 4.90 up to 5 kg, 9.90 above, twice that for express."""
    fee = 4.9 if weight_kg <= 5 else 9.9
    return fee * 2 if express else fee
'''

_TESTS = """\
import unittest

from shop.price import gross, total
from shop.shipping import shipping


class PriceTest(unittest.TestCase):
    def test_gross_adds_the_tax(self):
        self.assertEqual(gross(100, 0.19), 119.0)

    def test_total_adds_up(self):
        self.assertEqual(total([1.1, 2.2]), 3.3)


class ShippingTest(unittest.TestCase):
    def test_five_kilos_are_still_light(self):
        self.assertEqual(shipping(5), 4.9)

    def test_express_costs_twice(self):
        self.assertEqual(shipping(6, express=True), 19.8)
"""

_RATES = """\
print("the rates of the day are in the repository")
"""

# A small security scanner that reports in the manner of the known ones.
_AUDIT = """\
import pathlib
import sys

found = 0
for path in sorted(pathlib.Path("shop").glob("*.py")):
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.startswith("PASSWORD = ") and "environ" not in line:
            found += 1
            print(">> Issue: [B105:hardcoded_password_string] Possible hardcoded password")
            print("   Severity: Low   Confidence: Medium")
            print(f"   Location: ./{path}:{number}:0")
sys.exit(1 if found else 0)
"""

# On its first run the mirror's name does not resolve; run again, the step takes the stored copy.
_RATES_FROM_A_MIRROR = """\
import os
import socket

if os.environ.get("GITHUB_RUN_ATTEMPT", "1") == "1":
    socket.getaddrinfo("rates.invalid", 443)
print("the rates of the day were fetched")
"""

BASE: Mapping[str, str] = {
    ".github/workflows/ci.yml": _WORKFLOW,
    "README.md": "# Shop\n\nThe repository of Regreen's demo.\n",
    "ruff.toml": 'line-length = 100\nlint.select = ["E", "F", "I"]\n',
    "shop/__init__.py": "",
    "shop/price.py": _PRICE,
    "shop/shipping.py": _SHIPPING,
    "tests/__init__.py": "",
    "tests/test_shop.py": _TESTS,
    "tools/audit.py": _AUDIT,
    "tools/rates.py": _RATES,
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One pull request of the demo, what the models answer for it, and how it must end.

    `ends` is the conclusion of the check run `regreen` at the last head; `by` who mended it, and
    `attempts` how many attempts the pull request's comments count. With `approved` the owner lets
    out what waits for a person.
    """

    letter: str
    title: str
    story: str
    files: Mapping[str, str]
    ends: str
    by: str
    attempts: int
    primary: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    approved: bool = False


def _edit(path: str, old: str, new: str, words: str) -> str:
    block = f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE"
    return f"{words}\n\n{path}\n```python\n{block}\n```\n"


_BANK = '''\
"""How the shop reaches its bank."""


def endpoint(test: bool) -> str:
    """Return the bank's address."""
    return "https://bank.example/test" if tst else "https://bank.example/live"
'''
_BANK_TEST = """\
import unittest

from shop.bank import endpoint


class BankTest(unittest.TestCase):
    def test_the_test_bank_is_another(self):
        self.assertNotEqual(endpoint(True), endpoint(False))
"""


def _leak() -> str:
    """Return a fix that also writes a key into the code; the key is made up, piece by piece."""
    key = "AKIA" + "Q3EGRVXNKWYZ4T7P"
    return _edit(
        "shop/bank.py",
        '    return "https://bank.example/test" if tst else "https://bank.example/live"',
        f'    aws_access_key_id = "{key}"\n'
        '    return "https://bank.example/test" if test else f"https://bank.example/live?{aws_access_key_id}"',
        "The name was misspelt, and the live bank needs its key.",
    )


_MAIL = '''\
"""How the shop writes to its customers."""

PASSWORD = "letters and parcels"
'''

_BROKEN_PRICE = _PRICE.replace("net * (1 + tax)", "net * (1 - tax)")
_BROKEN_SHIPPING = _SHIPPING.replace("weight_kg <= 5", "weight_kg < 5")
_FEE = "    fee = 4.9 if weight_kg < 5 else 9.9"

SCENES: tuple[Scene, ...] = (
    Scene(
        letter="a",
        title="Tidy up the price module",
        story="lint: an unused import; the fixers mend it, no model is asked",
        files={
            "shop/price.py": _PRICE.replace(
                '"""\n\n\ndef gross', '"""\n\nimport os\n\n\ndef gross', 1
            )
        },
        ends="success",
        by="fixers",
        attempts=1,
    ),
    Scene(
        letter="b",
        title="Compute prices with tax",
        story="a failing test; the primary model mends it",
        files={"shop/price.py": _BROKEN_PRICE},
        ends="success",
        by="primary",
        attempts=1,
        primary=(
            _edit(
                "shop/price.py",
                "    return round(net * (1 - tax), 2)",
                "    return round(net * (1 + tax), 2)",
                "Tax is added, not taken off.",
            ),
        ),
    ),
    Scene(
        letter="c",
        title="Charge by weight",
        story="the primary is wrong three times; the fallback mends it",
        files={"shop/shipping.py": _BROKEN_SHIPPING},
        ends="success",
        by="backend_for_failed_pr",
        attempts=4,
        primary=(
            _edit("shop/shipping.py", _FEE, _FEE.replace("< 5", "< 4"), "A lower limit."),
            _edit("shop/shipping.py", _FEE, _FEE.replace("4.9", "5.9"), "Another fee."),
            _edit("shop/shipping.py", _FEE, _FEE.replace("9.9", "8.9"), "A cheaper parcel."),
        ),
        fallback=(
            _edit("shop/shipping.py", _FEE, _FEE.replace("< 5", "<= 5"), "Five kilos are light."),
        ),
    ),
    Scene(
        letter="d",
        title="Talk to the bank",
        story="the model's change would leak a key; it is stopped and waits for a person",
        files={"shop/bank.py": _BANK, "tests/test_bank.py": _BANK_TEST},
        ends="action_required",
        by="nobody",
        attempts=1,
        primary=(_leak(),),
    ),
    Scene(
        letter="e",
        title="Fetch the rates from a mirror",
        story="the network failed, not the code; the job runs again, nothing is changed",
        files={"tools/rates.py": _RATES_FROM_A_MIRROR},
        ends="success",
        by="a re-run",
        attempts=0,
    ),
    Scene(
        letter="f",
        title="Write to customers",
        story="a security finding; the proved mend is held until the owner approves it",
        files={"shop/mail.py": _MAIL},
        ends="success",
        by="primary",
        attempts=1,
        primary=(
            _edit(
                "shop/mail.py",
                'PASSWORD = "letters and parcels"',
                'import os\n\nPASSWORD = os.environ.get("SHOP_MAIL_PASSWORD", "")',
                "A password has no place in the code.",
            ),
        ),
        approved=True,
    ),
)


def make_repository(folder: Path) -> None:
    """Make the shop's repository in *folder*, with one commit on `main`."""
    for name, text in BASE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    person = ("-c", "user.name=Demo", "-c", "user.email=demo@example.org")
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        (*person, "commit", "--quiet", "--message=Open the shop"),
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)  # noqa: S603, S607 -- fixed words
