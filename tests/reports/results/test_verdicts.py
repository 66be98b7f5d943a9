import unicodedata
from itertools import product

import pytest

from clusterproof.builds import Expectation
from clusterproof.reports.results.verdicts import ROLES, Observation, Verdict, expect, judge

# The table of the design, row by row, so that a person can hold one against the other.
TABLE = """
expectation     conforms        symptom     other-failure  scenario-error  lab-error  not-run
fixed           conforms        regressed   failed         invalid         blocked    untestable
not-affected    conforms        regressed   failed         invalid         blocked    untestable
affected        silently-fixed  reproduced  failed         invalid         blocked    untestable
unknown         clear           discovered  failed         invalid         blocked    untestable
not-applicable  -               -           -              -               -          not-applicable
"""
_, *HEAD = TABLE.split("\n")[1].split()
CELLS = [
    (Expectation(expectation), Observation(observation), verdict)
    for expectation, *verdicts in (line.split() for line in TABLE.strip().split("\n")[1:])
    for observation, verdict in zip(HEAD, verdicts, strict=True)
]


def test_the_table_is_whole():
    assert {cell[:2] for cell in CELLS} == set(product(Expectation, Observation))


@pytest.mark.parametrize(("expectation", "observation", "verdict"), CELLS)
def test_each_cell_of_the_table(expectation, observation, verdict):
    if verdict == "-":
        with pytest.raises(ValueError, match=f'observation "{observation}" on a build to which'):
            judge(expectation, observation)
    else:
        assert judge(expectation, observation) is Verdict(verdict)


def test_a_lab_fault_never_speaks_of_the_product():
    applicable = set(Expectation) - {Expectation.NOT_APPLICABLE}
    assert {judge(one, Observation.LAB_ERROR) for one in applicable} == {Verdict.BLOCKED}
    assert not Observation.LAB_ERROR.judged
    assert not Observation.SCENARIO_ERROR.judged
    assert not Observation.NOT_RUN.judged


@pytest.mark.parametrize("expectation", Expectation)
def test_a_verdict_is_expected_where_the_build_does_as_the_ledger_says_or_was_not_asked(expectation):
    as_said = Observation.SYMPTOM if expectation is Expectation.AFFECTED else Observation.CONFORMS
    for expected, observation, verdict in CELLS:
        if expected is expectation and verdict != "-":
            assert Verdict(verdict).expected is (observation in (as_said, Observation.NOT_RUN))


def test_each_verdict_has_a_sign_of_its_own_and_a_sentence():
    signs = [verdict.sign for verdict in Verdict]
    assert len(set(signs)) == len(Verdict)
    # Wide characters and emoji would put a terminal's columns out of line.
    assert all(len(sign) == 1 and unicodedata.east_asian_width(sign) not in "WF" for sign in signs)
    assert all(verdict.meaning.endswith(".") and verdict.meaning.count(".") == 1 for verdict in Verdict)
    assert len({verdict.meaning for verdict in Verdict}) == len(Verdict)


def test_severity_puts_what_is_unexpected_first():
    assert sorted(Verdict, key=lambda verdict: -verdict.severity) == list(Verdict)
    assert min(verdict.severity for verdict in Verdict) == 0
    assert min(v.severity for v in Verdict if not v.expected) > max(
        v.severity for v in Verdict if v.expected
    )


@pytest.mark.parametrize("issue", Expectation)
def test_what_a_role_makes_of_an_expectation(issue):
    eased = Expectation.NOT_AFFECTED if issue is Expectation.AFFECTED else issue
    injected = issue if issue is Expectation.NOT_APPLICABLE else Expectation.AFFECTED
    expected = {"reproduction": issue, "workaround": eased, "control": eased, "injection": injected}
    assert {role: expect(issue, role) for role in ROLES} == expected
