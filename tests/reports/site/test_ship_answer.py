"""May it ship: the answer follows from the gate, the predecessor, and how much was judged."""

from datetime import date

import pytest

from clusterproof.builds import Expectation
from clusterproof.reports.decide.policy import DEFAULT, Explanation, load_policy
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.results.verdicts import Observation, Verdict
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.published_evidence import EvidenceInPlace
from clusterproof.reports.site.rendering import Made
from clusterproof.reports.site.ship_answer import ship_answer
from tests.samples import INCUS_604, INCUS_702, START, cell, sample_ledger

SYMPTOM, CONFORMS = Observation.SYMPTOM, Observation.CONFORMS
FREE, AFFECTED = Expectation.NOT_AFFECTED, Expectation.AFFECTED
ALL = ("lxd-15313", "rolling-upgrade", "lxd-15218")  # that concern Incus


def answer(tmp_path, cells, missing=(), policy=None):
    ledger = sample_ledger(tmp_path)
    matrix = build_matrix(cells, ledger)
    material = Material(
        tmp_path,
        matrix,
        cells,
        ledger,
        Made(START, 14),
        EvidenceInPlace(),
        {},
        policy or load_policy(DEFAULT),
        missing=missing,
    )
    return ship_answer(material, matrix.column("incus@7.0.2-3~bpo13+1"))


def free(*issues, build=INCUS_702):
    return [cell(issue=one, scenario=f"a::{one}", build=build) for one in issues]


def one(observation, expectation, build=INCUS_702):
    return cell(
        issue="lxd-15313",
        scenario="a::lxd-15313",
        build=build,
        observation=observation,
        expectation=expectation,
    )


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (free(*ALL), "yes"),
        ([one(SYMPTOM, AFFECTED), *free(*ALL[1:])], "yes"),
        (free(*ALL[:1]), "partly"),
        ([one(SYMPTOM, FREE), *free(*ALL[1:])], "no"),
        ([one(Observation.LAB_ERROR, FREE), *free(*ALL[1:])], "unknown"),
        ([one(Observation.NOT_RUN, FREE)], "unknown"),
        ([one(SYMPTOM, AFFECTED), *free(*ALL[1:]), *free(*ALL, build=INCUS_604)], "worse"),
        ([one(SYMPTOM, AFFECTED), one(SYMPTOM, AFFECTED, INCUS_604), *free(*ALL[1:])], "yes"),
    ],
)
def test_the_answer(tmp_path, cells, says):
    assert answer(tmp_path, cells).says == says


def test_results_that_are_missing_are_no_yes(tmp_path):
    assert (
        answer(tmp_path, free(*ALL), missing=["3 of 9 planned cells have no result"]).says == "unknown"
    )


def test_an_issue_without_any_result_counts_as_not_judged(tmp_path):
    found = answer(tmp_path, free("lxd-15313"))
    assert (found.judged, len(found.unjudged), found.absent, found.documented) == (1, 0, 2, 3)


def test_what_a_person_has_accepted_by_name_does_not_stop_it(tmp_path):
    explained = Explanation(
        issue="lxd-15313",
        build="incus@7.0.2",
        verdict=Verdict.REGRESSED,
        reason="reported upstream",
        expires=date(2099, 1, 1),
    )
    policy = load_policy(DEFAULT).model_copy(update={"explained": (explained,)})
    found = answer(tmp_path, [one(SYMPTOM, FREE), *free(*ALL[1:])], policy=policy)
    assert found.says == "yes"
    assert [one.why for one in found.explained] == ["reported upstream; until 2099-01-01"]
    assert len(found.unexpected) == 1


def test_a_policy_that_compares_is_given_the_predecessor(tmp_path):
    policy = load_policy("qualification")
    cells = [one(SYMPTOM, FREE), *free(*ALL[1:])]
    assert answer(tmp_path, [*cells, *free(*ALL, build=INCUS_604)], policy=policy).says == "no"
    both = [*cells, one(SYMPTOM, FREE, INCUS_604), *free(*ALL[1:], build=INCUS_604)]
    assert answer(tmp_path, both, policy=policy).gate.outcome == 0
