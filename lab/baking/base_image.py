"""Base images: what cloud-init installs builds in.

They are downloaded, or made here of Debian's packages, as all for VMs are.
"""

from __future__ import annotations

import io
import tarfile
import tomllib
from collections.abc import Sequence
from typing import IO, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from clusterproof.lab.baking import image_server
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.product_file import explain
from clusterproof.lab.builds.sources import DebianSuite
from clusterproof.lab.core.errors import UsageError
from clusterproof.lab.host import upload
from clusterproof.lab.host.host import Host
from clusterproof.lab.images import making
from clusterproof.lab.images.recipe import CLOUD_INIT

# Units that would act on the kernel that a container shares, before the image is made a member's.
ON_THE_HOST = (
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-modules-load.service",
    "systemd-sysctl.service",
)
# cloud-init's NoCloud seed, which a server writes from the instance's configuration.
SEED = "/var/lib/cloud/seed/nocloud-net"
TEMPLATES = {
    "user-data": '{{ config_get("cloud-init.user-data", "#cloud-config") }}',
    "meta-data": "instance-id: {{ container.name }}\nlocal-hostname: {{ container.name }}\n",
}


class Base(BaseModel):
    """An image to begin with: one of a simplestreams server, or a Debian suite of which it is made here.

    ``vm`` is the Debian suite of VMs where a server's image is for containers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str = ""
    alias: str = ""
    suite: str = ""
    vm: str = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.suite) == bool(self.server and self.alias):
            raise ValueError("give either a suite, or a server with an alias")
        if bool(self.server) != bool(self.vm):
            raise ValueError("give vm, the suite of VMs, with a server and only then")
        return self


class DebianBase(DebianSuite):
    """Debian with cloud-init, made as a member's image is, without a product."""

    stated: ClassVar[bool] = False

    def asked(self, version: str) -> str:  # noqa: ARG002 - there is no product
        """Return the name without the product."""
        return f"base-{self.suite}"


def base_of(build: CatalogueBuild) -> Base:
    """Return the image that ``build`` is installed in. Raises UsageError."""
    file = CLOUD_INIT / "images.toml"
    image = build.first_boot.image
    try:
        images = tomllib.loads(file.read_text("utf-8"))
        if image not in images:
            raise UsageError(f'{build.name}: image "{image}" is none of {", ".join(images)}')
        return Base.model_validate(images[image])
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file.name} is not TOML: {error}") from None
    except ValidationError as error:
        raise UsageError(f"{file.name}: {image}: {explain(error)}") from None


def base_build(build: CatalogueBuild) -> CatalogueBuild:
    """Return what is made on this computer for an image of Debian with cloud-init. Raises UsageError."""
    base = base_of(build)
    source = DebianBase(kind="debian", suite=base.suite or base.vm)
    facts = build.facts.model_copy(update={"packages": ("cloud-init",), "vm_packages": ()})
    return CatalogueBuild(facts, build.version, build.track, source)


def seeded(metadata: IO[bytes], kept_off: Sequence[str] = ()) -> bytes:
    """Return the description of an image, the tar ``metadata``, with cloud-init's seed among its templates.

    The units ``kept_off`` are not started, by a condition that never holds: what masks a unit is a link, and no
    server writes a file where one leads out of the instance.
    """
    found = io.BytesIO()
    with tarfile.open(fileobj=metadata) as old, tarfile.open(fileobj=found, mode="w") as new:
        for entry in old:
            content = old.extractfile(entry)
            text = content.read() if content else b""
            if entry.name == "metadata.yaml":
                text += "".join(
                    f"  {SEED}/{name}:\n    when: [create, copy]\n    template: {name}.tpl\n"
                    for name in TEMPLATES
                ).encode()
                text += "".join(
                    f"  /etc/systemd/system/{unit}.d/clusterproof.conf:\n    when: [create, copy]\n"
                    "    template: never.tpl\n"
                    for unit in kept_off
                ).encode()
            _add(new, entry.name, text)
        for name, template in TEMPLATES.items():
            _add(new, f"templates/{name}.tpl", template.encode())
        _add(new, "templates/never.tpl", b"[Unit]\nConditionPathExists=/never\n")
    return found.getvalue()


def fetched(base: Base, host: Host) -> str:
    """Give the host the newest image of a server, described as members' images are; return its fingerprint.

    Raises LabError.
    """
    found, file = image_server.fetch(base.server, base.alias)
    description = io.BytesIO()
    values = {"build": base.alias, "version": found.version, "digest": found.sha256}
    making.describe(description, values, created=1)
    description.seek(0)
    return upload.give(file, seeded(description, kept_off=ON_THE_HOST), host)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))

