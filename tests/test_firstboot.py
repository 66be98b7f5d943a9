"""Builds that cloud-init installs: their names, their user-data, and what becomes of a first boot."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from lab import catalogue, firstboot, rootfs
from lab.catalogue import ChannelBuild
from lab.errors import LabError, UsageError
from lab.machine import Result
from lab.mirror import Mirror

KNOWN = catalogue.load()
CHANNELS = [build for build in KNOWN.builds if isinstance(build, ChannelBuild)]
MIRROR = Mirror("https://deb.example.org/debian")
HERE = "incus@debian/trixie-backports"


def channel(name: str) -> ChannelBuild:
    found = KNOWN.get(name)
    assert isinstance(found, ChannelBuild)
    return found.resolved(33110) if found.source.snap else found


class TestCatalogue:
    def test_has_every_channel_of_lxd(self):
        names = {build.name for build in CHANNELS if build.product == "lxd"}
        assert names == {
            f"lxd@{track}/{risk}"
            for track in ("4.0", "5.0", "5.21", "6", "latest")
            for risk in ("stable", "candidate", "beta", "edge")
        }

    def test_has_zabblys_packages(self):
        names = {build.name for build in CHANNELS if "zabbly" in build.name}
        assert names == {f"incus@zabbly/{name}" for name in ("stable", "lts-6.0", "lts-7.0", "daily")}

    def test_asks_for_channels_by_name_only(self):
        for chosen in (KNOWN.select(), KNOWN.select(["lxd"])):
            assert not [build for build in chosen if build in CHANNELS]
        assert [b.name for b in KNOWN.select(["lxd@6/edge"])] == ["lxd@6/edge"]

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
        facts = channel("lxd@5.21/stable").facts
        assert facts.state_dir == "/var/snap/lxd/common/lxd"
        assert facts.units.service == "snap.lxd.daemon.service"
        assert KNOWN.get("lxd@5.0.2").facts.state_dir == "/var/lib/lxd"

    @pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
    def test_names_images_that_there_are(self, build):
        assert firstboot.base_of(build)

    def test_an_image_that_there_is_not_is_named(self):
        source = channel(HERE).source.model_copy(update={"image": "beos"})
        build = ChannelBuild(channel(HERE).facts, "7.0", "7.0", source, "debian/x")
        with pytest.raises(UsageError, match='image "beos" is none of ubuntu-24-04'):
            firstboot.base_of(build)


class TestUserData:
    @pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
    def test_is_cloud_config_that_installs_members_packages_too(self, build):
        text = firstboot.user_data(channel(build.name), MIRROR)
        assert text.startswith("#cloud-config\n")
        data = yaml.safe_load(text)
        assert set(rootfs.member_packages()) <= set(data["packages"])
        assert data["runcmd"] == [["/run/clusterproof-install"]]

    @pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
    def test_has_scripts_that_the_shell_can_read(self, build, tmp_path):
        for file in yaml.safe_load(firstboot.user_data(channel(build.name), MIRROR))["write_files"]:
            script = tmp_path / "script"
            script.write_text(file["content"])
            done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert file["content"].startswith("#!/bin/sh\n")

    @pytest.mark.skipif(shutil.which("cloud-init") is None, reason="cloud-init is not installed")
    @pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
    def test_is_of_cloud_inits_schema(self, build, tmp_path):
        file = tmp_path / "user-data"
        file.write_text(firstboot.user_data(channel(build.name), MIRROR))
        argv = ["cloud-init", "schema", "--config-file", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_installs_one_revision_of_a_snap_and_holds_it(self):
        text = firstboot.user_data(channel("lxd@5.21/candidate"), MIRROR)
        assert "snap install lxd --channel=5.21/candidate --revision=33110" in text
        assert "snap refresh --hold lxd" in text

    def test_takes_a_key_for_its_fingerprint_alone(self):
        text = firstboot.user_data(channel("incus@zabbly/stable"), MIRROR)
        assert "!= 4EFC590696CB15B87C73A3AD82CC8797C838DCFD ]" in text
        assert "URIs: https://pkgs.zabbly.com/incus/stable" in text
        assert "deb.example.org" not in text

    def test_of_debian_is_from_this_machines_own_archive(self):
        text = firstboot.user_data(channel(HERE), MIRROR)
        assert "URIs: https://deb.example.org/debian" in text
        assert "Suites: trixie-backports" in text
        assert "Pin: release %s" in text
        with pytest.raises(LabError, match="give one with --mirror"):
            firstboot.user_data(channel(HERE), Mirror())


def test_an_image_made_here_takes_user_data_as_those_of_a_remote(tmp_path):
    metadata = tmp_path / "metadata.tar"
    with tarfile.open(metadata, "w") as tar:
        text = b"architecture: x86_64\ntemplates:\n  /etc/hosts:\n    when: [create]\n    template: hosts.tpl\n"
        firstboot._add(tar, "metadata.yaml", text)
        firstboot._add(tar, "templates/hosts.tpl", b"hosts")
    with tarfile.open(fileobj=io.BytesIO(firstboot.seeded(metadata))) as tar:
        names = tar.getnames()
        opened = tar.extractfile("metadata.yaml")
        assert opened
        found = yaml.safe_load(opened.read())["templates"]
    assert "templates/user-data.tpl" in names
    assert found["/var/lib/cloud/seed/nocloud-net/user-data"]["template"] == "user-data.tpl"
    assert "/etc/hosts" in found


class Machine:
    """A machine whose commands answer what the test says."""

    name = "cp-bake"

    def __init__(self, **answers: Result) -> None:
        self.answers = answers

    def execute(self, argv: list[str], *, timeout: float) -> Result:  # noqa: ARG002
        line = " ".join(argv)
        return next((result for words, result in self.answers.items() if words in line), Result(0, "", ""))


class TestFirstBoot:
    @pytest.mark.parametrize("rc", [0, 2])
    def test_has_succeeded_when_cloud_init_says_so(self, rc):
        firstboot._wait(channel(HERE), Machine(status=Result(rc, "status: done\n", "")))

    @pytest.mark.parametrize(
        ("rc", "status"), [(1, "status: error"), (0, "status: disabled"), (2, "status: error")]
    )
    def test_has_failed_with_cloud_inits_words(self, rc, status):
        machine = Machine(status=Result(rc, status, ""), tail=Result(0, "E: no such package\n", ""))
        with pytest.raises(LabError, match=r"by cloud-init: status: \w+ \| E: no such package"):
            firstboot._wait(channel(HERE), machine)

    def test_of_packages_has_their_version(self):
        machine = Machine(**{"dpkg-query": Result(0, "7.0.2-3~bpo13+1", "")})
        assert firstboot._version(channel(HERE), machine) == "7.0.2-3~bpo13+1"

    LISTED = (
        "Name  Version     Rev    Tracking     Publisher    Notes\n"
        "lxd   5.21.3-abc  33110  5.21/stable  canonical**  held\n"
    )

    def test_of_a_snap_has_its_revision_as_identity(self):
        machine = Machine(
            **{"--version": Result(0, "5.21.3 LTS\n", ""), "snap list": Result(0, self.LISTED, "")}
        )
        build = channel("lxd@5.21/stable")
        assert firstboot._version(build, machine) == "5.21.3+snap.33110"
        assert build.installed("5.21.3+snap.33110").track == "5.21"

    def test_with_another_revision_is_refused(self):
        listed = Result(0, self.LISTED.replace("33110", "7"), "")
        machine = Machine(**{"--version": Result(0, "5.21.3", ""), "snap list": listed})
        with pytest.raises(LabError, match="revision 7 was installed, not 33110"):
            firstboot._version(channel("lxd@5.21/stable"), machine)


class TestRecipe:
    def test_changes_with_the_revision_and_the_user_data(self, monkeypatch, tmp_path):
        build = channel("lxd@5.21/stable")
        digest = rootfs.digest(build)
        assert rootfs.digest(build.resolved(33111)) != digest
        copy = Path(shutil.copytree(rootfs.CLOUD_INIT, tmp_path / "cloud-init"))
        monkeypatch.setattr(rootfs, "CLOUD_INIT", copy)
        assert rootfs.digest(build) == digest
        (copy / "install-snap.yaml").write_text("changed")
        assert rootfs.digest(build) != digest

    def test_of_other_builds_does_not(self, monkeypatch, tmp_path):
        builds = [*KNOWN.select()]
        digests = [rootfs.digest(build) for build in builds]
        monkeypatch.setattr(rootfs, "CLOUD_INIT", tmp_path)
        assert [rootfs.digest(build) for build in builds] == digests


def test_without_a_lab_host_there_is_no_first_boot(tmp_path, monkeypatch):
    monkeypatch.setattr(rootfs._Job, "check", lambda _: None)
    with pytest.raises(LabError, match=f"python -m lab bake {HERE} does it"):
        rootfs.make(channel(HERE), tmp_path, lambda _: None)
    assert not list(tmp_path.glob("*.partial"))
