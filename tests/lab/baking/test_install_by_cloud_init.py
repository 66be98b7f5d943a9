"""Builds that cloud-init installs: their names, their user-data, and what becomes of a first boot."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from clusterproof.lab.baking import install_by_cloud_init
from clusterproof.lab.builds import catalogue
from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.sources import AptChannel, SnapFile
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images import making, recipe, rootfs
from clusterproof.lab.images.kinds import VM
from clusterproof.lab.images.rootfs import RootfsImage
from clusterproof.lab.substrates.machine import Result
from clusterproof.lab.substrates.qemu_vm import VirtualMachine
from tests.fakes import (
    FakeMachine,
    bake_with_stand_ins,
    disks_with_stand_ins,
    image,
    out,
    stand_in,
)

KNOWN = catalogue.load()
CHANNELS = [build for build in KNOWN.builds if build.source.first_boot]
MIRROR = Mirror("https://deb.example.org/debian")
HERE = "incus@debian/trixie-backports"


def channel(name: str) -> CatalogueBuild:
    found = KNOWN.get(name)
    assert found in CHANNELS
    return found.resolved(lambda *_: 33110)


def version(build: CatalogueBuild, machine: FakeMachine) -> str:
    return build.first_boot.installed_version(
        build, lambda command: install_by_cloud_init._do(build, machine, command).stdout
    )


class TestUserData:
    @pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
    def test_is_cloud_config_that_installs_members_packages_too(self, build):
        text = install_by_cloud_init.user_data(channel(build.name), MIRROR)
        assert text.startswith("#cloud-config\n")
        data = yaml.safe_load(text)
        assert set(recipe.member_packages()) <= set(data["packages"])
        assert data["runcmd"] == [["/run/clusterproof-install"]]

    @pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
    def test_has_scripts_that_the_shell_can_read(self, build, tmp_path):
        for file in yaml.safe_load(install_by_cloud_init.user_data(channel(build.name), MIRROR))["write_files"]:
            script = tmp_path / "script"
            script.write_text(file["content"])
            done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert file["content"].startswith("#!/bin/sh\n")

    @pytest.mark.skipif(shutil.which("cloud-init") is None, reason="cloud-init is not installed")
    @pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
    def test_is_of_cloud_inits_schema(self, build, tmp_path):
        file = tmp_path / "user-data"
        file.write_text(install_by_cloud_init.user_data(channel(build.name), MIRROR))
        argv = ["cloud-init", "schema", "--config-file", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_installs_one_revision_of_a_snap_and_holds_it(self):
        text = install_by_cloud_init.user_data(channel("lxd@5.21/candidate"), MIRROR)
        # Together they fail where the revision has left the channel.
        assert "install lxd --revision=33110\n" in text
        assert "snap switch lxd --channel=5.21/candidate\n" in text
        assert text.index("snap refresh snapd") < text.index("install lxd --revision")
        assert "snap refresh --hold lxd" in text

    def test_takes_a_key_for_its_fingerprint_alone(self):
        text = install_by_cloud_init.user_data(channel("incus@zabbly/stable"), MIRROR)
        assert "!= 4EFC590696CB15B87C73A3AD82CC8797C838DCFD ]" in text
        assert "URIs: https://pkgs.zabbly.com/incus/stable" in text
        assert "deb.example.org" not in text

    @pytest.mark.parametrize(
        ("name", "agents"), [(HERE, 1), ("incus@zabbly/stable", 0), ("lxd@5.21/stable", 0)]
    )
    def test_of_virtual_machines_installs_the_agent_where_it_is_apart(self, name, agents):
        text = install_by_cloud_init.user_data(channel(name), MIRROR, kind=VM)
        assert text.count(" incus-agent") == agents
        assert "-agent" not in install_by_cloud_init.user_data(channel(name), MIRROR)

    def test_of_debian_is_from_this_machines_own_archive(self):
        text = install_by_cloud_init.user_data(channel(HERE), MIRROR)
        assert "URIs: https://deb.example.org/debian" in text
        assert "Suites: trixie-backports" in text
        assert "Pin: release %s" in text
        with pytest.raises(LabError, match="give one with --mirror"):
            install_by_cloud_init.user_data(channel(HERE), Mirror())


@pytest.mark.parametrize(
    ("name", "uri"),
    [(HERE, "https://deb.example.org/$(touch${IFS}ran)`touch${IFS}ran`"), ("incus@zabbly/stable", None)],
)
def test_the_apt_source_is_written_as_it_was_given(tmp_path, name, uri):
    build = channel(name)
    assert isinstance(build.source, AptChannel)
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/apt/preferences.d").mkdir()
    (tmp_path / "etc/apt/keyrings").mkdir()
    for tool in ("apt-get", "curl"):
        stand_in(tmp_path, tool, "exit 0")
    stand_in(tmp_path, "gpg", f"echo fpr:::::::::{build.source.fingerprint}:")
    user_data = yaml.safe_load(install_by_cloud_init.user_data(build, Mirror(uri)))
    text = user_data["write_files"][-1]["content"].replace("/etc/apt", "etc/apt")
    text = text.replace(". /etc/os-release", "VERSION_CODENAME=noble").replace("rm /usr/sbin/policy-rc.d", "")
    (tmp_path / "script").write_text(text)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", "script"], cwd=tmp_path, env={"PATH": path}, check=True, capture_output=True)
    written = (tmp_path / "etc/apt/sources.list.d/clusterproof.sources").read_text()
    fields = dict(line.split(": ", 1) for line in written.splitlines())
    assert fields["URIs"] == (uri or build.source.uri)
    assert fields["Suites"] == (build.source.suite or "noble")
    assert set(fields) == {"Types", "URIs", "Suites", "Components", "Signed-By"}
    assert not (tmp_path / "ran").exists()


def booted(**answers: Result) -> FakeMachine:
    """Return a machine whose commands answer what the test says."""
    machine = FakeMachine("cp-bake", image(), answers=list(answers.items()))
    machine.start()
    return machine


class TestFirstBoot:
    @pytest.mark.parametrize("rc", [0, 2])
    def test_has_succeeded_when_cloud_init_says_so(self, rc):
        machine = booted(status=Result(rc, "status: done\n", ""))
        install_by_cloud_init._wait(channel(HERE), machine)
        # It was waited for, and nothing else was read.
        assert machine.commands == ["cloud-init status --wait --long"]

    @pytest.mark.parametrize(
        ("rc", "status"), [(1, "status: error"), (0, "status: disabled"), (2, "status: error")]
    )
    def test_has_failed_with_cloud_inits_words(self, rc, status):
        machine = booted(status=Result(rc, status, ""), tail=Result(0, "E: no such package\n", ""))
        with pytest.raises(LabError, match="by cloud-init: E: no such package"):
            install_by_cloud_init._wait(channel(HERE), machine)

    def test_has_failed_before_anything_was_to_be_installed(self):
        machine = booted(
            status=Result(1, "....status: error\n", ""), **{"init-output": Result(0, "no network\n", "")}
        )
        with pytest.raises(LabError, match=r"by cloud-init: status: error \| no network"):
            install_by_cloud_init._wait(channel(HERE), machine)

    def test_of_packages_has_their_version(self):
        machine = booted(**{"dpkg-query": Result(0, "7.0.2-3~bpo13+1", "")})
        assert version(channel(HERE), machine) == "7.0.2-3~bpo13+1"

    LISTED = (
        "Name  Version     Rev    Tracking     Publisher    Notes\n"
        "lxd   5.21.3-abc  33110  5.21/stable  canonical**  held\n"
    )

    def test_of_a_snap_has_its_revision_as_identity(self):
        machine = booted(
            **{"--version": Result(0, "5.21.3 LTS\n", ""), "snap list": Result(0, self.LISTED, "")}
        )
        build = channel("lxd@5.21/stable")
        assert version(build, machine) == "5.21.3+snap.33110"
        assert build.installed("5.21.3+snap.33110").track == "5.21"

    def test_of_a_commit_after_a_release_says_so(self):
        listed = Result(0, self.LISTED.replace("5.21.3-abc", "git-3c5fda7"), "")
        machine = booted(**{"--version": Result(0, "5.21.3 LTS\n", ""), "snap list": listed})
        assert version(channel("lxd@5.21/edge"), machine) == "5.21.3+after.3c5fda7+snap.33110"

    def test_with_another_revision_is_refused(self):
        listed = Result(0, self.LISTED.replace("33110", "7"), "")
        machine = booted(**{"--version": Result(0, "5.21.3", ""), "snap list": listed})
        with pytest.raises(LabError, match="revision 7 was installed, not 33110"):
            version(channel("lxd@5.21/stable"), machine)


INSTALLED = [("cloud-init status", out("status: done\n")), ("dpkg-query", out("7.0.2-3"))]


class TestFilling:
    """The same is done with a container and with a virtual machine."""

    @pytest.mark.parametrize("substrate", ["container", "vm"])
    def test_boots_waits_cleans_and_fetches_what_is_stopped(self, substrate):
        machine = FakeMachine("cp-bake", image(), answers=INSTALLED, substrate=substrate)
        said: list[str] = []
        fetched = lambda: machine.done.append("fetch")  # noqa: E731
        assert install_by_cloud_init._fill(channel(HERE), machine, said.append, [], fetched) == "7.0.2-3"
        assert machine.done == ["create", "start", "stop", "fetch", "destroy"]
        assert said == ["booting", "installing by cloud-init", "fetching"]
        cleaned = machine.commands[-1]
        assert "cloud-init clean" in cleaned
        # A virtual machine learns from its seed who it is.
        assert ("cloud-init.disabled" in cleaned) == (substrate == "container")

    def test_hands_over_a_snap_in_one_step(self, tmp_path):
        path = tmp_path / "lxd.snap"
        path.write_bytes(b"hsqs")
        source = SnapFile("ubuntu-24-04", "lxd", path, "0" * 64)
        build = CatalogueBuild(channel("lxd@6/edge").facts, "6.4", "6", source)
        answers = [*INSTALLED, ("--version", out("6.4\n")), ("snap list", out("Name\nlxd 6.4 x1\n"))]
        machine = FakeMachine("cp-bake", image(), answers=answers)
        install_by_cloud_init._fill(build, machine, lambda _: None, [path], lambda: None)
        assert machine.files == {"/root/clusterproof-snaps.part/1.snap": b"hsqs"}
        assert "until [ -d /root/clusterproof-snaps ]" in install_by_cloud_init.user_data(build, MIRROR)
        renamed = "'mv /root/clusterproof-snaps.part /root/clusterproof-snaps'"
        assert machine.commands[1].endswith(renamed)

    def test_removes_a_machine_that_failed(self):
        answers = [("cloud-init status", Result(1, "status: error", ""))]
        machine = FakeMachine("cp-bake", image(), answers=answers)
        with pytest.raises(LabError, match="could not be installed by cloud-init"):
            install_by_cloud_init._fill(
                channel(HERE), machine, lambda _: None, [], lambda: pytest.fail("fetched")
            )
        assert machine.done == ["create", "start", "destroy"]


class Exporting(VirtualMachine):
    """A machine whose disk, here an archive, holds a member without what has booted it."""

    def __init__(self, place: Path) -> None:
        self.name = "cp-bake"
        self.tree = place / "tree"
        for name in ("boot", "lib/modules/6.9.1", "lib/modules/6.12.3"):
            (self.tree / name).mkdir(parents=True)
        (self.tree / "installed").write_text("by cloud-init")

    def export(self, disk: Path) -> None:
        with tarfile.open(disk, "w") as tar:
            tar.add(self.tree, ".")


class TestDisk:
    @pytest.fixture
    def tools(self, tmp_path, monkeypatch) -> Path:
        folder = bake_with_stand_ins(tmp_path, monkeypatch)
        disks_with_stand_ins(folder)
        return folder

    @pytest.fixture
    def base(self, tmp_path) -> RootfsImage:
        folder = tmp_path / "base"
        folder.mkdir()
        (folder / "vmlinuz").write_text("kernel")
        (folder / "initrd").write_text("initial")
        return RootfsImage("base", folder / "root.img", "")

    @pytest.mark.usefixtures("tools")
    def test_becomes_a_tree_with_the_kernel_that_booted_it(self, tmp_path, base):
        root = tmp_path / "root"
        install_by_cloud_init._fetch_disk(Exporting(tmp_path), base, root)
        assert (root / "installed").read_text() == "by cloud-init"
        names = {path.name: path.read_text() for path in (root / "boot").iterdir()}
        assert names == {"vmlinuz": "kernel", "vmlinuz-6.12.3": "kernel", "initrd": "initial"}
        assert not list(tmp_path.glob("root.disk")) + list(tmp_path.glob("published*"))

    def test_that_cannot_be_read_says_why(self, tools, tmp_path, base):
        stand_in(tools, "mount", "echo 'mount: no loop devices' >&2; exit 32")
        with pytest.raises(LabError, match=r"the disk of VM cp-bake cannot be read: .*no loop"):
            install_by_cloud_init._fetch_disk(Exporting(tmp_path), base, tmp_path / "root")

    def test_is_made_an_image_in_the_way_of_others(self, tools, tmp_path, base):
        stand_in(tools, "dpkg-query", r"printf 'incus-base\t7.0.2-3\tamd64\n'")
        images = Path(shutil.copytree(recipe.IMAGES, tmp_path / "images"))
        (images / "vm" / "customise").write_text('touch "$1/customised"')

        def fill(root: Path) -> str:
            install_by_cloud_init._fetch_disk(Exporting(tmp_path), base, root)
            return "7.0.2-3"

        into = tmp_path / "out"
        made = making.make(
            channel(HERE), into, lambda _: None, images_dir=images, kind=VM, fill=fill
        )
        assert made == rootfs.find(channel(HERE), into, images, VM)
        assert made.package_version == "7.0.2-3"
        assert made.kernel.read_text() == "kernel"
        with tarfile.open(made.rootfs) as disk:
            assert {"./installed", "./customised"} <= set(disk.getnames())


class TestRecipe:
    def test_changes_with_the_revision_and_the_user_data(self, monkeypatch, tmp_path):
        build = channel("lxd@5.21/stable")
        digest = recipe.digest(build)
        assert recipe.digest(KNOWN.get(build.name).resolved(lambda *_: 33111)) != digest
        copy = Path(shutil.copytree(recipe.CLOUD_INIT, tmp_path / "cloud-init"))
        monkeypatch.setattr(recipe, "CLOUD_INIT", copy)
        assert recipe.digest(build) == digest
        (copy / "install-snap.yaml").write_text("changed")
        assert recipe.digest(build) != digest

    def test_of_other_builds_does_not(self, monkeypatch, tmp_path):
        builds = [*KNOWN.select()]
        digests = [recipe.digest(build) for build in builds]
        monkeypatch.setattr(recipe, "CLOUD_INIT", tmp_path)
        assert [recipe.digest(build) for build in builds] == digests


def test_without_a_lab_host_there_is_no_first_boot(tmp_path, monkeypatch):
    monkeypatch.setattr(making._Job, "check", lambda _: None)
    with pytest.raises(LabError, match=f"clusterproof bake {HERE} does it"):
        making.make(channel(HERE), tmp_path, lambda _: None)
    assert not list(tmp_path.glob("*.partial"))
