"""Which runs show which bound of a range."""

import pytest

from clusterproof.builds import Bound, Range
from clusterproof.reports.history.history import History
from clusterproof.reports.matrix.bounds import range_evidence
from clusterproof.reports.results.verdicts import Observation
from tests.samples import build, cell, record

VERSIONS = ("6.0", "6.0.1", "6.0.2", "6.0.3")
BUILDS = {f"incus@{one}": build(f"incus@{one}", one, "6.0") for one in VERSIONS}
AFFECTED = {"issue": "x", "expectation": "affected"}


@pytest.fixture
def seen(tmp_path):
    """Return what a history of these observations, by version, shows of a range."""

    def shown(range_, observations, **changes):
        cells = [
            cell(**AFFECTED | {"build": BUILDS[f"incus@{version}"], "observation": one} | changes)
            for version, one in observations.items()
        ]
        record(tmp_path / "h", cells)
        with History(tmp_path / "h") as history:
            (track,) = range_evidence([range_], history.sightings("x"), BUILDS)
        return track

    return shown


SYMPTOM, CONFORMS = Observation.SYMPTOM, Observation.CONFORMS


def bounded(**bounds):
    return Range(
        product="incus",
        track="6.0",
        **{end: Bound(version=at, proof="run") for end, at in bounds.items()},
    )


def versions(shown):
    return tuple(one and one.build.version for one in (shown.before, shown.after))


def test_the_nearest_runs_on_both_sides_show_a_bound(seen):
    observed = {"6.0": SYMPTOM, "6.0.1": SYMPTOM, "6.0.2": CONFORMS, "6.0.3": CONFORMS}
    track = seen(bounded(fixed="6.0.2"), observed)
    assert versions(track.fixed) == ("6.0.1", "6.0.2")
    assert track.introduced is None
    assert [one.build.version for one in track.builds] == [*VERSIONS]


def test_an_introduction_is_shown_the_other_way_round(seen):
    observed = {"6.0": CONFORMS, "6.0.1": CONFORMS, "6.0.2": SYMPTOM, "6.0.3": SYMPTOM}
    track = seen(bounded(introduced="6.0.2"), observed)
    assert versions(track.introduced) == ("6.0.1", "6.0.2")


def test_what_no_run_saw_is_not_shown(seen):
    assert versions(seen(bounded(fixed="6.0.2"), {"6.0.3": CONFORMS}).fixed) == (None, "6.0.3")


def test_what_contradicts_a_bound_does_not_show_it(seen):
    track = seen(bounded(fixed="6.0.2"), {"6.0.1": CONFORMS, "6.0.2": SYMPTOM})
    assert versions(track.fixed) == (None, None)


def test_only_reproductions_show_a_bound(seen):
    track = seen(bounded(fixed="6.0.2"), {"6.0.1": SYMPTOM, "6.0.2": CONFORMS}, role="injection")
    assert versions(track.fixed) == (None, None)
    assert track.builds == ()


def test_other_tracks_and_products_show_nothing(tmp_path):
    record(tmp_path / "h", [cell(**AFFECTED, build=build("lxd@6.0", "6.0", "6.0"), observation=SYMPTOM)])
    with History(tmp_path / "h") as history:
        sightings = history.sightings("x")
    (track,) = range_evidence([bounded(fixed="6.0.2")], sightings, {"lxd@6.0": build("lxd@6.0", "6.0", "6.0")})
    assert track.builds == ()


def test_a_range_of_all_tracks_has_the_builds_whose_track_has_no_range(tmp_path):
    older, newer = BUILDS["incus@6.0"], build("incus@7.0", "7.0", "7.0")
    free = AFFECTED | {"expectation": "not-affected", "observation": CONFORMS}
    record(tmp_path / "h", [cell(**free | {"build": one}) for one in (older, newer)])
    ranges = [Range(product="incus", affected=False, proof="code"), bounded(fixed="6.0")]
    with History(tmp_path / "h") as history:
        whole, track = range_evidence(
            ranges, history.sightings("x"), {"incus@6.0": older, "incus@7.0": newer}
        )
    assert [one.build for one in whole.builds] == [newer]
    assert [one.build for one in track.builds] == [older]


def test_a_range_of_a_scenario_is_shown_by_that_scenario_alone(tmp_path):
    one, other = "suites/a/test_x.py::test_asked", "suites/a/test_x.py::test_other"
    older, newer = BUILDS["incus@6.0.1"], BUILDS["incus@6.0.2"]
    affected = AFFECTED | {"observation": SYMPTOM}
    cells = [cell(**affected | {"build": build, "scenario": other}) for build in (older, newer)]
    cells += [
        cell(**affected | {"build": older, "scenario": one}),
        cell(**AFFECTED | {"build": newer, "scenario": one, "observation": CONFORMS}),
    ]
    record(tmp_path / "h", cells)
    whole = Range(product="incus", track="6.0", scenario="test_other", proof="run")
    with History(tmp_path / "h") as history:
        asked, unfixed = range_evidence([bounded(fixed="6.0.2"), whole], history.sightings("x"), BUILDS)
    assert versions(asked.fixed) == ("6.0.1", "6.0.2")
    assert [bool(build.conforms) for build in unfixed.builds] == [False, False]
