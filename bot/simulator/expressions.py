"""The expressions of workflow files, `${{ … }}`, as far as ordinary workflows use them.

A recursive-descent evaluator over GitHub's published grammar: literals, contexts, operators and the
functions that need no network. As at GitHub, a missing property is empty and words are compared
without regard to case. What is not known here is an error with a sentence, never a guess.

Grammar: https://docs.github.com/actions/reference/workflows-and-actions/expressions
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?))|'(?P<text>(?:[^']|'')*)'"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)|(?P<sign>&&|\|\||==|!=|<=|>=|[<>!().,\[\]*]))"
)
_EMBEDDED = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None}


class ExpressionError(Exception):
    """An expression that cannot be understood here."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression can see; `status` is success, failure or cancelled, so far."""

    contexts: Mapping[str, Any]
    status: str = "success"


def fill(text: str, scope: Scope) -> str:
    """Replace every `${{ … }}` of *text* by its value."""
    return _EMBEDDED.sub(lambda found: shown(evaluate(found[1], scope)), text)


def holds(condition: str, scope: Scope) -> bool:
    """Decide an `if:`; without a status function it holds only after success, as at GitHub."""
    whole = _EMBEDDED.fullmatch(condition.strip())
    source = whole[1] if whole else _EMBEDDED.sub(lambda found: f"({found[1]})", condition)
    if not re.search(r"\b(?:always|success|failure|cancelled)\s*\(", source):
        return scope.status == "success" and (not source.strip() or truth(evaluate(source, scope)))
    return truth(evaluate(source, scope))


def evaluate(source: str, scope: Scope) -> Any:
    """Return the value of one expression, without its `${{ }}`."""
    parser = _Parser(_tokens(source), source.strip(), scope)
    value = parser.either()
    parser.end()
    return value


def truth(value: object) -> bool:
    """Return whether GitHub takes *value* for true."""
    return value not in (None, False, 0, "")


def shown(value: object) -> str:
    """Return *value* as it stands in a filled text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case Mapping() | list():
            return json.dumps(value, indent=2)
        case _:
            return str(value)


def _tokens(source: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while source[at:].strip():
        found = _TOKEN.match(source, at)
        if found is None or found.lastgroup is None:
            raise ExpressionError(f"Unexpected symbol in expression: '{source.strip()}'")
        tokens.append((found.lastgroup, found[found.lastgroup]))
        at = found.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], source: str, scope: Scope) -> None:
        self._tokens = tokens
        self._source = source
        self._scope = scope
        self._at = 0

    def either(self) -> Any:
        value = self._both()
        while self._take("||"):
            other = self._both()
            value = value if truth(value) else other
        return value

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self._lost(self._tokens[self._at][1])

    def _both(self) -> Any:
        value = self._compared()
        while self._take("&&"):
            other = self._compared()
            value = other if truth(value) else value
        return value

    def _compared(self) -> Any:
        left = self._single()
        for sign, decide in _COMPARISONS.items():
            if self._take(sign):
                return decide(*_alike(left, self._single()))
        return left

    def _single(self) -> Any:
        if self._take("!"):
            return not truth(self._single())
        value = self._value()
        while True:
            if self._take("."):
                value = _member(value, self._next("name"))
            elif self._take("["):
                value = _member(value, self.either())
                self._expect("]")
            else:
                return value

    def _value(self) -> Any:
        if self._take("("):
            value = self.either()
            self._expect(")")
            return value
        kind, word = self._peek()
        self._at += 1
        match kind:
            case "number":
                return float(int(word, 16)) if "x" in word else float(word)
            case "text":
                return word.replace("''", "'")
            case "name" if self._take("("):
                return self._call(word, self._arguments())
            case "name" if word.lower() in _WORDS:
                return _WORDS[word.lower()]
            case "name" if word.lower() in self._scope.contexts:
                return self._scope.contexts[word.lower()]
            case "name":
                raise ExpressionError(
                    f"Unrecognized named-value: '{word}' in expression: '{self._source}'"
                )
            case _:
                raise self._lost(word)

    def _arguments(self) -> list[Any]:
        values: list[Any] = []
        while not self._take(")"):
            if values:
                self._expect(",")
            values.append(self.either())
        return values

    def _call(self, name: str, values: list[Any]) -> Any:
        word = name.lower()
        if word == "always":
            return True
        if word in {"success", "failure", "cancelled"}:
            return self._scope.status == word
        function = _FUNCTIONS.get(word)
        if function is None:
            raise ExpressionError(
                f"Unrecognized function: '{name}' in expression: '{self._source}'"
            )
        try:
            return function(*values)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise ExpressionError(f"Wrong arguments in '{self._source}': {error}") from error

    def _peek(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._lost("the end")
        return self._tokens[self._at]

    def _take(self, sign: str) -> bool:
        taken = self._tokens[self._at : self._at + 1] == [("sign", sign)]
        self._at += taken
        return taken

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._lost(self._peek()[1])

    def _next(self, kind: str) -> str:
        found, word = self._peek()
        if found != kind:
            raise self._lost(word)
        self._at += 1
        return word

    def _lost(self, word: str) -> ExpressionError:
        return ExpressionError(f"Unexpected '{word}' in expression: '{self._source}'")


def _member(value: object, key: object) -> object:
    if isinstance(value, Mapping):
        wanted = shown(key).lower()
        return next((item for name, item in value.items() if str(name).lower() == wanted), None)
    if isinstance(value, list) and isinstance(key, float) and 0 <= key < len(value):
        return value[int(key)]
    return None


def _alike(left: object, right: object) -> tuple[Any, Any]:
    """Return both sides as GitHub compares them: texts without case, else as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return left.lower(), right.lower()
    if type(left) is type(right):
        return left, right
    return _number(left), _number(right)


def _number(value: object) -> float:
    if value is None or value == "":
        return 0.0
    try:
        return float(value)  # type: ignore[arg-type]  # anything may stand here; what is no number becomes NaN
    except (TypeError, ValueError):
        return float("nan")


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(whole, list):
        return any(left == right for left, right in (_alike(item, part) for item in whole))
    return shown(part).lower() in shown(whole).lower()


def _format(pattern: Any, *values: Any) -> str:
    return shown(pattern).format(*(shown(value) for value in values))


def _join(values: Any, between: Any = ",") -> str:
    items: Sequence[Any] = values if isinstance(values, list) else [values]
    return shown(between).join(shown(item) for item in items)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<=": lambda left, right: bool(left <= right),
    ">=": lambda left, right: bool(left >= right),
    "<": lambda left, right: bool(left < right),
    ">": lambda left, right: bool(left > right),
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "contains": _contains,
    "startswith": lambda whole, part: shown(whole).lower().startswith(shown(part).lower()),
    "endswith": lambda whole, part: shown(whole).lower().endswith(shown(part).lower()),
    "format": _format,
    "join": _join,
    "tojson": lambda value: json.dumps(value, indent=2),
    "fromjson": lambda text: json.loads(shown(text)),
}
