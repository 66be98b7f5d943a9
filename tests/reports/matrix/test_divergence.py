"""Where the newest judged builds of LXD and Incus differ."""

import pytest

from clusterproof.builds import Expectation
from clusterproof.reports.decide.diff import IssueChange, compare
from clusterproof.reports.matrix.divergence import divergence
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.matrix.matrix import WayOut
from clusterproof.reports.results.answers import Answer
from clusterproof.reports.results.verdicts import Observation
from tests.samples import INCUS_604, INCUS_702, LXD_502, LXD_GIT, cell, sample_ledger

UNKNOWN = Expectation.UNKNOWN
SYMPTOM, CONFORMS, NOT_RUN, FAILURE = (
    Observation.SYMPTOM,
    Observation.CONFORMS,
    Observation.NOT_RUN,
    Observation.OTHER_FAILURE,
)


def matrix_of(tmp_path, seen):
    cells = [cell(build=one, observation=what, expectation=UNKNOWN) for one, what in seen.items()]
    return build_matrix(cells, sample_ledger(tmp_path))


@pytest.mark.parametrize(
    ("seen", "affected", "free"),
    [
        ({LXD_502: SYMPTOM, INCUS_702: CONFORMS}, LXD_502, INCUS_702),
        ({LXD_502: CONFORMS, INCUS_702: SYMPTOM}, INCUS_702, LXD_502),
        # The newest counts, and of those the newest that was judged.
        ({LXD_502: SYMPTOM, LXD_GIT: CONFORMS, INCUS_702: SYMPTOM}, INCUS_702, LXD_GIT),
        ({LXD_502: SYMPTOM, INCUS_604: CONFORMS, INCUS_702: NOT_RUN}, LXD_502, INCUS_604),
        ({LXD_502: SYMPTOM, INCUS_604: CONFORMS, INCUS_702: FAILURE}, LXD_502, INCUS_604),
    ],
)
def test_one_has_it_and_the_other_is_free_of_it(tmp_path, seen, affected, free):
    found = divergence(matrix_of(tmp_path, seen), "lxd-15313")
    assert (found.affected.build, found.free.build) == (affected, free)


@pytest.mark.parametrize(
    "seen",
    [
        {LXD_502: SYMPTOM, INCUS_702: SYMPTOM},
        {LXD_502: CONFORMS, INCUS_702: CONFORMS},
        {LXD_502: SYMPTOM, LXD_GIT: CONFORMS},
        {LXD_502: SYMPTOM, INCUS_702: NOT_RUN},
    ],
)
def test_they_agree_or_one_of_them_was_not_judged(tmp_path, seen):
    assert divergence(matrix_of(tmp_path, seen), "lxd-15313") is None


@pytest.mark.parametrize(
    ("reproduction", "workaround", "way_out"),
    [
        (SYMPTOM, CONFORMS, WayOut.VERIFIED),
        (SYMPTOM, SYMPTOM, WayOut.FAILS),
        (SYMPTOM, FAILURE, None),  # the build then fails otherwise, which is worse
        (SYMPTOM, NOT_RUN, None),
        (CONFORMS, CONFORMS, None),
    ],
)
def test_a_way_out_is_one_where_the_bug_is(tmp_path, reproduction, workaround, way_out):
    affected = Expectation.AFFECTED
    cells = [
        cell(build=LXD_502, observation=reproduction, expectation=affected),
        cell(
            build=LXD_502,
            scenario="a::test_way_out",
            role="workaround",
            observation=workaround,
            expectation=Expectation.NOT_AFFECTED,
        ),
    ]
    matrix = build_matrix(cells, sample_ledger(tmp_path))
    assert matrix.cells["lxd-15313"][matrix.columns[0].id].way_out is way_out


def test_the_telling_scenario_is_no_injection_that_was_recognised(tmp_path):
    by_hand = cell(
        scenario="a::test_by_hand",
        role="injection",
        observation=SYMPTOM,
        expectation=Expectation.AFFECTED,
    )
    matrix = build_matrix([by_hand, cell()], sample_ledger(tmp_path))
    on_build = matrix.cells["lxd-15313"][matrix.columns[0].id]
    assert on_build.scenarios[0].role == "injection"
    assert on_build.telling.scenario == cell().scenario
    assert on_build.telling.stands is on_build.verdict


@pytest.mark.parametrize("reproduction", [NOT_RUN, None])
def test_a_way_out_that_works_does_not_free_the_build_of_the_bug(tmp_path, reproduction):
    """Where the reproduction did not run, nothing is known: the comparison must not call the bug gone."""
    way_out = cell(
        build=LXD_GIT,
        scenario="a::test_way_out",
        role="workaround",
        observation=CONFORMS,
        expectation=Expectation.NOT_AFFECTED,
    )
    cells = [cell(build=LXD_502, observation=SYMPTOM, expectation=Expectation.AFFECTED), way_out]
    if reproduction:
        cells.append(cell(build=LXD_GIT, observation=reproduction, expectation=Expectation.AFFECTED))
    matrix = build_matrix(cells, sample_ledger(tmp_path))
    before, after = matrix.columns
    on_build = matrix.cells["lxd-15313"][after.id]
    assert not on_build.judged
    assert on_build.was is None
    assert on_build.answer is (Answer.NOT_KNOWN if reproduction else Answer.WORKS)
    (difference,) = compare(matrix, before, after).issues
    assert difference.change is IssueChange.UNSEEN
