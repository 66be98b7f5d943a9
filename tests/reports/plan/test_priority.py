from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.builds import Expectation
from clusterproof.reports.history.history import PastResult
from clusterproof.reports.plan.priority import STALE, UNKNOWN, Candidate, Durations, Why, cut, ranked
from clusterproof.reports.results.results import Key
from clusterproof.reports.results.verdicts import ROLES, Observation, Verdict
from tests.samples import BUILDS, INCUS_604, INCUS_702, INCUS_751, LXD_502, START

OBSERVED = dict.fromkeys(Verdict, Observation.CONFORMS) | {
    Verdict.REPRODUCED: Observation.SYMPTOM,
    Verdict.REGRESSED: Observation.SYMPTOM,
    Verdict.DISCOVERED: Observation.SYMPTOM,
    Verdict.FAILED: Observation.OTHER_FAILURE,
    Verdict.BLOCKED: Observation.LAB_ERROR,
    Verdict.UNTESTABLE: Observation.NOT_RUN,
    Verdict.NOT_APPLICABLE: Observation.NOT_RUN,
}


def key(issue="lxd-1", scenario="suites/a.py::test_a", build=INCUS_604, role="reproduction"):
    return Key(issue, scenario, role, build.product, build.version, "", "", "container")


def candidate(
    issue="lxd-1",
    scenario="test_a",
    build=INCUS_604,
    role="reproduction",
    expectation=Expectation.AFFECTED,
    seconds=10.0,
    verdict=None,
    flips=0,
    age=0.0,
    runs=True,
):
    identity = key(issue, scenario, build, role)
    past = verdict and PastResult(
        "r", scenario, role, build.product, build.version, START, OBSERVED[verdict], verdict
    )
    name = f"{issue}/{scenario}[{build.name}]"
    return Candidate(name, identity, build, expectation, seconds, past, flips, age, runs)


def choose(cells, budget):
    """Return what one shard has of a budget, in the order in which it was chosen."""
    return cut(cells, 1, budget)[0]


candidates = st.lists(
    st.builds(
        candidate,
        issue=st.sampled_from(["lxd-1", "lxd-2", "lxd-3"]),
        scenario=st.sampled_from(["test_a", "test_b"]),
        build=st.sampled_from(BUILDS),
        role=st.sampled_from(ROLES),
        expectation=st.sampled_from([Expectation.AFFECTED, Expectation.FIXED, Expectation.UNKNOWN]),
        seconds=st.floats(0.1, 100),
        verdict=st.sampled_from([None, *Verdict]),
        flips=st.integers(0, 2),
        age=st.floats(0, 30),
    ),
    unique_by=lambda one: one.name,
    max_size=20,
)


@given(candidates, st.floats(0, 2000))
def test_what_is_chosen_fits_and_nothing_that_fits_is_left_out(cells, budget):
    chosen = choose(cells, budget)
    assert all(count == 1 for count in Counter(one.name for one in chosen).values())
    assert set(chosen) <= set(cells)
    spent = sum(one.seconds for one in chosen)
    assert spent <= budget + 1e-6
    assert all(one.seconds > budget - spent - 1e-6 for one in cells if one not in chosen)


@given(candidates, st.randoms())
def test_the_order_in_which_cells_come_does_not_matter(cells, random):
    shuffled = random.sample(cells, len(cells))
    assert choose(cells, 150) == choose(shuffled, 150)


@given(candidates)
def test_what_calls_for_a_person_comes_first(cells):
    urgent = [one.urgent for one in choose(cells, 1e9)]
    assert urgent == sorted(urgent, reverse=True)


@given(candidates)
def test_every_issue_has_a_turn_before_one_has_two(cells):
    calm = [one for one in cells if not one.urgent]
    chosen = choose(calm, 1e9)
    first = {one.key.issue for one in chosen[: len({one.key.issue for one in calm})]}
    assert first == {one.key.issue for one in calm}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, Why.NEVER),
        ({"runs": False}, Why.SILENT),
        ({"verdict": Verdict.REPRODUCED}, Why.KNOWN),
        ({"verdict": Verdict.REPRODUCED, "age": STALE}, Why.KNOWN),
        ({"verdict": Verdict.REPRODUCED, "age": STALE + 0.1}, Why.STALE),
        ({"verdict": Verdict.REPRODUCED, "flips": 1, "age": 30}, Why.FLIPPED),
        ({"verdict": Verdict.REPRODUCED, "expectation": Expectation.FIXED}, Why.CHANGED),
        ({"verdict": Verdict.CONFORMS, "expectation": Expectation.NOT_APPLICABLE}, Why.CHANGED),
        ({"verdict": Verdict.CLEAR, "expectation": Expectation.UNKNOWN}, Why.KNOWN),
        ({"verdict": Verdict.BLOCKED, "flips": 1}, Why.UNEXPECTED),
        ({"verdict": Verdict.REGRESSED}, Why.UNEXPECTED),
        ({"verdict": Verdict.UNTESTABLE, "age": 30}, Why.SILENT),
        # A scenario may not apply for reasons of its own, of which the ledger says nothing.
        ({"verdict": Verdict.NOT_APPLICABLE, "expectation": Expectation.AFFECTED}, Why.SILENT),
    ],
)
def test_what_makes_a_cell_worth_running(facts, why):
    assert candidate(**facts).why is why


def test_cells_of_one_issue_in_the_order_of_what_makes_them_worth_running():
    told: list[dict[str, Any]] = [
        {"verdict": Verdict.FAILED},
        {"verdict": Verdict.REPRODUCED, "flips": 2},
        {"verdict": Verdict.CONFORMS},
        {},
        {"verdict": Verdict.REPRODUCED, "age": STALE + 1},
        {"verdict": Verdict.REPRODUCED},
        {"verdict": Verdict.UNTESTABLE},
    ]
    cells = [candidate(scenario=f"test_{9 - place}", **facts) for place, facts in enumerate(told)]
    assert [one.why for one in ranked(reversed(cells))] == list(Why)
    assert ranked(reversed(cells)) == cells


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"scenario": "test_b"}, {"verdict": Verdict.REPRODUCED}),
        ({"verdict": Verdict.CONFORMS}, {"scenario": "test_b", "verdict": Verdict.UNTESTABLE}),
        ({"seconds": 90}, {"role": "workaround", "seconds": 1}),
        ({"build": INCUS_751}, {"build": INCUS_604}),
        ({"seconds": 1}, {"scenario": "test_b", "seconds": 2}),
    ],
    ids=["never run", "could run", "reproduction", "newer", "cheaper"],
)
def test_which_of_two_cells_of_an_issue_says_more(first, second):
    one, other = candidate(**first), candidate(**second)
    assert choose([other, one], 1000) == [one, other]


def test_each_build_has_one_scenario_before_one_has_a_second():
    newer, older = candidate(build=INCUS_702, seconds=90), candidate(seconds=1)
    second = candidate(scenario="test_b", build=INCUS_702, seconds=99)
    assert choose([second, older, newer], 1000) == [newer, older, second]


def test_builds_beside_a_bound_say_more_than_newer_ones():
    affected = candidate(build=INCUS_604)
    fixed = candidate(build=INCUS_702, expectation=Expectation.FIXED)
    newest = candidate(build=INCUS_751, expectation=Expectation.FIXED)
    assert choose([newest, affected, fixed], 1000) == [fixed, affected, newest]


def test_a_cell_takes_as_long_as_last_time_or_as_elsewhere_or_as_nobody_knows():
    times = {key(): 3.0, key(build=INCUS_702): 5.0, key(build=INCUS_751): 20.0, key(build=LXD_502): 0.0}
    durations = Durations(times)
    assert durations.estimate(key()) == (3.0, "last time")
    assert durations.estimate(key(build=BUILDS[3])) == (0.0, "last time")
    # On the builds of the same product, if there are any.
    assert durations.estimate(key()._replace(version="9")) == (5.0, "other builds")
    assert durations.estimate(key()._replace(product="other")) == (3.0, "other builds")
    assert durations.estimate(key(scenario="suites/a.py::test_b")) == (UNKNOWN, "a guess")


def test_what_did_not_run_tells_nothing_of_another_substrate():
    untestable, elsewhere = key(), key()._replace(substrate="vm")
    durations = Durations({untestable: 0.0}, idle={untestable})
    assert durations.estimate(untestable._replace(version="9")) == (0.0, "other builds")
    assert durations.estimate(elsewhere) == (UNKNOWN, "a guess")
    assert Durations({untestable: 4.0}).estimate(elsewhere) == (4.0, "other builds")


# Shards


@given(candidates, st.integers(1, 6), st.randoms())
def test_every_cell_is_in_exactly_one_shard_whatever_the_order(cells, shards, random):
    dealt = cut(cells, shards)
    assert len(dealt) == shards
    assert Counter(one.name for share in dealt for one in share) == Counter(one.name for one in cells)
    assert cut(random.sample(cells, len(cells)), shards) == dealt


@given(candidates, st.integers(1, 6))
def test_a_build_is_installed_in_one_shard_where_there_are_enough_builds(cells, shards):
    dealt = cut(cells, shards)
    builds = {(one.build.product, one.build.version) for one in cells}
    places = [{(one.build.product, one.build.version) for one in share} for share in dealt]
    if len(builds) >= shards:
        assert sum(map(len, places)) == len(builds)
    else:
        assert all(len(place) <= 1 for place in places)
        assert sum(map(bool, places)) == min(shards, len(cells))


@given(candidates, st.integers(1, 6))
def test_no_shard_takes_longer_than_another_by_more_than_its_shortest_build(cells, shards):
    dealt = cut(cells, shards)
    loads = [sum(one.seconds for one in share) for share in dealt]
    for share, load in zip(dealt, loads, strict=True):
        builds = {(one.build.product, one.build.version): 0.0 for one in share}
        for one in share:
            builds[one.build.product, one.build.version] += one.seconds
        if len(builds) > 1:
            assert load - min(builds.values()) <= min(loads) + 1e-6


@given(candidates, st.integers(1, 6), st.floats(0, 300))
def test_each_shard_has_a_budget_of_its_own(cells, shards, budget):
    dealt = cut(cells, shards, budget)
    chosen = [one for share in dealt for one in share]
    assert len(chosen) == len(set(chosen))
    loads = [sum(one.seconds for one in share) for share in dealt]
    assert all(load <= budget + 1e-6 for load in loads)
    # What was left out has room nowhere.
    left = [one for one in cells if one not in chosen]
    assert all(min(loads) + one.seconds > budget - 1e-6 for one in left)


def test_shards_with_a_budget_have_together_what_says_most():
    cells = [candidate(scenario=f"test_{n}") for n in range(4)]
    known = [candidate(scenario=f"test_{n}", verdict=Verdict.REPRODUCED) for n in range(4, 9)]
    dealt = cut([*known, *cells], 2, 20)
    assert {one.why for share in dealt for one in share} == {Why.NEVER}
    assert [len(share) for share in dealt] == [2, 2]
