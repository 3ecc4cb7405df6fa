# ruff: noqa: E501, RUF001 (patterns and log lines are quoted whole, with the signs that tools print)
"""Evidence of linters and formatters: Python, JavaScript, CSS, prose."""

from functools import partial

from bot.domain.values import FailureType
from bot.failures.taxonomy import rule

row = partial(rule, FailureType.LINT)

RULES = (
    # --- Python
    row(
        "pylint",
        "pylint",
        0.95,
        r"^\S+\.pyi?:\d+:\d+: [CRWEF]\d{4}: .*\([a-z-]+\)$",
        "models/flows.py:112:0: C0303: Trailing whitespace (trailing-whitespace)",
    ),
    row(
        "pylint-rating",
        "pylint",
        0.8,
        r"^Your code has been rated at (\d\.|-)",
        "Your code has been rated at 9.98/10",
        but_not=("Your code has been rated at 10.00/10",),
    ),
    row(
        "flake8",
        "flake8",
        0.94,
        r"^\S+\.(pyi?|ipynb):(cell \d+:)?\d+:\d+: [A-Z]{1,5}\d{2,4}\b",
        "./a.py:4:1: F401 'sys' imported but unused",
        "app.py:1:8: F401 [*] `os` imported but unused",
        but_not=("a.py:3:1: error: Incompatible types  [assignment]",),
    ),
    row(
        "ruff-syntax",
        "ruff",
        0.93,
        r"^\S+\.pyi?:\d+:\d+: (invalid-syntax|SyntaxError): ",
        "app.py:1:5: invalid-syntax: Expected an expression",
    ),
    row(
        "ruff-full",
        "ruff",
        0.9,
        r"^([A-Z]{1,5}\d{3,4}|invalid-syntax:?) (\[\*\] )?\S+ .+$",
        "F821 Undefined name `request`",
        "F401 [*] `os` imported but unused",
        but_not=("HTTP2 is fine",),
    ),
    row(
        "ruff-fixable",
        "ruff",
        0.96,
        r"^(\[\*\] \d+ fixable with|No fixes available \(\d+ hidden)",
        "[*] 1 fixable with the `--fix` option.",
    ),
    row(
        "ruff-count",
        "ruff",
        0.88,
        r"^Found \d+ errors?( \(\d+ fixed, \d+ remaining\))?\.$",
        "Found 5 errors.",
        but_not=("Found 2 errors in 2 files (checked 23 source files)",),
    ),
    row(
        "black",
        "black",
        0.93,
        r"^(would reformat|Would reformat:) \S|^error: cannot format ",
        "would reformat /a/b.py",
        "Would reformat: app.py",
        "error: cannot format a.py: Cannot parse: 1:3: x",
    ),
    row(
        "black-count",
        "black",
        0.95,
        r"^\d+ files? would be reformatted",
        "2 files would be reformatted, 1 file would be left unchanged.",
    ),
    row(
        "isort",
        "isort",
        0.95,
        r"Imports are incorrectly sorted",
        "ERROR: /app/main.py Imports are incorrectly sorted and/or formatted.",
    ),
    row(
        "pydocstyle",
        "pydocstyle",
        0.9,
        r"^ +D\d{3}: ",
        "        D103: Missing docstring in public function",
    ),
    row(
        "codespell",
        "codespell",
        0.93,
        r"^\S+:\d+: [\w'-]+ ==> [\w', -]+$",
        "README.md:12: teh ==> the",
    ),
    row("typos", "typos", 0.93, r"^error: `\S+` should be `", "error: `zeebra` should be `zebra`"),
    # --- JavaScript, CSS, text
    row(
        "eslint-count", "eslint", 0.96, r"✖ \d+ problems? \(", "✖ 7 problems (6 errors, 1 warning)"
    ),
    row(
        "eslint-row",
        "eslint",
        0.93,
        r"^ +\d+:\d+ +(error|warning) +\S.* {2,}@?[\w/-]+$",
        "  2:10  error    'unusedf' is defined but never used             no-unused-vars",
    ),
    row(
        "eslint-compact",
        "eslint",
        0.94,
        r": line \d+, col \d+, (Error|Warning) - .*\(\S+\)$",
        "/a.js: line 2, col 10, Error - 'x' is defined but never used. (no-unused-vars)",
    ),
    row(
        "eslint-next",
        "eslint",
        0.9,
        r"^\d+:\d+ +Error: .* {2}@?[\w/-]+$",
        "12:5  Error: 'x' is assigned a value but never used.  @typescript-eslint/no-unused-vars",
    ),
    row(
        "eslint-words",
        "eslint",
        0.85,
        r"(?i)\b(eslint|tslint|stylelint) found (too many|\d+|some)|ESLint: \d+ error|failed with errors? \(lint",
        "ESLint found too many warnings (maximum: 0).",
    ),
    row(
        "standard",
        "standard",
        0.95,
        r"^(standard|semistandard|xo): Use JavaScript Standard Style|^standard: Run `standard --fix`",
        "standard: Use JavaScript Standard Style (https://standardjs.com)",
    ),
    row(
        "prettier",
        "prettier",
        0.95,
        r"Code style issues (found|fixed)? ?in |Forgot to run Prettier\?",
        "[warn] Code style issues found in 2 files. Run Prettier with --write to fix.",
        "[warn] Code style issues found in the above file. Forgot to run Prettier?",
    ),
    row(
        "prettier-error",
        "prettier",
        0.85,
        r"^\[error\] \S+: SyntaxError: ",
        "[error] src/a.ts: SyntaxError: Unexpected token (1:3)",
    ),
    row(
        "biome",
        "biome",
        0.95,
        r"\b(lint|assist)/[a-z]\w+/\w+ |Formatter would have printed the following content|File content differs from formatting output",
        "src/a.ts:1:7 lint/correctness/noUnusedVariables  FIXABLE ━━━━",
        "  × Formatter would have printed the following content:",
    ),
    row(
        "stylelint",
        "stylelint",
        0.94,
        r"^ *\d+:\d+ +[✖⚠×] ",
        "  46:3   ✖  Unexpected longhand value   shorthand-property-no-redundant-values",
    ),
    row(
        "oxlint",
        "oxlint",
        0.94,
        r"^Found \d+ warnings? and [1-9]\d* errors?\.",
        "Found 0 warnings and 2 errors.",
    ),
    row(
        "markdownlint",
        "markdownlint",
        0.94,
        r"\bMD\d{3}/[a-z-]+",
        "README.md:3:81 MD013/line-length Line length [Expected: 80; Actual: 100]",
    ),
    row(
        "commitlint",
        "commitlint",
        0.94,
        r"^✖ +(found \d+ problems?|.* \[[a-z]+-[a-z-]+\]$)",
        "✖   found 1 problems, 0 warnings",
        "✖   subject may not be empty [subject-empty]",
    ),
    row(
        "htmlhint",
        "htmlhint",
        0.9,
        r"^Scanned \d+ files?, found [1-9]\d* errors?",
        "Scanned 3 files, found 2 errors in 1 files (12 ms)",
    ),
    row(
        "tslint",
        "tslint",
        0.93,
        r"^ERROR: \S+[:\[]\d+[:,] ?\d+\]?[: -]",
        "ERROR: src/a.ts:3:5 - Missing semicolon",
        "ERROR: src/a.ts[3, 5]: Missing semicolon",
    ),
    row(
        "dprint", "dprint", 0.93, r"^Found \d+ not formatted files?", "Found 2 not formatted files."
    ),
)
