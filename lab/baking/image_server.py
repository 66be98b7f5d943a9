"""An image server: which image it has now, and its root file system.

The form is that of simplestreams, as Ubuntu's server has it: ``streams/v1/index.json`` names the files that
list products, a product has versions, and a version has items, each with its path, size and SHA-256. An LXD
server takes such an image by itself. An Incus server does not: it looks for ``incus.tar.xz`` where Ubuntu has
``lxd.tar.xz`` (shared/simplestreams/products.go of Incus). So only the root file system is taken here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clusterproof.lab.core import fetching, runs
from clusterproof.lab.core.architecture import debian_architecture
from clusterproof.lab.core.errors import LabError

# The kind of an item that is a root file system.
SQUASHFS = "squashfs"
# What an index says of a list of images.
DOWNLOADS = "image-downloads"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _List(_Part):
    datatype: str = ""
    path: str


class _Index(_Part):
    index: dict[str, _List]


class _Item(_Part):
    ftype: str
    path: str = ""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    size: int = 0


class _Version(_Part):
    items: dict[str, _Item] = {}


class _Product(_Part):
    aliases: str = ""
    arch: str = ""
    versions: dict[str, _Version] = {}


class _Products(_Part):
    products: dict[str, _Product]


@dataclass(frozen=True)
class Found:
    """A root file system on a server: the image's ``version`` (its serial), where it is, and its SHA-256."""

    version: str
    url: str
    sha256: str
    size: int


def newest(server: str, alias: str) -> Found:
    """Return the newest image ``alias`` of ``server`` for this computer.

    ``LAB_IMAGE_SERVER`` is the address of another server. Raises LabError where it does not answer or has none.
    """
    root = os.environ.get("LAB_IMAGE_SERVER", server).rstrip("/")
    architecture = debian_architecture()
    try:
        products = list(_products(root))
    except requests.RequestException as error:
        raise LabError(f"the image server {root} cannot be asked for {alias}: {error}") from error
    except ValidationError as error:
        wrong = fetching.what_is_wrong(error)
        raise LabError(f"the index of {root} is not of simplestreams' form ({wrong})") from error
    found = [
        Found(serial, f"{root}/{item.path}", item.sha256, item.size)
        for product in products
        if product.arch == architecture and alias in product.aliases.split(",")
        for serial, version in product.versions.items()
        for item in version.items.values()
        if item.ftype == SQUASHFS and item.path and item.sha256
    ]
    if not found:
        raise LabError(f"{root} has no image {alias} for {architecture} with a root file system ({SQUASHFS})")
    return max(found, key=lambda one: one.version)


def fetch(server: str, alias: str) -> tuple[Found, Path]:
    """Return the newest image ``alias`` and its file, downloaded where it is missing. Raises LabError."""
    found = newest(server, alias)
    folder = runs.folder() / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{alias}-{found.version}-{found.sha256[:12]}.squashfs"
    with runs.lock(f"download-{found.sha256[:12]}"):
        if not file.exists():
            try:
                fetching.download(found.url, file, found.sha256)
            except requests.RequestException as error:
                raise LabError(f"image {alias} of {server} cannot be downloaded: {error}") from error
            except OSError as error:
                why = error.strerror or error
                raise LabError(f"image {alias} cannot be kept in {folder}: {why}") from error
    return found, file


def _products(root: str) -> Iterator[_Product]:
    index = _Index.model_validate_json(_get(root, "streams/v1/index.json"))
    for listed in index.index.values():
        if listed.datatype == DOWNLOADS:
            yield from _Products.model_validate_json(_get(root, listed.path)).products.values()


def _get(root: str, path: str) -> bytes:
    return fetching.get(f"{root}/{path}")
