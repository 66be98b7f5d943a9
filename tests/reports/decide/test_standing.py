"""On what the gate stands: all cells, some of them, or nobody knows."""

from __future__ import annotations

import pytest

from clusterproof.reports.decide.gate import BLOCKED, PASSED, gate
from clusterproof.reports.decide.policy import load_policy
from clusterproof.reports.decide.standing import judged, of_selection, standing
from clusterproof.reports.results.results import write_not_selected, write_planned
from tests.samples import INCUS_604, cell

QUALIFICATION, EXPECTED = load_policy("qualification"), load_policy("expected")


def names(count: int, build: str, start: int = 0) -> list[str]:
    return [f"suites/a/test_a.py::test_{number}[{build}]" for number in range(start, start + count)]


@pytest.mark.parametrize(
    ("cell", "build"),
    [
        ("suites/a/test_a.py::test_x[incus@7.0.2]", "incus@7.0.2"),
        ("suites/a/test_a.py::test_x[incus@6.0.4-to-7.0.2]", "incus@7.0.2"),
        ("suites/a/test_a.py::test_x[lxd@5.0.2+git20231211-to-5.0.2]", "lxd@5.0.2"),
        ("suites/a/test_a.py::test_x[lxd@5.21/edge]", "lxd@5.21/edge"),
    ],
)
def test_the_judged_build_of_a_name(cell, build):
    assert judged(cell) == build


def test_a_part_of_the_cells():
    left_out = dict.fromkeys(names(12, "incus@7.5.1", 53), "-k cluster")
    found = of_selection(names(53, "incus@7.5.1"), left_out)
    assert found.lines == ("53 of 65 cells of incus@7.5.1; 12 not selected (-k cluster)",)
    assert found.gaps == found.lines


def test_several_reasons_and_builds():
    left_out = dict.fromkeys(names(2, "incus@7.5.1", 9), "-k x")
    left_out |= dict.fromkeys(names(1, "incus@7.5.1", 20), "--issue")
    found = of_selection([*names(1, "incus@7.5.1"), *names(3, "lxd@5.0.2")], left_out)
    assert found.lines == (
        "1 of 4 cells of incus@7.5.1; 2 not selected (-k x), 1 not selected (--issue)",
        "all 3 cells of lxd@5.0.2",
    )
    assert len(found.gaps) == 1
    assert of_selection([*names(3, "lxd@5.0.2")], left_out, "lxd@5.0.2").gaps == ()


def test_the_whole():
    found = of_selection([*names(2, "incus@7.5.1"), *names(3, "lxd@5.0.2")], {})
    assert found.lines == ("all 5 cells of 2 builds",)
    assert not found.gaps


def test_a_run_without_a_plan(tmp_path):
    found = standing(tmp_path)
    assert found.lines == ("no plan (planned-cells.txt is missing): completeness unknown",)
    assert found.gaps
    write_planned(tmp_path, names(1, "incus@7.0.2"))
    assert "completeness unknown" in standing(tmp_path).lines[0]
    write_not_selected(tmp_path, {})
    assert standing(tmp_path).lines == ("the only cell of incus@7.0.2",)


def test_a_subset_is_no_qualification():
    stands_on = of_selection(names(1, "incus@7.0.2"), dict.fromkeys(names(64, "incus@7.0.2", 1), "-k x"))
    result = gate([cell()], QUALIFICATION, before=[cell(build=INCUS_604)], stands_on=stands_on)
    assert result.exit_code == BLOCKED
    assert "the results are incomplete" in result.lines[-1]
    assert "stands on: 1 of 65 cells of incus@7.0.2; 64 not selected (-k x)" in result.lines
    assert "missing: 1 of 65 cells of incus@7.0.2; 64 not selected (-k x)" in result.lines


def test_what_is_unknown_is_no_qualification_either(tmp_path):
    result = gate([cell()], QUALIFICATION, before=[cell(build=INCUS_604)], stands_on=standing(tmp_path))
    assert result.exit_code == BLOCKED


def test_a_subset_may_be_as_expected_and_says_that_it_is_one():
    stands_on = of_selection(names(1, "incus@7.0.2"), dict.fromkeys(names(64, "incus@7.0.2", 1), "--issue"))
    result = gate([cell()], EXPECTED, stands_on=stands_on)
    assert result.exit_code == PASSED
    assert result.lines[-2] == "stands on: 1 of 65 cells of incus@7.0.2; 64 not selected (--issue)"
    assert result.lines[-2] in result.notes
