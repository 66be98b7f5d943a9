"""Sources: what each decides about its builds."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from clusterproof.lab.builds import catalogue
from clusterproof.lab.builds.build import CatalogueBuild, Source
from clusterproof.lab.builds.sources import (
    AptChannel,
    Existing,
    SideloadedDaemon,
    SideloadedPackages,
    SideloadedTree,
    SnapChannel,
    SnapFile,
)
from clusterproof.lab.core.errors import LabError

KNOWN = catalogue.load()
BASE = KNOWN.get("incus@6.0.4")
DIGEST = "0123456789abcdef" * 4
PLACED = {"usr/libexec/incus/incusd": Path("incusd")}
SNAP = SnapChannel(kind="snap", image="ubuntu-24-04", snap="lxd", channel="5.21/edge")
APT = AptChannel(kind="apt", image="debian-trixie", channel="debian/x", suite="x")
SOURCES: dict[str, Source] = {
    "suite": BASE.source,
    "snap": SNAP,
    "apt": APT,
    "file": SnapFile("ubuntu-24-04", "lxd", Path("lxd.snap"), DIGEST),
    "daemon": SideloadedDaemon(BASE, Path("incusd"), DIGEST),
    "packages": SideloadedPackages(BASE, Path("debs"), DIGEST),
    "tree": SideloadedTree(BASE, Path("no-such-tree"), DIGEST),
    "existing": Existing("staging", 400),
}


def build(source: Source, version: str = "6.0.4") -> CatalogueBuild:
    return CatalogueBuild(BASE.facts, version, "6.0", source)


class Filler:
    """Fills nothing: it notes what it is asked for, and answers a version."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def install(self, build, files=()):
        self.asked.append(("install", build.name, [*files]))
        return "6.0.4-2"

    def lay_over(self, base, files):
        self.asked.append(("lay over", base.name, files))
        return "7.0.2"

    def first_boot(self):
        self.asked.append("first boot")
        return "5.21.3+snap.7"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("suite", "debian trixie"),
        ("snap", "snap 5.21/edge"),
        ("apt", "apt debian x on debian-trixie"),
        ("file", "snap file on ubuntu-24-04"),
        ("daemon", "sideloaded daemon in incus@6.0.4"),
        ("packages", "sideloaded packages in incus@6.0.4"),
        ("tree", "sideloaded tree in incus@6.0.4"),
        ("existing", "existing cluster staging"),
    ],
)
def test_a_source_has_a_label(name, label):
    assert build(SOURCES[name]).installed("6.0.4").source == label


def test_only_channels_have_to_be_asked_for():
    assert [name for name, source in SOURCES.items() if not build(source).default] == ["snap", "apt"]


def test_only_channels_are_called_otherwise_than_their_version():
    names = {name: build(source).name for name, source in SOURCES.items()}
    assert {name for name, called in names.items() if called != "incus@6.0.4"} == {"snap", "apt"}
    assert (names["snap"], names["apt"]) == ("incus@5.21/edge", "incus@debian/x")


def test_what_the_catalogue_does_not_state_has_the_track_of_what_was_installed():
    tracks = {name: build(source).installed("7.0.2").track for name, source in SOURCES.items()}
    assert {name for name, track in tracks.items() if track == "7.0"} == {*SOURCES} - {"suite"}
    assert tracks["suite"] == "6.0"


@pytest.mark.parametrize(
    ("name", "version", "asked"),
    [
        ("suite", "6.0.4-2", ("install", "incus@6.0.4", [])),
        ("snap", "5.21.3+snap.7", "first boot"),
        ("apt", "5.21.3+snap.7", "first boot"),
        ("file", "5.21.3+snap.7", "first boot"),
        ("daemon", "7.0.2+sideload.0123456789ab", ("lay over", "incus@6.0.4", PLACED)),
        ("tree", "7.0.2+sideload.0123456789ab", ("lay over", "incus@6.0.4", {})),
        ("packages", "6.0.4-2+sideload.0123456789ab", ("install", "incus@6.0.4", [])),
    ],
)
def test_a_root_file_system_is_filled_in_its_way(name, version, asked):
    filler = Filler()
    assert build(SOURCES[name]).fill(filler) == version
    assert filler.asked == [asked]


def test_packages_are_given_in_the_order_of_their_names(tmp_path):
    for name in ("b.deb", "a.deb", "b.changes"):
        (tmp_path / name).touch()
    filler = Filler()
    build(SideloadedPackages(BASE, tmp_path, DIGEST)).fill(filler)
    assert filler.asked == [("install", "incus@6.0.4", [tmp_path / "a.deb", tmp_path / "b.deb"])]


def test_an_existing_cluster_gets_no_image():
    with pytest.raises(LabError, match=r"incus@6\.0\.4 is what cluster staging runs"):
        build(SOURCES["existing"]).fill(Filler())


def test_an_existing_cluster_has_as_many_extensions_as_it_reports():
    assert build(SOURCES["existing"]).installed("6.0.4").api_extensions == 400
    assert build(SOURCES["suite"]).installed("6.0.4").api_extensions is None
    assert build(SOURCES["suite"]).installed("6.0.4", 0).api_extensions == 0


def test_a_channel_is_resolved_once_and_nothing_else_is():
    asked = []

    def find(*snap: str) -> int:
        asked.append(snap)
        return 33110

    for name, source in SOURCES.items():
        resolved = build(source).resolved(find)
        if name == "snap":
            assert resolved.source.snap_revision == ("lxd", 33110)
            assert resolved.resolved(find) == resolved
            assert resolved.identity("5.21.3") == "5.21.3+snap.33110"
        else:
            assert resolved == build(source)
    assert asked == [("lxd", "5.21/edge")]


def test_channels_of_a_track_are_ordered_by_risk():
    risks = [SNAP.of(f"6/{risk}").risk for risk in ("stable", "candidate", "beta", "edge")]
    assert risks == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"uri": "https://x.example.org"}, "needs key and fingerprint"),
        ({"key": "https://x.example.org/key"}, "give key and fingerprint together"),
        ({"uri": "x.example.org"}, "uri"),
        ({"suite": "two words"}, "suite"),
    ],
)
def test_an_apt_source_that_cannot_be(given, says):
    with pytest.raises(ValidationError, match=says):
        AptChannel(kind="apt", image="debian-trixie", **given)
