"""The recipe of an image: its identity, and what changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clusterproof.lab.builds import catalogue
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images import recipe
from clusterproof.lab.images.kinds import CONTAINER, VM

BUILD = catalogue.load().get("incus@7.5.1")
STABLE = catalogue.load().get("lxd@5.0.2")


@pytest.fixture
def images(tmp_path) -> Path:
    return Path(shutil.copytree(recipe.IMAGES, tmp_path / "images-of-the-test"))


class TestDigest:
    def test_is_the_same_for_the_same_recipe(self, images):
        assert recipe.digest(BUILD, images) == recipe.digest(BUILD, images) == recipe.digest(BUILD)
        assert len(recipe.digest(BUILD)) == 64

    def test_differs_between_all_builds(self):
        builds = catalogue.load().builds
        assert len({recipe.digest(build) for build in builds}) == len(builds)

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
        assert recipe.digest(BUILD, images) != recipe.digest(BUILD)

    def test_changes_with_a_new_file_and_with_the_right_to_run(self, images):
        (images / "tiny/init").chmod(0o644)
        without_right = recipe.digest(BUILD, images)
        (images / "container/files/etc/new").touch()
        assert len({without_right, recipe.digest(BUILD, images), recipe.digest(BUILD)}) == 3

    def test_does_not_depend_on_where_the_packages_come_from(self, monkeypatch):
        before = recipe.digest(BUILD)
        monkeypatch.setenv("LAB_MIRROR", "https://elsewhere.example.org/debian")
        assert recipe.digest(BUILD) == before

    def test_needs_its_lists(self, images):
        (images / "container/packages").unlink()
        with pytest.raises(LabError, match="restore it from the repository"):
            recipe.digest(BUILD, images)


class TestForVirtualMachines:
    """The recipe of the other kind of image: all of the container's, and what a machine takes."""

    def packages(self, build, kind=VM) -> list[str]:
        found = recipe.recipe(build, kind=kind)["packages"]
        assert isinstance(found, list)
        return found

    @pytest.mark.parametrize(("machine", "expected"), [("x86_64", "amd64"), ("aarch64", "arm64")])
    def test_the_kernel_is_that_of_the_architecture(self, monkeypatch, machine, expected):
        monkeypatch.setattr("platform.machine", lambda: machine)
        assert f"linux-image-cloud-{expected}" in self.packages(BUILD)
        assert not any("ARCHITECTURE" in name for name in self.packages(BUILD))

    def test_what_a_release_lacks_is_left_out_there(self):
        assert STABLE.source.suites[0] == "bookworm"
        assert "qemu-system-modules-spice" not in self.packages(STABLE)
        assert "qemu-system-modules-spice" in self.packages(BUILD)

    def test_they_have_all_that_containers_have(self):
        assert set(self.packages(BUILD, CONTAINER)) < set(self.packages(BUILD))

    def test_every_build_has_another_identity_than_its_container(self):
        builds = catalogue.load().builds
        assert not {recipe.digest(b, kind=VM) for b in builds} & {recipe.digest(b) for b in builds}

    def test_their_own_files_change_no_container(self, images):
        containers, before = recipe.digest(BUILD, images), recipe.digest(BUILD, images, VM)
        with (images / "vm/init").open("a") as opened:
            opened.write("# changed\n")
        assert recipe.digest(BUILD, images) == containers
        assert recipe.digest(BUILD, images, VM) != before

    def test_the_containers_files_change_them_too(self, images):
        before = recipe.digest(BUILD, images, VM)
        with (images / "container/options").open("a") as opened:
            opened.write("# changed\n")
        assert recipe.digest(BUILD, images, VM) != before
