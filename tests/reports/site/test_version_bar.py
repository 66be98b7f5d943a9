"""Version bars: segments follow the bounds, and every judged build is in exactly one of them."""

from hypothesis import given
from hypothesis import strategies as st

from clusterproof.builds import Bound, Expectation, Range
from clusterproof.reports.matrix.bounds import JudgedBuild, RangeEvidence
from clusterproof.reports.site.rendering import versions
from clusterproof.reports.site.version_bar import version_bar
from tests.samples import build

RELEASES = [f"6.0.{number}" for number in range(8)]


def evidence(introduced, fixed, judged=(), proof=None):
    def bound(version):
        return Bound(version=version, proof="code") if version else None

    entry = Range(
        product="incus", track="6.0", introduced=bound(introduced), fixed=bound(fixed), proof=proof
    )
    return RangeEvidence(entry, None, None, tuple(judged))


def seen(version, symptom=None, conforms=None):
    return JudgedBuild(build(f"incus@{version}", f"{version}-1", "6.0"), symptom, conforms)


@given(
    st.sampled_from([None, *RELEASES[:4]]),
    st.sampled_from([None, *RELEASES[4:]]),
    st.lists(st.sampled_from(RELEASES), unique=True),
)
def test_each_build_is_in_the_segment_that_the_range_means(introduced, fixed, judged):
    proof = None if introduced or fixed else "code"
    given_evidence = evidence(introduced, fixed, map(seen, sorted(judged)), proof)
    bar = version_bar(given_evidence)
    assert len(bar) == 1 + bool(introduced) + bool(fixed)
    placed = [(one.build.version, segment.affected) for segment in bar for one in segment.builds]
    expected = [
        (f"{one}-1", given_evidence.range.expects(f"{one}-1") is Expectation.AFFECTED)
        for one in sorted(judged)
    ]
    assert placed == expected


def test_only_what_a_run_saw_is_solid():
    bar = version_bar(
        evidence(None, "6.0.4", [seen("6.0.1", conforms="x"), seen("6.0.5", conforms="x")])
    )
    assert [(one.affected, one.run) for one in bar] == [(True, False), (False, True)]
    assert [one.run for one in version_bar(evidence(None, None, proof="run"))] == [True]
    assert [one.run for one in version_bar(evidence(None, None, proof="code"))] == [False]


def test_words_for_segments():
    assert [versions(*one) for one in ((None, None), ("1", None), (None, "2"), ("1", "2"))] == [
        "every version",
        "1 and later",
        "before 2",
        "1 up to before 2",
    ]
