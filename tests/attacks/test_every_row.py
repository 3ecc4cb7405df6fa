"""Every row of the threat table has a test here, and one that shows what its control is worth.

`OFF` names for each row the test in which the attack succeeds, since its control was taken away:
by `tests.support.controls`, or by an argument of the real thing. Where the control is a decision,
there is nothing to take away: `OTHERWISE` names the test in which the same act is let through, for
somebody who may or at another commit, so that the refusal is known to be this control's.
"""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROWS = range(1, 49)
SECURITY = (HERE.parents[1] / "docs" / "security.md").read_text(encoding="utf-8")

OFF = {
    1: "test_without_the_check_it_would_be_stored",
    2: "test_without_it_each_would_be_looked_at",
    3: "test_without_the_keys_it_would_be_stored",
    5: "test_without_the_cap_it_would_be_read_whole",
    6: "test_without_the_reading_it_would_wait_for_work",
    7: "test_without_asking_it_would_be_the_one_in_the_payload",
    13: "test_the_lease_is_exact",
    14: "test_it_goes_out_with_the_role_or_without_the_control",
    15: "test_under_one_name_it_would_be",
    16: "test_with_more_permissions_it_would_not_be",
    17: "test_outside_of_the_sandbox_it_would_be_found",
    18: "test_without_the_control_it_would",
    19: "test_without_the_gateway_the_key_itself_is_heard",
    20: "test_an_inherited_environment_would_be_read",
    22: "test_it_runs_without_the_allow_list",
    23: "test_it_is_in_many_environments_when_sent_as_a_header",
    24: "test_the_server_would_be_reached",
    25: "test_abstract_sockets_are_those_of_a_network_namespace",
    26: "test_a_mount_below_the_tree_would_make_it",
    27: "test_processes_are_counted_by_the_kernel",
    28: "test_it_would_go_on_without_a_namespace",
    29: "test_it_would_if_a_tree_were_believed_to_be_clean",
    30: "test_the_proof_alone_would_let_it_out",
    31: "test_hooks_would_run_programs",
    32: "test_it_would_be_committed",
    33: "test_it_would_and_then_its_files_are_still_not_written",
    34: "test_a_link_would_be_committed",
    35: "test_without_the_list_nothing_would_be_found",
    36: "test_with_pythons_own_it_would_not_end",
    37: "test_without_the_cap_all_would_be_kept",
    38: "test_without_the_bounds_it_would_be_read",
    39: "test_without_the_list_it_would_be_asked",
    40: "test_without_it_the_words_would_be_hidden",
    42: "test_an_outcome_would_be_stored_with_it",
    43: "test_with_a_cookie_for_a_token_the_form_would_be_obeyed",
    45: "test_a_route_without_the_control_would_be_found",
    46: "test_without_the_cap_each_would_be_paid_for",
    47: "test_without_the_day_s_limit_it_would_go_on",
    48: "test_without_the_pause_they_come_at_once",
}
OTHERWISE = {
    4: "test_while_it_is_listed_it_counts",
    8: "test_with_the_word_it_would_run",
    9: "test_with_the_role_it_counts",
    10: "test_with_its_number_listed_it_counts",
    11: "test_a_comment_that_was_left_alone_counts",
    12: "test_without_the_push_it_goes_out",
    21: "test_the_same_mend_without_one_is_committed",
    41: "test_by_our_app_it_counts",
    44: "test_the_platforms_own_file_would_be_believed",
}


def files(row: int) -> list[Path]:
    return sorted(HERE.glob(f"test_row_{row:02}_*.py"))


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        one.name
        for one in ast.walk(tree)
        if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
    }


def test_each_row_is_named_once_and_nothing_else_is():
    assert sorted([*OFF, *OTHERWISE]) == [*ROWS]
    numbers = {int(found[1]) for path in HERE.glob("*") if (found := _numbered(path))}
    assert numbers == {*ROWS}


def _numbered(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"test_row_(\d\d)_\w+\.py", path.name)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_attacked_and_the_attack_succeeds_without_its_control(row):
    named = [names_in(path) for path in files(row)]
    assert named
    shown = {**OFF, **OTHERWISE}[row]
    assert any(shown in one for one in named)
    assert any(one - {shown} for one in named)  # the attack itself
    said = [path.read_text(encoding="utf-8") for path in files(row)]
    assert all(one.startswith((f'"""Row {row}: ', f'"""Row {row}, ')) for one in said)


@pytest.mark.parametrize("row", ROWS)
def test_the_promise_of_a_row_is_documented_with_its_tests(row):
    (line,) = re.findall(rf"(?m)^\| {row} \|.*$", SECURITY)
    assert {path.stem for path in files(row)} == set(re.findall(r"`(test_row_\w+)`", line))
