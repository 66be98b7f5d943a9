import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.reports.history.flakes import Flakes, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilson_s(hits, trials, low, high):
    assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_lies_between_0_and_1(pair):
    hits, trials = pair
    low, high = wilson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    mirrored = wilson(trials - hits, trials)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


@pytest.mark.parametrize(("hits", "trials"), [(2, 1), (-1, 3), (0, -1)])
def test_what_is_no_share_is_refused(hits, trials):
    with pytest.raises(ValueError, match="no share"):
        wilson(hits, trials)


@pytest.mark.parametrize(
    ("flakes", "words"),
    [
        (Flakes(), ""),
        (Flakes(0, 10), "none of 10 repeats differed: 0-28 %"),
        (Flakes(1, 12), "1 of 12 repeats differed: 1.5-35 %"),
        (Flakes(0, 900), "none of 900 repeats differed: 0-0.43 %"),
        (Flakes(0, 4) + Flakes(2, 176), "2 of 180 repeats differed: 0.31-4 %"),
    ],
)
def test_flakes_are_told_with_their_interval(flakes, words):
    assert str(flakes) == words


def test_flakes_differ_from_what_most_of_their_like_showed():
    assert Flakes.of([]) == Flakes(0, 0)
    assert Flakes().interval == (0.0, 1.0)
    assert Flakes.of([{"symptom": 1}, {"conforms": 3}]) == Flakes(0, 3)
    assert Flakes.of([{"symptom": 2, "conforms": 7, "other-failure": 1}, {"symptom": 4}]) == Flakes(3, 14)
