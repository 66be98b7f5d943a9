import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.builds import (
    Bound,
    Build,
    Expectation,
    Range,
    is_before,
    parse_version,
    range_for,
    upstream,
)

numbers = st.integers(min_value=0, max_value=40)
upstreams = st.builds(
    lambda parts, suffix: ".".join(map(str, parts)) + suffix,
    st.lists(numbers, min_size=1, max_size=3),
    st.sampled_from(["", "~rc1", "+git20231211", "a"]),
)
revisions = st.sampled_from(["", "-1", "-3~bpo13+1", "-5+deb12u6", "-1~exp2"])
versions = st.builds(lambda version, revision: version + revision, upstreams, revisions)


def test_debian_order_of_the_lab_s_builds():
    ordered = ["5.0.2-5+deb12u6", "5.0.2+git20231211.1364ae4-9+deb13u7", "5.0.3-1", "5.21.4", "6.1"]
    assert sorted(set(ordered), key=parse_version) == ordered
    assert parse_version("7.0.2-3~bpo13+1") < parse_version("7.0.2-3")


@pytest.mark.parametrize(
    "text", ["", "v5.0", "latest", "5.0 2", "5.0/stable", "5.0_1", "5.0.2\n", "\u0665.0", "1:"]
)
def test_a_version_that_cannot_be_ordered_is_named(text):
    with pytest.raises(ValueError, match=r"write it like 5\.21\.4") as caught:
        parse_version(text)
    assert f'"{text.strip()}"' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bound_without_revision_is_about_upstream():
    assert not is_before("7.0.2-3~bpo13+1", "7.0.2")
    assert is_before("7.0.2-3~bpo13+1", "7.0.2-3")
    assert is_before("5.0.2+git20231211.1364ae4-9+deb13u7", "5.0.3")
    assert upstream("1:5.0.2-5+deb12u6") == "5.0.2"


@given(versions, upstreams, st.sampled_from(["+snap.33110", "+sideload.3f5e26d20160", "+rehearsal"]))
def test_what_identifies_a_build_is_no_part_of_its_version(version, other, identity):
    """Otherwise 5.0.2+snap.24322 would be after 5.0.2+git20231211, with all that was fixed there."""
    assert is_before(f"{version}{identity}", other) is is_before(version, other)


@given(versions)
def test_no_version_is_before_itself(version):
    assert not is_before(version, version)
    assert not is_before(version, upstream(version))


@given(versions, upstreams, upstreams)
def test_a_later_bound_never_excludes_what_an_earlier_one_included(version, one, other):
    earlier, later = sorted((one, other), key=parse_version)
    assert not is_before(version, earlier) or is_before(version, later)


def bound(version):
    return Bound(version=version, proof="code")


@given(st.lists(versions, min_size=1, max_size=12), upstreams, upstreams)
def test_expectations_cross_each_bound_once_and_in_order(several, one, other):
    introduced, fixed = sorted((one, other), key=parse_version)
    if not is_before(introduced, fixed):
        return
    entry = Range(product="lxd", track="5.0", introduced=bound(introduced), fixed=bound(fixed))
    # Bounds speak of upstream's version, so that one decides between versions here too.
    several.sort(key=lambda version: parse_version(upstream(version)))
    order = [Expectation.NOT_AFFECTED, Expectation.AFFECTED, Expectation.FIXED]
    seen = [order.index(entry.expects(version)) for version in several]
    assert seen == sorted(seen)
    assert entry.expects(introduced) is Expectation.AFFECTED
    assert entry.expects(fixed) is Expectation.FIXED


@pytest.mark.parametrize(
    ("version", "fixed", "expected"),
    [
        # Of a commit after 6.9 nobody knows whether it has what 6.10 brings, and all know what it has of 6.9.
        ("6.9+after.3c5fda7+snap.33110", "6.10", Expectation.UNKNOWN),
        ("6.9+after.3c5fda7+snap.33110", "6.9", Expectation.FIXED),
        ("6.9+after.3c5fda7+snap.33110", "6.11", Expectation.AFFECTED),
        ("6.9+snap.33110", "6.10", Expectation.AFFECTED),
        ("5.21.7+after.3c5fda7", "5.21.8", Expectation.UNKNOWN),
        # A snapshot of Debian's, whose bounds are known.
        ("5.0.2+git20231211.1364ae4-9", "5.0.3", Expectation.AFFECTED),
    ],
)
def test_a_commit_between_two_releases_may_have_what_the_next_one_brings(version, fixed, expected):
    entry = Range(product="lxd", track="6", fixed=bound(fixed))
    assert entry.expects(version) is expected
    undecided = entry.undecided(version)
    assert (undecided.version if undecided else None) == (fixed if expected is Expectation.UNKNOWN else None)


@given(versions)
def test_open_ranges(version):
    whole = Range(product="lxd", track="5.0", proof="run")
    free = Range(product="lxd", track="5.0", affected=False, proof="code")
    since = Range(product="lxd", track="5.0", introduced=bound(upstream(version)))
    until = Range(product="lxd", track="5.0", fixed=bound(upstream(version)))
    assert whole.expects(version) is Expectation.AFFECTED
    assert free.expects(version) is Expectation.NOT_AFFECTED
    assert since.expects(version) is Expectation.AFFECTED
    assert until.expects(version) is Expectation.FIXED


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "without introduced and fixed the whole track is affected"),
        ({"affected": False}, "affected = false needs proof"),
        ({"affected": False, "proof": "run", "fixed": bound("5.1")}, "leaves no room"),
        ({"introduced": bound("5.1"), "fixed": bound("5.1")}, "introduced 5.1 is not before fixed 5.1"),
        (
            {"introduced": bound("5.10"), "fixed": bound("5.9")},
            "introduced 5.10 is not before fixed 5.9",
        ),
        (
            {"introduced": {"version": "new", "proof": "run"}},
            'version "new" does not begin with a digit',
        ),
        ({"since": "5.1"}, "Extra inputs"),
    ],
)
def test_impossible_ranges_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Range(product="lxd", track="5.0", **values)


def test_builds_are_ordered_by_product_then_version():
    def build(name, version):
        product = name.partition("@")[0]
        return Build(name=name, product=product, version=version, track="x", source="debian")

    builds = [build("lxd@5.10", "5.10"), build("lxd@5.9", "5.9"), build("incus@6.0", "6.0.4-2")]
    assert [one.name for one in sorted(builds, key=lambda one: one.order)] == [
        "incus@6.0",
        "lxd@5.9",
        "lxd@5.10",
    ]


def test_a_build_keeps_its_schema_under_the_name_of_the_result_file():
    build = Build.model_validate(
        {
            "name": "lxd@5",
            "product": "lxd",
            "version": "5.0",
            "track": "5.0",
            "source": "debian",
            "schema": 60,
        }
    )
    assert build.schema_version == 60
    assert build.model_dump(by_alias=True)["schema"] == 60


def test_a_range_of_a_scenario_goes_before_one_that_names_none():
    fixed = Bound(version="7.0.2", proof="run")
    of_track = Range(product="incus", track="7.0", fixed=fixed)
    of_product = Range(product="incus", affected=False, proof="code")
    of_test = Range(product="incus", track="7.0", scenario="test_other_member", proof="run")
    ranges = [of_product, of_track, of_test]
    build = Build(name="incus@7.0.2", product="incus", version="7.0.2-3", track="7.0", source="debian")
    other = build.model_copy(update={"track": "6.0"})
    node = "suites/config/test_x.py::test_other_member"
    assert range_for(ranges, build, f"{node}[incus@7.0.2]") is of_test
    assert range_for(ranges, build, node) is range_for(ranges, build, "test_other_member") is of_test
    assert range_for(ranges, build, "suites/config/test_x.py::test_asked") is of_track
    assert range_for(ranges, build) is of_track
    assert range_for(ranges, other, node) is of_product
