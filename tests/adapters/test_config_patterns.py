"""`[[failure_patterns]]`: read into the policy, refused with line and position, obeyed."""

import pytest

from bot.config import load
from bot.domain.errors import ConfigError
from bot.domain.values import FailurePattern, FailureType
from bot.failures.classify import classify
from bot.failures.evidence import custom_table

GOOD = """\
[[failure_patterns]]
type = "infra"
pattern = "^license server .* unreachable"

[[failure_patterns]]
type = "lint"
pattern = "house style"
confidence = 0.5
tool = "house"
name = "style"
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "llm_config.toml"
        path.write_text(text)
        return load.configuration(path, {})

    return read


def test_patterns_reach_the_policy(read):
    assert read(GOOD).policy.patterns == (
        FailurePattern(FailureType.INFRA, "^license server .* unreachable", 0.9, "", "custom-1"),
        FailurePattern(FailureType.LINT, "house style", 0.5, "house", "style"),
    )
    assert read("").policy.patterns == ()


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ('pattern = "abc(d"', 3, "at character 6: missing )"),
        ('pattern = "ab[z-a]c"', 3, "at character 4: invalid character class range"),
        ('pattern = "a**b"', 3, "at character 2: bad repetition operator"),
        ('pattern = "(?<=a)b"', 3, "at character 1"),
        ('pattern = "x*"', 3, "matches every line"),
        ('pattern = ""', 3, "pattern"),
        ('pattern = "x"\nconfidence = 1.5', 4, "confidence"),
    ],
)
def test_a_bad_pattern_is_refused_with_its_place(read, tmp_path, text, line, told):
    with pytest.raises(ConfigError) as refused:
        read(f'[[failure_patterns]]\ntype = "infra"\n{text}\n')
    assert f"{tmp_path / 'llm_config.toml'}:{line}" in str(refused.value)
    assert told in str(refused.value)


def test_the_second_pattern_is_named_by_its_own_line(read):
    with pytest.raises(ConfigError, match=":12: "):
        read(GOOD + '[[failure_patterns]]\npattern = "a("\ntype = "infra"\n')


@pytest.mark.parametrize("kind", ["unknown", "nonsense"])
def test_a_type_that_patterns_cannot_have(read, kind):
    with pytest.raises(ConfigError, match=r":2: "):
        read(f'[[failure_patterns]]\ntype = "{kind}"\npattern = "x"\n')


def test_names_are_unique_and_a_table_is_no_list(read):
    with pytest.raises(ConfigError, match="two patterns"):
        read(GOOD + '[[failure_patterns]]\ntype = "infra"\npattern = "y"\nname = "style"\n')
    with pytest.raises(ConfigError, match="for each pattern"):
        read('[failure_patterns]\ntype = "infra"\n')


def test_what_the_project_says_goes_first(read):
    custom = custom_table(read(GOOD).policy.patterns)
    log = "FAILED tests/a.py::b - assert 1\nlicense server 10 unreachable\n"
    assert classify(log).type is FailureType.TEST_ASSERT
    told = classify(log, custom=custom)
    assert (told.type, told.rule, told.evidence[0].line) == (FailureType.INFRA, "custom-1", 2)
    assert classify("house style\n", custom=custom).tool == "house"
    assert custom_table(()) is None


def test_a_pattern_that_would_explode_elsewhere_is_linear(read):
    custom = custom_table(
        read('[[failure_patterns]]\ntype = "infra"\npattern = "(a+)+$b"\n').policy.patterns
    )
    assert classify("a" * 200_000, custom=custom).type is FailureType.UNKNOWN
