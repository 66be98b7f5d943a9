"""Baking by cloud-init: a build is installed at the first boot of an image that has cloud-init.

The lab host downloads the image, or it is made here of Debian's packages. A container of it is started with
user-data from ``lab/cloud-init``, and the result is packed as a member's image. An image for VMs is made in the
same way, of a VM with Debian, which is always made here.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.builds.build import CatalogueBuild, FirstBoot
from clusterproof.lab.builds.product_file import explain
from clusterproof.lab.builds.sources import SNAP_FILE, DebianSuite
from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.templates import templates
from clusterproof.lab.host.host import Host
from clusterproof.lab.images.image import Image
from clusterproof.lab.images.kinds import CONTAINER, VM, Kind
from clusterproof.lab.images.leftovers import remove_tree
from clusterproof.lab.images.logged_commands import Progress, guarded
from clusterproof.lab.images.recipe import IMAGES, member_packages, product_packages
from clusterproof.lab.images.rootfs import RootfsImage
from clusterproof.lab.substrates.container import Container
from clusterproof.lab.substrates.machine import CommandTimeoutError, Machine, Result
from clusterproof.lab.substrates.qemu_vm import VirtualMachine, VirtualMachines

DATA = Path(__file__).parents[1] / "cloud-init"
# Seconds for installing everything over a slow network.
INSTALL = 1800.0
PULL = 1800.0
SHUTDOWN = 120.0
# The exit statuses of "cloud-init status" after an installation: 2 is success with warnings.
SUCCEEDED = (0, 2)
# Installed by the first boot beside the product and a member's packages.
TOOLS = ("ca-certificates", "curl", "gpg")
# Members keep nothing of what cloud-init learnt at the first boot, and containers start without it.
CLEAN = (
    "cloud-init clean --logs && "
    f"rm -rf /run/clusterproof-install {SNAP_FILE} /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /root/.ssh"
)
DISABLE = {"container": "touch /etc/cloud/cloud-init.disabled", "vm": "true"}
# cloud-init's NoCloud seed, which a server writes from the instance's configuration.
SEED = "/var/lib/cloud/seed/nocloud-net"
TEMPLATES = {
    "user-data": '{{ config_get("cloud-init.user-data", "#cloud-config") }}',
    "meta-data": "instance-id: {{ container.name }}\nlocal-hostname: {{ container.name }}\n",
}

_ENVIRONMENT = templates(DATA)


class Base(BaseModel):
    """An image to begin with: one of a simplestreams server, or a Debian suite of which it is made here.

    ``vm`` is the Debian suite of VMs where a server's image is for containers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str = ""
    protocol: str = "simplestreams"
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
    file = DATA / "images.toml"
    image = _first_boot(build).image
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


def user_data(
    build: CatalogueBuild, mirror: Mirror, images_dir: Path = IMAGES, kind: Kind = CONTAINER
) -> str:
    """Return the user-data that installs ``build``. Raises LabError where the mirror is needed and unknown."""
    source = _first_boot(build)
    return _ENVIRONMENT.get_template(source.template).render(
        packages=sorted({*member_packages(images_dir), *TOOLS}),
        **source.values(build, product_packages(build, kind), mirror.archive),
    )


def _first_boot(build: CatalogueBuild) -> FirstBoot:
    source = build.source.first_boot
    if source is None:
        raise LabError(f"{build.name} comes from {build.source.label}: cloud-init does not install it")
    return source


def seeded(metadata: Path) -> bytes:
    """Return the description of an image, the tar ``metadata``, with cloud-init's seed among its templates."""
    found = io.BytesIO()
    with tarfile.open(metadata) as old, tarfile.open(fileobj=found, mode="w") as new:
        for entry in old:
            content = old.extractfile(entry)
            text = content.read() if content else b""
            if entry.name == "metadata.yaml":
                text += "".join(
                    f"  {SEED}/{name}:\n    when: [create, copy]\n    template: {name}.tpl\n"
                    for name in TEMPLATES
                ).encode()
            _add(new, entry.name, text)
        for name, template in TEMPLATES.items():
            _add(new, f"templates/{name}.tpl", template.encode())
    return found.getvalue()


def pull(base: Base, host: Host) -> str:
    """Let the host download an image; return its fingerprint. Raises LabError."""
    source = {
        "type": "image",
        "mode": "pull",
        "server": base.server,
        "protocol": base.protocol,
        "alias": base.alias,
    }
    try:
        done = host.api.post("images", {"source": source, "auto_update": False}, timeout=PULL)
    except ApiError as error:
        raise LabError(f"the lab host cannot get image {base.alias} of {base.server}: {error}") from error
    return str(done["metadata"]["fingerprint"])


def fill_in_container(
    build: CatalogueBuild, fingerprint: str, host: Host, progress: Progress, text: str, root: Path
) -> str:
    """Install ``build`` at the first boot of image ``fingerprint`` with user-data ``text``, and fill ``root``.

    Returns the version that was installed. Raises LabError.
    """
    image = Image(build.installed(build.version), build.facts, "", fingerprint)
    machine = Container(host, _name(host), image, config={"cloud-init.user-data": text})
    return _fill(build, machine, progress, lambda: _fetch(machine, host, root))


def fill_in_vm(
    build: CatalogueBuild, base: RootfsImage, host: Host, progress: Progress, text: str, root: Path
) -> str:
    """Do the same as ``fill_in_container`` in a QEMU VM with the image ``base``."""
    image = Image(build.installed(build.version), build.facts, base.digest, "")
    cluster = VirtualMachines(host.run)
    machine = VirtualMachine(host.run, _name(host), image, 1, cluster.segment, cluster.keys, user_data=text)
    return _fill(build, machine, progress, lambda: _fetch_disk(machine, base, root))


def _name(host: Host) -> str:
    return f"cp-{host.run.id[-4:]}-{host.run.number():x}-bake"


def _fill(build: CatalogueBuild, machine: Machine, progress: Progress, fetch: Callable[[], None]) -> str:
    """Let ``machine`` install ``build`` at its first boot, and ``fetch`` its file system; return the version."""
    source = _first_boot(build)

    try:
        progress("booting")
        machine.create()
        machine.start()
        if file := source.handed_over:
            machine.write(f"{SNAP_FILE}.part", file.read_bytes())
            _do(build, machine, f"mv {SNAP_FILE}.part {SNAP_FILE}")
        progress("installing by cloud-init")
        _wait(build, machine)
        version = source.installed_version(build, lambda command: _do(build, machine, command).stdout)
        _do(build, machine, f"{CLEAN} && {DISABLE[machine.substrate]}")
        machine.stop(timeout=SHUTDOWN)
        progress("fetching")
        fetch()
    finally:
        machine.destroy()
    return version


def _wait(build: CatalogueBuild, machine: Machine) -> None:
    """Wait until cloud-init has ended. Raises LabError with its messages where it failed."""
    try:
        done = machine.execute(["cloud-init", "status", "--wait", "--long"], timeout=INSTALL)
    except CommandTimeoutError as error:
        raise LabError(f"{build.name}: cloud-init has not ended after {INSTALL:g} s") from error
    if done.rc not in SUCCEEDED or "status: done" not in done.stdout:
        log = machine.execute(["tail", "-n", "8", "/var/log/cloud-init-output.log"], timeout=30)
        lines = [*done.stdout.splitlines(), *log.stdout.splitlines()]
        said = " | ".join(line.strip() for line in lines if line.strip())
        raise LabError(f"{build.name} could not be installed by cloud-init: {said}")


def _do(build: CatalogueBuild, machine: Machine, command: str) -> Result:
    done = machine.execute(["sh", "-c", command], timeout=120)
    if not done.ok:
        raise LabError(f"{build.name}: {command} ended with {done.rc}: {done.stderr.strip()[-300:]}")
    return done


def _fetch(machine: Container, host: Host, root: Path) -> None:
    """Put the container's file system into ``root``, by way of an image that the host makes of it."""
    body = {"source": {"type": "instance", "name": machine.name}, "compression_algorithm": "none"}
    fingerprint = host.api.post("images", body, timeout=600)["metadata"]["fingerprint"]
    archive = root.with_name("published.tar")
    try:
        host.api.download(f"images/{fingerprint}/export", archive)
    finally:
        host.api.delete(f"images/{fingerprint}", timeout=60)
    unpacked = root.with_name("published")
    unpacked.mkdir()
    with tarfile.open(archive) as tar:
        # A filter would take away devices and set-user-id programs.
        tar.extractall(unpacked, numeric_owner=True, filter="fully_trusted")  # noqa: S202 - from the lab host
    archive.unlink()
    (unpacked / "rootfs").rename(root)
    remove_tree(unpacked)


def _fetch_disk(machine: VirtualMachine, base: RootfsImage, root: Path) -> None:
    """Put what is on the VM's disk into ``root``, and what has booted it."""
    disk = root.with_name("published.img")
    machine.export(disk)
    argv = VM.unpack(disk, base.folder, root)
    done = subprocess.run(guarded(argv), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip() or done.returncode
        raise LabError(f"the disk of VM {machine.name} cannot be read: {said}")
    disk.unlink()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))

