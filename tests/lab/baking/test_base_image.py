"""Base images: their table, what is made here, and the seed that is put into them."""

from __future__ import annotations

import io
import tarfile

import pytest
import yaml

from clusterproof.lab.baking import base_image
from clusterproof.lab.builds import catalogue
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.sources import AptChannel
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.images import recipe
from clusterproof.lab.images.kinds import VM
from tests.fakes import INCUS_702

KNOWN = catalogue.load()
CHANNELS = [build for build in KNOWN.builds if build.source.first_boot]
HERE = KNOWN.get("incus@debian/trixie-backports")


@pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
def test_names_images_that_there_are(build):
    assert base_image.base_of(build)


@pytest.mark.parametrize("build", CHANNELS, ids=lambda build: build.name)
def test_virtual_machines_begin_with_debian_and_without_the_product(build):
    base = base_image.base_build(build)
    assert base.name == f"{build.product}@base-trixie"
    packages = recipe.recipe(base, kind=VM)["packages"]
    assert isinstance(packages, list)
    assert "linux-image-cloud-amd64" in packages or "linux-image-cloud-arm64" in packages
    assert not [name for name in packages if name.startswith(("incus", "lxd"))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('server = "https://x"\nalias = "1"', "give vm"),
        ('suite = "trixie"\nvm = "trixie"', "give vm"),
        ('server = "https://x"', "give either a suite"),
    ],
)
def test_a_table_of_images_that_cannot_be(monkeypatch, tmp_path, text, says):
    (tmp_path / "images.toml").write_text(f"[debian-trixie]\n{text}\n")
    monkeypatch.setattr(base_image, "CLOUD_INIT", tmp_path)
    with pytest.raises(UsageError, match=rf"images\.toml: debian-trixie: .*{says}"):
        base_image.base_of(HERE)


def test_an_image_that_there_is_not_is_named():
    assert isinstance(HERE.source, AptChannel)
    source = HERE.source.model_copy(update={"image": "beos"})
    build = CatalogueBuild(HERE.facts, "7.0", "7.0", source)
    with pytest.raises(UsageError, match='image "beos" is none of ubuntu-24-04'):
        base_image.base_of(build)


def test_an_image_made_here_takes_user_data_as_those_of_a_remote(tmp_path):
    metadata = tmp_path / "metadata.tar"
    with tarfile.open(metadata, "w") as tar:
        text = b"architecture: x86_64\ntemplates:\n  /etc/hosts:\n    when: [create]\n    template: hosts.tpl\n"
        base_image._add(tar, "metadata.yaml", text)
        base_image._add(tar, "templates/hosts.tpl", b"hosts")
    with metadata.open("rb") as file:
        described = base_image.seeded(file, ["systemd-udevd.service"])
    with tarfile.open(fileobj=io.BytesIO(described)) as tar:
        names = tar.getnames()
        opened = tar.extractfile("metadata.yaml")
        assert opened
        found = yaml.safe_load(opened.read())["templates"]
    assert "templates/user-data.tpl" in names
    assert found["/var/lib/cloud/seed/nocloud-net/user-data"]["template"] == "user-data.tpl"
    assert "/etc/hosts" in found
    assert found["/etc/systemd/system/systemd-udevd.service.d/clusterproof.conf"]["template"] == "never.tpl"


def test_a_build_that_is_installed_otherwise_has_none():
    with pytest.raises(LabError, match=r"incus@7\.0\.2 is from debian trixie-backports, and not installed by"):
        base_image.base_of(INCUS_702)
