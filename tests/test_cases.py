"""The table of cases: what it reads from names, and that its command works."""

import json
import subprocess
import sys

import pytest

from tests.cases import ROOT, SECTIONS, cases_of, ranges, show, table


@pytest.mark.parametrize(
    ("test_id", "cases"),
    [
        ("tests/x.py::test_1_2_any_method", {"1", "2"}),
        ("tests/x.py::test_l5_deep_nesting", {"l5"}),
        ("tests/x.py::test_46_after_60_failures_429", {"46"}),
        ("tests/x.py::test_a_secret_of_72_bytes", set()),
        ("tests/x.py::test_3_4_forms[/access_token-case_9_query]", {"3", "4", "9"}),
        ("tests/x.py::test_forms[case_9_a-case_10_b]", {"9", "10"}),
        ("tests/x.py::test_forms[case_sensitive]", set()),
        ("tests/x.py::test_forms[showcase_9]", set()),
        ("tests/x.py::test_9x_forms", set()),
        ("tests/x.py::TestClass::test_201_x[case_21_'[::1'-b]", {"201", "21"}),
    ],
)
def test_cases_are_the_leading_numbers_of_a_name_and_those_of_a_parameter(test_id: str, cases: set[str]) -> None:
    assert cases_of(test_id) == cases


def test_sections_follow_each_other_from_1_to_211() -> None:
    numbers = [number for _, _, first, last in SECTIONS for number in range(first, last + 1)]
    assert numbers == list(range(1, 212))


def test_a_case_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(SystemExit, match="212"):
        table(["tests/x.py::test_212_nothing"])


def test_a_row_says_what_is_held_and_what_is_missing() -> None:
    rows = {row["section"]: row for row in table(["x.py::test_27_29_a", "x.py::test_29_b", "x.py::test_l3_30_c"])}
    assert rows["B"]["held"] == 3
    assert (rows["B"]["cases"], rows["B"]["tests"]) == (21, 3)
    assert rows["L1-L19"]["held"] == 1
    assert ranges(rows["B"]["missing"]) == "28 31-47"
    assert "4 of 230" in show(list(rows.values()))


def test_the_command_prints_the_table_of_these_tests() -> None:
    command = [sys.executable, "-m", "tests.cases", "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    rows = {row["section"]: row for row in json.loads(result.stdout)}
    assert len(rows) == 16
    # What is built is held: the HTTP surface but for what the web server does, secrets, requests, metadata.
    for section in "BCGI":
        assert rows[section]["held"] > rows[section]["cases"] // 2
    assert set(rows["A"]["missing"]) <= {"17", "18", "19", "20"}
    assert not {"207", "208", "209"} & set(rows["O"]["missing"])
