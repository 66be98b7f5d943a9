from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds import Expectation
from reports.choice import UNKNOWN, Candidate, choose, estimate
from reports.history import Past
from reports.results import Key
from reports.verdicts import ROLES, Observation, Verdict
from tests.samples import BUILDS, INCUS_604, INCUS_702, INCUS_751, START


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
):
    identity = key(issue, scenario, build, role)
    past = verdict and Past(
        "r", scenario, role, build.product, build.version, START, Observation.CONFORMS, verdict
    )
    name = f"{issue}/{scenario}[{build.name}]"
    return Candidate(name, identity, build, expectation, seconds, past, flips)


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
    chosen = choose(cells, 1e9)
    urgent = [bool(one.flips or (one.past and not one.past.verdict.expected)) for one in chosen]
    assert urgent == sorted(urgent, reverse=True)


@given(candidates)
def test_every_issue_has_a_turn_before_one_has_two(cells):
    calm = [one for one in cells if not one.flips and (one.past is None or one.past.verdict.expected)]
    chosen = choose(calm, 1e9)
    first = {one.key.issue for one in chosen[: len({one.key.issue for one in calm})]}
    assert first == {one.key.issue for one in calm}


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
    times = {key(): 3.0, key(build=INCUS_702): 5.0, key(build=INCUS_751): 20.0}
    assert estimate(key(), times) == 3.0
    assert estimate(key(build=BUILDS[3]), times) == 5.0
    assert estimate(key(scenario="suites/a.py::test_b"), times) == UNKNOWN
