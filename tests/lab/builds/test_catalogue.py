"""The catalogue: order, selection, and errors that name file, key and value."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.builds import parse_version
from clusterproof.lab.builds import catalogue
from clusterproof.lab.core.errors import UsageError

NAMES = [
    "incus@6.0.4",
    "incus@7.0.2",
    "incus@7.5.1",
    "lxd@5.0.2",
    "lxd@5.0.2+git20231211",
]


KNOWN = catalogue.load()
CHANNELS = [build for build in KNOWN.builds if build.source.first_boot]


@pytest.fixture(scope="module")
def loaded() -> catalogue.Catalogue:
    return catalogue.load()


def write(folder: Path, old: str = "", new: str = "", name: str = "incus.toml") -> Path:
    text = (catalogue.PRODUCTS / "incus.toml").read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1) if old else text)
    return folder


def test_builds_stand_by_product_and_then_in_debian_order(loaded):
    assert [build.name for build in loaded.select()] == NAMES
    keys = [(build.product, parse_version(build.version)) for build in loaded.builds]
    assert keys == sorted(keys)


def test_nothing_asked_for_means_all(loaded):
    assert loaded.select([]) == [build for build in loaded.builds if build.default]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (["incus@7.0.2"], ["incus@7.0.2"]),
        (["lxd"], ["lxd@5.0.2", "lxd@5.0.2+git20231211"]),
        (["lxd@5.0.2", "incus@6.0.4"], ["incus@6.0.4", "lxd@5.0.2"]),
        (["incus", "incus@7.0.2"], ["incus@6.0.4", "incus@7.0.2", "incus@7.5.1"]),
    ],
)
def test_selection_keeps_the_order_and_has_each_once(loaded, wanted, names):
    assert [build.name for build in loaded.select(wanted)] == names


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("incus@9.9", "(nearest: incus@7.5.1)"),
        ("incus@7.0.9", "(nearest: incus@7.0.2)"),
        ("incus@5", "(nearest: incus@6.0.4)"),
        ("incus@", "(nearest: incus@7.5.1)"),
        ("inkus", "(nearest: incus)"),
        ("lxc@5.0.2", "(nearest: lxd@5.0.2)"),
        ("zzzzzzzz", "is not in lab/products; list"),
        ("", "is not in lab/products; list"),
    ],
)
def test_an_unknown_build_is_named_with_the_way_out(loaded, wanted, hint):
    with pytest.raises(UsageError) as caught:
        loaded.select([wanted])
    text = str(caught.value)
    assert text.startswith(f'build "{wanted}" is not in lab/products')
    assert hint in text
    assert text.endswith("list them with clusterproof builds")


@given(st.text())
def test_whatever_is_asked_for_the_answer_is_a_build_or_a_usage_error(name):
    with suppress(UsageError):
        assert catalogue.load().select([name])


def test_pairs_are_neighbours_of_one_product(loaded):
    chosen = catalogue.Catalogue(loaded.products, tuple(loaded.select()))
    assert [(old.name, new.name) for old, new in chosen.pairs()] == [
        ("incus@6.0.4", "incus@7.0.2"),
        ("incus@7.0.2", "incus@7.5.1"),
        ("lxd@5.0.2", "lxd@5.0.2+git20231211"),
    ]


def test_an_installed_build_carries_the_whole_package_version(loaded):
    build = loaded.get("incus@7.0.2").installed("7.0.2-3~bpo13+1", 562, 77)
    assert build.name == "incus@7.0.2"
    assert build.version == "7.0.2-3~bpo13+1"
    assert (build.track, build.source) == ("7.0", "debian trixie-backports")
    assert (build.api_extensions, build.schema_version) == (562, 77)


def test_paths_of_a_product_belong_together(loaded):
    for facts in loaded.products:
        assert facts.socket.startswith(facts.state_dir)
        assert facts.patch_file.startswith(facts.state_dir)
        assert facts.bump_variable.startswith(facts.name.upper())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('client = "incus"', 'klient = "incus"', "klient = 'incus': no such key"),
        ('client = "incus"\n', "", "client: is missing"),
        (
            'track = "7.0"',
            'track = "7"',
            'build 7.0.2 has track "7", which is none of 6.0, 7.0, feature',
        ),
        ('version = "7.0.2"', 'version = "new"', "builds[2].version = 'new'"),
        ('version = "7.0.2"', 'version = "6.0.4"', 'build "6.0.4" stands there twice'),
        ('suite = "trixie"', 'suite = "Trixie!"', "builds[1].source.suite = 'Trixie!'"),
        ('kind = "debian"', 'kind = "snap"', "builds[1].source.kind = 'snap'"),
        ('release = "n=rc-buggy"', 'release = "rc-buggy"', "builds[3].source.pin.release = 'rc-buggy'"),
        ('name = "incus"', 'name = "ganeti"', "name = 'ganeti'"),
        ('name = "incus"', "name = ", "is not TOML"),
    ],
)
def test_a_faulty_file_is_named_with_key_and_value(tmp_path, old, new, said):
    with pytest.raises(UsageError) as caught:
        catalogue.load(write(tmp_path, old, new))
    assert said in str(caught.value)
    assert "incus.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_for_one_product(tmp_path):
    write(tmp_path)
    with pytest.raises(UsageError, match="taken by another file"):
        catalogue.load(write(tmp_path, name="other.toml"))


def test_no_products_at_all(tmp_path):
    with pytest.raises(UsageError, match="no product in"):
        catalogue.load(tmp_path)


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "incus.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"incus\.toml cannot be read"):
        catalogue.load(tmp_path)


class TestChannels:
    def test_has_every_channel_of_lxd(self):
        names = {build.name for build in CHANNELS if build.product == "lxd"}
        assert names == {
            f"lxd@{track}/{risk}"
            for track in ("4.0", "5.0", "5.21", "6", "latest")
            for risk in ("stable", "candidate", "beta", "edge")
        } | {"lxd@rehearsal/5.0.2", "lxd@rehearsal/5.0.2+git20231211"}

    def test_has_zabblys_packages(self):
        names = {build.name for build in CHANNELS if "zabbly" in build.name}
        assert names == {f"incus@zabbly/{name}" for name in ("stable", "lts-6.0", "lts-7.0", "daily")}

    def test_asks_for_channels_by_name_only(self):
        for chosen in (KNOWN.select(), KNOWN.select(["lxd"])):
            assert not [build for build in chosen if build in CHANNELS]
        assert [b.name for b in KNOWN.select(["lxd@6/edge"])] == ["lxd@6/edge"]

    def test_goes_from_a_safer_channel_to_a_riskier_one_and_between_tracks_by_the_safest(self):
        risks = ("stable", "candidate", "edge")
        names = [f"lxd@{track}/{risk}" for track in ("5.21", "6") for risk in risks]
        zabbly = ["incus@zabbly/daily", "incus@zabbly/lts-7.0", "incus@zabbly/stable", "incus@zabbly/lts-6.0"]
        chosen = catalogue.Catalogue(KNOWN.products, tuple(KNOWN.select([*names, *zabbly])))
        assert [(old.asked, new.asked) for old, new in chosen.pairs()] == [
            ("zabbly/lts-6.0", "zabbly/lts-7.0"),
            ("zabbly/lts-7.0", "zabbly/stable"),
            ("zabbly/stable", "zabbly/daily"),
            ("5.21/stable", "5.21/candidate"),
            ("5.21/candidate", "5.21/edge"),
            ("5.21/stable", "6/stable"),
            ("6/stable", "6/candidate"),
            ("6/candidate", "6/edge"),
        ]

    def test_says_which_channel_is_nearest(self):
        with pytest.raises(UsageError, match=r"nearest: lxd@5\.21/stable"):
            KNOWN.select(["lxd@5.21/stabel"])

    def test_changes_no_build_into_one_that_is_packaged_otherwise(self):
        names = ["lxd", "lxd@5.0/stable", "lxd@5.21/stable"]
        chosen = catalogue.Catalogue(KNOWN.products, tuple(KNOWN.select(names)))
        assert [(old.name, new.name) for old, new in chosen.pairs()] == [
            ("lxd@5.0.2", "lxd@5.0.2+git20231211"),
            ("lxd@5.0/stable", "lxd@5.21/stable"),
        ]

    def test_knows_where_a_snap_has_its_things(self):
        facts = KNOWN.get("lxd@5.21/stable").facts
        assert facts.state_dir == "/var/snap/lxd/common/lxd"
        assert facts.units.service == "snap.lxd.daemon.service"
        assert KNOWN.get("lxd@5.0.2").facts.state_dir == "/var/lib/lxd"
