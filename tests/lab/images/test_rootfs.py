"""Root file systems: their identity, the mirror, what a failure is called, and leftovers."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from clusterproof.lab.builds import apt_mirror, catalogue
from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.images import rootfs
from tests.fakes import bake_with_stand_ins, stand_in

BUILD = catalogue.load().get("incus@7.5.1")
STABLE = catalogue.load().get("lxd@5.0.2")


@pytest.fixture
def images(tmp_path) -> Path:
    return Path(shutil.copytree(rootfs.IMAGES, tmp_path / "images-of-the-test"))


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """A PATH that begins with stand-ins; the guard around commands is left away."""
    folder = bake_with_stand_ins(tmp_path, monkeypatch)
    stand_in(folder, "mksquashfs", 'echo squashed >"$2"')
    stand_in(folder, "dpkg-query", r"printf 'attr\t1:2.5\tamd64\nincus-base\t7.5.1-1~exp2\tamd64\n'")
    stand_in(folder, "mmdebstrap", INSTALLS)
    return folder


INSTALLS = """
for last; do case $last in */root) mkdir "$last"; echo installed >"$last/file" ;; esac; done
echo 'I: installing remaining packages inside the chroot...'
echo 'I: success in 1 seconds'
"""


def ignore(_: str) -> None:
    pass


class TestDigest:
    def test_is_the_same_for_the_same_recipe(self, images):
        assert rootfs.digest(BUILD, images) == rootfs.digest(BUILD, images) == rootfs.digest(BUILD)
        assert len(rootfs.digest(BUILD)) == 64

    def test_differs_between_all_builds(self):
        builds = catalogue.load().builds
        assert len({rootfs.digest(build) for build in builds}) == len(builds)

    @pytest.mark.parametrize(
        "file",
        [
            "container/packages",
            "container/options",
            "container/masked",
            "container/customise",
            "container/add-suite",
            "container/metadata.yaml",
            "container/templates/hosts.tpl",
            "container/files/usr/local/sbin/clusterproof-resolver",
            "tiny/init",
        ],
    )
    def test_changes_with_every_file_of_the_recipe(self, images, file):
        with (images / file).open("a") as opened:
            opened.write("# changed\n")
        assert rootfs.digest(BUILD, images) != rootfs.digest(BUILD)

    def test_changes_with_a_new_file_and_with_the_right_to_run(self, images):
        (images / "tiny/init").chmod(0o644)
        without_right = rootfs.digest(BUILD, images)
        (images / "container/files/etc/new").touch()
        assert len({without_right, rootfs.digest(BUILD, images), rootfs.digest(BUILD)}) == 3

    def test_does_not_depend_on_where_the_packages_come_from(self, monkeypatch):
        before = rootfs.digest(BUILD)
        monkeypatch.setenv("LAB_MIRROR", "https://elsewhere.example.org/debian")
        assert rootfs.digest(BUILD) == before

    def test_needs_its_lists(self, images):
        (images / "container/packages").unlink()
        with pytest.raises(LabError, match="restore it from the repository"):
            rootfs.digest(BUILD, images)


class TestForVirtualMachines:
    """The recipe of the other kind of image: all of the container's, and what a machine takes."""

    def packages(self, build) -> list[str]:
        return rootfs.recipe(build, kind=rootfs.VM)["packages"]

    @pytest.mark.parametrize(("machine", "expected"), [("x86_64", "amd64"), ("aarch64", "arm64")])
    def test_the_kernel_is_that_of_the_architecture(self, monkeypatch, machine, expected):
        monkeypatch.setattr(rootfs.platform, "machine", lambda: machine)
        assert f"linux-image-cloud-{expected}" in self.packages(BUILD)
        assert not any("ARCHITECTURE" in name for name in self.packages(BUILD))

    def test_what_a_release_lacks_is_left_out_there(self):
        assert STABLE.source.suites[0] == "bookworm"
        assert "qemu-system-modules-spice" not in self.packages(STABLE)
        assert "qemu-system-modules-spice" in self.packages(BUILD)

    def test_they_have_all_that_containers_have(self):
        assert set(rootfs.recipe(BUILD)["packages"]) < set(self.packages(BUILD))

    def test_every_build_has_another_identity_than_its_container(self):
        builds = catalogue.load().builds
        assert not {rootfs.digest(b, kind=rootfs.VM) for b in builds} & {rootfs.digest(b) for b in builds}

    def test_their_own_files_change_no_container(self, images):
        containers, before = rootfs.digest(BUILD, images), rootfs.digest(BUILD, images, rootfs.VM)
        with (images / "vm/init").open("a") as opened:
            opened.write("# changed\n")
        assert rootfs.digest(BUILD, images) == containers
        assert rootfs.digest(BUILD, images, rootfs.VM) != before

    def test_the_containers_files_change_them_too(self, images):
        before = rootfs.digest(BUILD, images, rootfs.VM)
        with (images / "container/options").open("a") as opened:
            opened.write("# changed\n")
        assert rootfs.digest(BUILD, images, rootfs.VM) != before


class TestMirror:
    DEBIAN = """
Debian|bookworm|bookworm|oldstable|main|https://deb.example.org/debian/
Debian|bookworm-updates|bookworm-updates|oldstable-updates|main|https://deb.example.org/debian/
Debian|bookworm-security|bookworm-security|oldstable-security|main|https://sec.example.org/debian-security/
Debian Backports|bookworm-backports|bookworm-backports|oldstable-backports|main|https://bpo.example.org/debian/
"""

    def test_is_the_one_that_apt_has_for_the_running_release(self):
        found = apt_mirror.choose(apt_mirror.parse(self.DEBIAN), "bookworm")
        assert found == Mirror(
            "https://deb.example.org/debian", "https://sec.example.org/debian-security"
        )

    def test_is_no_other_vendors_archive_with_a_suite_of_that_name(self):
        text = "Vendor|bookworm|bookworm||main|https://vendor.example.org/linux/\n" + self.DEBIAN
        assert apt_mirror.choose(apt_mirror.parse(text), "bookworm").archive == "https://deb.example.org/debian"

    def test_prefers_the_running_release_among_several(self):
        text = "Debian|sid|sid|unstable|main|https://sid.example.org/debian/\n" + self.DEBIAN
        assert apt_mirror.choose(apt_mirror.parse(text), "bookworm").archive == "https://deb.example.org/debian"
        assert apt_mirror.choose(apt_mirror.parse(text), "sid").archive == "https://sid.example.org/debian"

    def test_is_found_before_apt_has_fetched_anything(self):
        text = (
            "$(ORIGIN)|trixie|$(CODENAME)|$(SUITE)|main|https://deb.example.org/debian/\n"
            "$(ORIGIN)|trixie-security|$(CODENAME)|$(SUITE)|main|https://sec.example.org/debian-security/\n"
            "$(ORIGIN)|stable|$(CODENAME)|$(SUITE)|main|https://vendor.example.org/deb/\n"
        )
        found = apt_mirror.choose(apt_mirror.parse(text), "trixie")
        assert found == Mirror(
            "https://deb.example.org/debian", "https://sec.example.org/debian-security"
        )

    def test_is_left_open_where_apt_has_none_of_debian(self):
        text = "Ubuntu|noble|noble|noble|main|https://ubuntu.example.org/ubuntu/\n"
        text += "Ubuntu|noble-security|noble|noble-security|main|https://ubuntu.example.org/ubuntu/\n"
        assert apt_mirror.choose(apt_mirror.parse(text), "noble") == Mirror(None, None)
        assert apt_mirror.choose(apt_mirror.parse(""), "noble") == Mirror(None, None)
        assert apt_mirror.choose(apt_mirror.parse("rubbish\n||"), "") == Mirror(None, None)

    @pytest.mark.parametrize("scheme", ["mirror+file:", "mirror+file://"])
    def test_of_a_list_of_mirrors_is_its_first(self, tmp_path, scheme):
        listed = tmp_path / "debian.list"
        listed.write_text(
            "# ours\n\nhttps://first.example.org/debian\tpriority:1\nhttps://second.example.org\n"
        )
        text = f"Debian|trixie|trixie|stable|main|{scheme}{listed}/\n"
        assert apt_mirror.choose(apt_mirror.parse(text), "trixie").archive == "https://first.example.org/debian"
        listed.unlink()
        assert apt_mirror.choose(apt_mirror.parse(text), "trixie").archive is None

    def test_that_only_this_machine_can_use_is_passed_over(self):
        text = "Debian|trixie|trixie|stable|main|cdrom:[Debian]/\n"
        assert apt_mirror.choose(apt_mirror.parse(text), "trixie").archive is None

    def test_is_overridden_by_the_option_and_then_by_the_environment(self, monkeypatch):
        monkeypatch.setattr(apt_mirror, "_indextargets", lambda: self.DEBIAN)
        monkeypatch.setattr(apt_mirror, "_running_release", lambda: "bookworm")
        monkeypatch.setenv("LAB_MIRROR", "https://env.example.org/debian")
        assert apt_mirror.find() == Mirror(
            "https://env.example.org/debian", "https://sec.example.org/debian-security"
        )
        assert apt_mirror.find("http://opt.example.org/debian").archive == "http://opt.example.org/debian"

    @pytest.mark.parametrize(
        "asked", ["deb.example.org", "https://", "two words", "-x", "https://a b/c"]
    )
    def test_that_is_no_address_is_a_usage_error(self, asked):
        with pytest.raises(UsageError, match="is not an address of an archive") as caught:
            apt_mirror.find(asked)
        assert asked in str(caught.value)

    def test_of_a_machine_without_apt(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("LAB_MIRROR", raising=False)
        assert apt_mirror.find() == Mirror(None, None)


@pytest.mark.usefixtures("tools")
class TestInstalling:
    def arguments(self, build, tools, tmp_path):
        stand_in(tools, "mmdebstrap", f"printf '%s\\n' \"$@\" >{tmp_path}/arguments\n{INSTALLS}")
        stand_in(tools, "dpkg-query", rf"printf '{build.facts.packages[0]}\t1.0-1\tamd64\n'")
        rootfs.make(build, tmp_path / "out", ignore)
        return (tmp_path / "arguments").read_text().splitlines()

    def test_over_a_base_adds_the_suite_with_its_pin(self, tools, tmp_path):
        given = self.arguments(BUILD, tools, tmp_path)
        hook = next(line for line in given if line.startswith("--setup-hook="))
        assert hook.endswith("\"$1\" experimental n=rc-buggy '*incus*'")
        assert given[-1] == "deb https://deb.example.org/debian sid main"
        assert any(line.startswith("--include=systemd,") and "incus-base" in line for line in given)

    def test_of_a_stable_suite_takes_security_updates_where_known(self, tools, tmp_path, monkeypatch):
        known = Mirror("https://deb.example.org/debian", "https://sec.example.org/security")
        monkeypatch.setattr(apt_mirror, "find", lambda _=None: known)
        given = self.arguments(STABLE, tools, tmp_path)
        assert given[-2:] == [
            "deb https://deb.example.org/debian bookworm main",
            "deb https://sec.example.org/security bookworm-security main",
        ]
        assert not any(line.startswith("--setup-hook=") for line in given)

    def test_without_a_known_mirror_leaves_it_to_mmdebstrap(self, tools, tmp_path, monkeypatch):
        monkeypatch.setattr(apt_mirror, "find", lambda _=None: Mirror())
        given = self.arguments(STABLE, tools, tmp_path)
        assert given[-2] == "bookworm"
        assert given[-1].endswith("/root")

    @pytest.mark.parametrize(
        ("line", "added"),
        [
            (
                "deb https://deb.example.org/debian sid main",
                "deb https://deb.example.org/debian exp main",
            ),
            (
                'deb [signed-by="/k.gpg" arch=amd64] https://deb.example.org/debian sid main contrib',
                'deb [signed-by="/k.gpg" arch=amd64] https://deb.example.org/debian exp main',
            ),
        ],
    )
    def test_a_further_suite_comes_from_the_same_archive(self, tmp_path, line, added):
        preferences = tmp_path / "etc/apt/preferences.d"
        preferences.mkdir(parents=True)
        sources = tmp_path / "etc/apt/sources.list"
        sources.write_text(f"{line}\n")
        script = rootfs.IMAGES / "container/add-suite"
        subprocess.run(["sh", script, tmp_path, "exp", "n=rc-buggy", "*incus*", "*cowsql*"], check=True)
        assert sources.read_text() == f"{line}\n{added}\n"
        assert (preferences / "clusterproof").read_text() == (
            "Package: *incus* *cowsql*\nPin: release n=rc-buggy\nPin-Priority: 990\n"
        )


@pytest.mark.usefixtures("tools")
class TestMaking:
    def test_gives_an_image_that_is_found_again(self, tmp_path):
        said: list[str] = []
        image = rootfs.make(BUILD, tmp_path / "out", said.append)
        assert image == rootfs.find(BUILD, tmp_path / "out")
        assert image.package_version == "7.5.1-1~exp2"
        assert image.digest == rootfs.digest(BUILD) == image.folder.name
        assert image.rootfs.read_text() == "squashed\n"
        names = sorted(path.name for path in image.folder.iterdir())
        assert names == ["metadata.tar", "packages.tsv", "recipe.json", "rootfs.squashfs"]
        assert json.loads((image.folder / "recipe.json").read_text())["build"] == "incus@7.5.1"
        assert "installing remaining packages inside the chroot" in said
        assert not any("success" in line for line in said)

    def test_describes_the_image(self, tmp_path):
        image = rootfs.make(BUILD, tmp_path / "out", ignore)
        with tarfile.open(image.metadata) as tar:
            names = tar.getnames()
            opened = tar.extractfile("metadata.yaml")
            assert opened
            text = opened.read().decode()
        assert names == ["metadata.yaml", "templates/hostname.tpl", "templates/hosts.tpl"]
        assert 'clusterproof.build: "incus@7.5.1"' in text
        assert 'clusterproof.version: "7.5.1-1~exp2"' in text

    def test_is_not_done_twice_unless_forced(self, tools, tmp_path):
        first = rootfs.make(BUILD, tmp_path, ignore)
        stand_in(tools, "mksquashfs", 'echo anew >"$2"')
        assert rootfs.make(BUILD, tmp_path, ignore) == first
        assert first.rootfs.read_text() == "squashed\n"
        again = rootfs.make(BUILD, tmp_path, ignore, force=True)
        assert again.rootfs.read_text() == "anew\n"
        assert not list(tmp_path.glob("*.partial"))

    def test_replaces_a_damaged_image(self, tmp_path):
        image = rootfs.make(BUILD, tmp_path, ignore)
        image.rootfs.write_text("cut")
        assert rootfs.find(BUILD, tmp_path) is None
        assert rootfs.make(BUILD, tmp_path, ignore).rootfs.read_text() == "squashed\n"

    def test_says_when_the_archive_has_moved_on(self, tools, tmp_path):
        stand_in(tools, "dpkg-query", r"printf 'incus-base\t7.6.0-1\tamd64\n'")
        said: list[str] = []
        assert rootfs.make(BUILD, tmp_path, said.append).package_version == "7.6.0-1"
        assert "experimental now holds 7.6.0-1, which is newer" in said[-1]

    def test_removes_what_a_killed_attempt_left(self, tmp_path):
        for name in (rootfs.digest(BUILD), "of-another", "of-another.old"):
            (tmp_path / f"{name}.partial" / "root" / "deep").mkdir(parents=True)
        rootfs.make(BUILD, tmp_path, ignore)
        assert not list(tmp_path.glob("*.partial"))

    def test_leaves_alone_what_another_process_is_making(self, tmp_path):
        theirs = tmp_path / "of-another.partial"
        theirs.mkdir()
        with FileLock(tmp_path / "of-another.lock"):
            rootfs.make(BUILD, tmp_path, ignore)
        assert theirs.exists()

    def test_by_two_at_once_is_done_by_one(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", f"echo once >>{tmp_path}/calls; sleep 0.5\n{INSTALLS}")
        out = tmp_path / "out"
        threads = [threading.Thread(target=rootfs.make, args=(BUILD, out, ignore)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (tmp_path / "calls").read_text() == "once\n"

    def test_can_be_stopped_from_another_thread(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", "sleep 60")
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(LabError, match="was given up"):
            rootfs.make(BUILD, tmp_path, ignore, stop=stop)
        assert not list(tmp_path.glob("*.partial"))

    def test_interrupted_by_the_user_leaves_nothing(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", f"echo $$ >{tmp_path}/pid; echo I: working; sleep 60")

        def interrupt(text: str) -> None:
            if text == "working":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rootfs.make(BUILD, tmp_path / "out", interrupt)
        assert not list((tmp_path / "out").glob("*.partial"))
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.usefixtures("tools")
class TestFailing:
    def test_names_the_cause_and_where_the_output_is(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", "echo 'E: Unable to locate package incus-base'; exit 25")
        with pytest.raises(LabError) as caught:
            rootfs.make(BUILD, tmp_path, ignore)
        text = str(caught.value)
        log = tmp_path / f"{rootfs.digest(BUILD)}.log"
        assert "incus@7.5.1 could not be made: mmdebstrap ended with 25" in text
        assert "E: Unable to locate package incus-base" in text
        assert str(log) in text
        assert "Unable to locate" in log.read_text()
        assert not list(tmp_path.glob("*.partial"))
        assert rootfs.find(BUILD, tmp_path) is None

    def test_on_a_full_disk(self, tools, tmp_path):
        stand_in(tools, "mksquashfs", "echo 'write failed: No space left on device'; exit 1")
        with pytest.raises(LabError, match=f"no space left on the disk of {tmp_path}, make room"):
            rootfs.make(BUILD, tmp_path, ignore)

    def test_before_a_full_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr(rootfs, "SPACE", 1 << 62)
        with pytest.raises(LabError, match="GiB free and making the image"):
            rootfs.make(BUILD, tmp_path, ignore)

    def test_without_a_network(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", "echo \"W: Could not resolve 'deb.example.org'\"; exit 25")
        with pytest.raises(LabError, match=r"https://deb\.example\.org/debian cannot be reached"):
            rootfs.make(BUILD, tmp_path, ignore)

    def test_without_mmdebstrap(self, tmp_path, monkeypatch):
        monkeypatch.setattr(rootfs, "TOOLS", {"no-such-tool": "mmdebstrap"})
        with pytest.raises(LabError, match="needs mmdebstrap; run lab/bootstrap"):
            rootfs.make(BUILD, tmp_path, ignore)

    def test_without_root(self, tmp_path, monkeypatch):
        monkeypatch.setattr(rootfs.os, "geteuid", lambda: 1000)
        with pytest.raises(LabError, match="needs root; run it with sudo"):
            rootfs.make(BUILD, tmp_path, ignore)

    def test_where_the_folder_cannot_be(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(LabError, match="cannot make the image of incus"):
            rootfs.make(BUILD, tmp_path / "file" / "images", ignore)

    def test_explains_with_braces_in_the_output(self):
        assert rootfs.explain("E: {into} {").format(into="x", archive="y") == "E: {into} {"
        assert rootfs.explain("") == "it said nothing"


class TestMounts:
    INFO = (
        "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:21 / /srv/x.partial/root/proc rw,relatime - proc proc rw\n"
        "31 22 0:22 / /srv/x.partial/root/a\\040b rw - tmpfs none rw\n"
        "32 22 0:23 / /srv/x.partial-other rw - tmpfs none rw\n"
    )

    def test_inside_a_folder_are_found_with_their_real_names(self, tmp_path):
        (tmp_path / "mountinfo").write_text(self.INFO)
        found = rootfs.mounts_below(Path("/srv/x.partial"), tmp_path / "mountinfo")
        assert found == ["/srv/x.partial/root/proc", "/srv/x.partial/root/a b"]

    def test_that_stay_forbid_removing(self, tmp_path, monkeypatch):
        folder = tmp_path / "x.partial"
        (folder / "root").mkdir(parents=True)
        monkeypatch.setattr(rootfs, "mounts_below", lambda _: [f"{folder}/root"])
        with pytest.raises(LabError, match="does not let go; unmount it"):
            rootfs.remove_tree(folder)
        assert (folder / "root").exists()

    def test_removing_what_is_not_there_is_no_error(self, tmp_path):
        rootfs.remove_tree(tmp_path / "nothing")
