"""What fails in the same way on every build is the scenario's rather than each product's."""

import pytest

from clusterproof.reports.decide.gate import gate
from clusterproof.reports.decide.policy import load_policy
from clusterproof.reports.decide.same_failure import same_failures
from clusterproof.reports.results.verdicts import Observation
from tests.samples import INCUS_702, INCUS_751, LXD_502, cell

FAILED = Observation.OTHER_FAILURE


def failed(build, reason="CommandError: m1: incus config set on 10.5.3.1 failed", **changes):
    return cell(build=build, observation=FAILED, reason=reason, **changes)


def test_the_same_failure_on_every_build_is_one_line():
    lxd = failed(LXD_502, "CommandError: m2: lxc config set on 10.5.9.7 failed")
    (line,) = same_failures([failed(INCUS_702), failed(INCUS_751), lxd])
    assert "test_one_extension_less failed in the same way on all 3 builds" in line
    assert line.endswith("incus config set on 10.5.3.1 failed")


@pytest.mark.parametrize(
    "other",
    [
        failed(INCUS_751, "ApiError: 404 not found"),
        cell(build=INCUS_751),
        cell(build=INCUS_751, observation=Observation.SYMPTOM),
        failed(INCUS_702),
        cell(build=INCUS_751, observation=Observation.NOT_RUN),
        failed(INCUS_751, scenario="suites/upgrade/test_downgrade.py::test_other"),
    ],
)
def test_anything_else_is_left_to_the_cells(other):
    assert list(same_failures([failed(INCUS_702), other])) == []


def test_the_gate_says_so_and_the_verdicts_stay():
    found = gate([failed(INCUS_702), failed(INCUS_751)], load_policy("expected"))
    assert found.exit_code == 1
    (note,) = found.notes
    assert f"note: {note}" in found.lines
    assert sum("fails otherwise" in line for line in found.lines[:-1]) == 2
