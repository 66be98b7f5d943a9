"""The plain words before the verdicts: true of the build, whatever role the scenario had."""

import itertools

import pytest

from clusterproof.builds import Expectation
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.results.answers import Answer, answer, in_words, tally
from clusterproof.reports.results.verdicts import ROLES, Observation, Role, Verdict, expect, judge
from tests.samples import LXD_502, cell


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("observation", Observation)
@pytest.mark.parametrize("issue", Expectation)
def test_the_words_follow_from_what_was_observed(issue, observation, role):
    expectation = expect(issue, role)
    if expectation is Expectation.NOT_APPLICABLE and observation is not Observation.NOT_RUN:
        return
    words = answer(judge(expectation, observation), role)
    if expectation is Expectation.NOT_APPLICABLE:
        assert words is Answer.NOT_APPLICABLE
        return
    by_role = {
        "reproduction": (Answer.HAS_BUG, Answer.FREE),
        "workaround": (Answer.HAS_BUG, Answer.WORKS),
        "control": (Answer.HAS_BUG, Answer.WORKS),
        "injection": (Answer.BROUGHT_ABOUT, Answer.NOT_KNOWN),
    }
    symptom, conforms = by_role[role]
    assert words is {
        Observation.SYMPTOM: symptom,
        Observation.CONFORMS: conforms,
        Observation.OTHER_FAILURE: Answer.FAILS,
        Observation.LAB_ERROR: Answer.NOT_KNOWN,
        Observation.SCENARIO_ERROR: Answer.NOT_KNOWN,
        Observation.NOT_RUN: Answer.NOT_KNOWN,
    }[observation]


def test_every_answer_has_a_meaning():
    assert {answer(*one) for one in itertools.product(Verdict, ROLES)} == {*Answer}
    assert all(one.meaning.endswith(".") for one in Answer)
    assert len({one.meaning for one in Answer}) == len(Answer)


def test_the_verdict_stands_behind_the_words():
    assert in_words(Answer.HAS_BUG, Verdict.REGRESSED) == "has the bug (regressed)"
    assert in_words(Answer.NOT_APPLICABLE, Verdict.NOT_APPLICABLE) == "does not apply"


def test_results_are_counted_in_plain_words():
    results: list[tuple[Verdict, Role]] = [
        (Verdict.CLEAR, "reproduction"),
        (Verdict.REPRODUCED, "injection"),
        (Verdict.REPRODUCED, "reproduction"),
        (Verdict.REGRESSED, "reproduction"),
        (Verdict.CLEAR, "reproduction"),
    ]
    assert tally(results) == (
        "has the bug: 1 regressed, 1 reproduced; free of it: 2 clear; brought about: 1 reproduced"
    )
    assert tally([]) == ""


def on_build(*cells):
    return build_matrix(cells, {}).cells["lxd-15313"]["lxd@5.0.2-5+deb12u6"]


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([], Answer.FREE),
        ([("workaround", Observation.CONFORMS, Expectation.NOT_AFFECTED)], Answer.FREE),
        ([("workaround", Observation.SYMPTOM, Expectation.NOT_AFFECTED)], Answer.HAS_BUG),
        ([("injection", Observation.SYMPTOM, Expectation.AFFECTED)], Answer.FREE),
    ],
)
def test_a_reproduction_answers_for_the_build(others, words):
    cells = [
        cell(build=LXD_502, scenario=f"a::{role}", role=role, observation=seen, expectation=expected)
        for role, seen, expected in others
    ]
    assert on_build(cell(build=LXD_502), *cells).answer is words


def test_a_workaround_that_works_does_not_make_a_build_free_of_the_bug():
    facts = {"build": LXD_502, "expectation": Expectation.AFFECTED}
    untestable = cell(**facts, observation=Observation.NOT_RUN)
    works = cell(build=LXD_502, scenario="a::b", role="workaround")
    found = on_build(untestable, works)
    assert (found.verdict, found.answer) == (Verdict.UNTESTABLE, Answer.NOT_KNOWN)
    assert on_build(works).answer is Answer.WORKS
    by_hand = cell(**facts, scenario="a::c", role="injection", observation=Observation.SYMPTOM)
    assert on_build(by_hand).answer is Answer.BROUGHT_ABOUT
