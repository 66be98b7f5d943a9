"""Uploading images to the lab host."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from requests_toolbelt import MultipartEncoder

from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host.host import Host


def give(root: Path, metadata: bytes, host: Host, *, virtual_machine: bool = False) -> str:
    """Upload an image of two files to ``host``, if it is missing there; return its fingerprint.

    The fingerprint is the SHA-256 of ``metadata`` followed by ``root``. Raises LabError.
    """
    fingerprint = _sum(metadata, root)
    if not host.has_image(fingerprint):
        _import(root, metadata, host, "rootfs.img" if virtual_machine else "rootfs")
    return fingerprint


@functools.cache
def _sum(metadata: bytes, root: Path) -> str:
    digest = hashlib.sha256(metadata)
    with root.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _import(root: Path, metadata: bytes, host: Host, kind: str) -> None:
    """Upload an image; ``kind`` is the name of its second part, which differs for containers and VMs."""
    with root.open("rb") as file:
        body = MultipartEncoder(
            {
                "metadata": ("metadata", metadata, "application/octet-stream"),
                kind: (kind, file, "application/octet-stream"),
            }
        )
        try:
            host.api.upload("images", body, {"Content-Type": body.content_type}, timeout=300)
        except ApiError as error:
            raise LabError(f"the lab host did not accept image {root.parent.name[:12]}: {error}") from error
