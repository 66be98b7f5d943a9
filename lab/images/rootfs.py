"""A member's root file system on this computer's disk: one build, packed as an image.

It is a folder named after the digest of its recipe: for containers what LXD and Incus can import, for VMs a disk
and what boots it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.images.kinds import CONTAINER, Kind
from clusterproof.lab.images.recipe import IMAGES, digest


@dataclass(frozen=True)
class RootfsImage:
    """An image of a build.

    Of a container ``rootfs`` (squashfs) and ``metadata`` (tar) are what a server imports; of a VM ``rootfs`` is
    its disk (ext4), and ``kernel`` and ``initrd`` boot it. ``package_version`` is the whole version of the
    product's package, read from what was installed.
    """

    digest: str
    rootfs: Path
    package_version: str

    @property
    def folder(self) -> Path:
        """Where the image is, with ``packages.tsv`` and ``recipe.json`` beside it."""
        return self.rootfs.parent

    @property
    def metadata(self) -> Path:
        """What describes a container's image to a server."""
        return self.folder / "metadata.tar"

    @property
    def kernel(self) -> Path:
        """The kernel of a VM."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initrd of a VM."""
        return self.folder / "initrd"


def find(
    build: CatalogueBuild, into: Path, images_dir: Path = IMAGES, kind: Kind = CONTAINER
) -> RootfsImage | None:
    """Return the image of ``build`` in the folder ``into``; None where it is missing or damaged."""
    return read(into / digest(build, images_dir, kind), kind)


def read(folder: Path, kind: Kind = CONTAINER) -> RootfsImage | None:
    """Return the image in ``folder``; None where it is missing or damaged."""
    try:
        made = json.loads((folder / "recipe.json").read_text("utf-8"))
        whole = (folder / kind.large).stat().st_size == made["rootfs_bytes"]
        whole = whole and all((folder / name).stat().st_size > 0 for name in kind.others)
        version = str(made["package_version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return RootfsImage(folder.name, folder / kind.large, version) if whole else None
