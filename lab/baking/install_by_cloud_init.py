"""Baking by cloud-init: a build is installed by the first boot of an image of others.

The lab host gets the image from its remote, or it is made here of Debian's packages; a container of it is
started with user-data from ``lab/cloud-init``, and what it has become is packed as a member's image. An image
for virtual machines is made in the same way of a virtual machine with Debian, which is always made here.
"""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from clusterproof.lab.builds import apt_mirror as mirrors
from clusterproof.lab.builds.catalogue import CatalogueBuild, ChannelBuild, SnapFile, Source, explain
from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.templates import templates
from clusterproof.lab.host.host import Host
from clusterproof.lab.images import rootfs
from clusterproof.lab.images.image import Image
from clusterproof.lab.images.rootfs import (
    CONTAINER,
    IMAGES,
    VM,
    Kind,
    Progress,
    RootfsImage,
    member_packages,
    remove_tree,
)
from clusterproof.lab.substrates.container import Container
from clusterproof.lab.substrates.machine import CommandTimeoutError, Machine, Result
from clusterproof.lab.substrates.qemu_vm import VirtualMachine, VirtualMachines

DATA = Path(__file__).parents[1] / "cloud-init"
# Seconds for installing everything over a slow network.
INSTALL = 1800.0
PULL = 1800.0
SHUTDOWN = 120.0
# What cloud-init's status ends with when all is done: with 2 where it has remarks that it could go on after.
SUCCEEDED = (0, 2)
KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "own": "/etc/apt/keyrings/clusterproof.asc",
}
# What is asked for in user-data beside the product and a member's own packages.
TOOLS = ("ca-certificates", "curl", "gpg")
# Where a snap of somebody's own is put, for which its installation waits.
SNAP_FILE = "/root/clusterproof.snap"
# cloud-init has done its work: members have nothing it has learnt, and containers start without it.
CLEAN = (
    "cloud-init clean --logs && "
    f"rm -rf /run/clusterproof-install {SNAP_FILE} /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /root/.ssh"
)
DISABLE = {"container": "touch /etc/cloud/cloud-init.disabled", "vm": "true"}
# What a server puts into an image of this kind: cloud-init's NoCloud seed, from the instance's configuration.
SEED = "/var/lib/cloud/seed/nocloud-net"
TEMPLATES = {
    "user-data": '{{ config_get("cloud-init.user-data", "#cloud-config") }}',
    "meta-data": "instance-id: {{ container.name }}\nlocal-hostname: {{ container.name }}\n",
}

_ENVIRONMENT = templates(DATA)


class Base(BaseModel):
    """An image to begin with: one of a simplestreams server, or a suite of Debian of which it is made here.

    ``machine`` is the suite that a virtual machine has where that of a server is for containers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str = ""
    protocol: str = "simplestreams"
    alias: str = ""
    suite: str = ""
    machine: str = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.suite) == bool(self.server and self.alias):
            raise ValueError("give either a suite, or a server with an alias")
        if bool(self.server) != bool(self.machine):
            raise ValueError("give machine, the suite of virtual machines, beside a server and only there")
        return self


class BaseBuild(CatalogueBuild):
    """Debian with cloud-init, made as a member's image is, without a product."""

    @property
    def asked(self) -> str:
        """The name without the product."""
        return f"base-{self.source.suite}" if isinstance(self.source, Source) else self.version


def base_of(build: ChannelBuild) -> Base:
    """Return the image that ``build`` is installed in. Raises UsageError."""
    file = DATA / "images.toml"
    try:
        images = tomllib.loads(file.read_text("utf-8"))
        if build.source.image not in images:
            raise UsageError(f'{build.name}: image "{build.source.image}" is none of {", ".join(images)}')
        return Base.model_validate(images[build.source.image])
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file.name} is not TOML: {error}") from None
    except ValidationError as error:
        raise UsageError(f"{file.name}: {build.source.image}: {explain(error)}") from None


def base_build(build: ChannelBuild) -> BaseBuild:
    """Return what is made on this machine for an image of Debian with cloud-init."""
    base = base_of(build)
    source = Source(kind="debian", suite=base.suite or base.machine)
    facts = build.facts.model_copy(update={"packages": ("cloud-init",), "vm_packages": ()})
    return BaseBuild(facts, build.version, build.track, source)


def user_data(
    build: ChannelBuild, mirror: mirrors.Mirror, images_dir: Path = IMAGES, kind: Kind = CONTAINER
) -> str:
    """Return the user-data that installs ``build``. Raises LabError where the mirror is needed and unknown."""
    source = build.source
    packages = sorted({*member_packages(images_dir), *TOOLS})
    if source.apt is None:
        return _ENVIRONMENT.get_template("install-snap.yaml").render(
            packages=packages,
            snap=source.snap,
            channel=source.channel,
            revision=source.revision,
            file=SNAP_FILE if source.file else "",
        )
    apt = source.apt
    uri = apt.uri or mirror.archive
    if not uri:
        raise LabError(f"{build.name} needs the address of a Debian archive; give one with --mirror")
    return _ENVIRONMENT.get_template("install-apt.yaml").render(
        packages=packages,
        product=[*build.facts.packages, *(build.facts.vm_packages if kind is VM else ())],
        uri=uri,
        suite=apt.suite,
        key=apt.key,
        fingerprint=apt.fingerprint,
        keyring=KEYRINGS["own" if apt.key else "debian"],
        pin=apt.pin.release if apt.pin else "",
        pinned=" ".join(apt.pin.packages) if apt.pin else "",
    )


def seeded(metadata: Path) -> bytes:
    """Return a server's description of the image ``metadata``, with cloud-init's seed among its templates."""
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
    """Let the host get an image of its remote; return its fingerprint. Raises LabError."""
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
    build: ChannelBuild, fingerprint: str, host: Host, progress: Progress, text: str, root: Path
) -> str:
    """Install ``build`` by a first boot of image ``fingerprint`` with user-data ``text``; fill ``root`` with it.

    Returns the version that was installed. Raises LabError.
    """
    image = Image(build.installed(build.version), build.facts, "", fingerprint)
    machine = Container(host, _name(host), image, config={"cloud-init.user-data": text})
    return _fill(build, machine, progress, lambda: _fetch(machine, host, root))


def fill_in_machine(
    build: ChannelBuild, base: RootfsImage, host: Host, progress: Progress, text: str, root: Path
) -> str:
    """Do the same as ``fill_in_container`` in a virtual machine of the lab's own with the image ``base``."""
    image = Image(build.installed(build.version), build.facts, base.digest, "")
    cluster = VirtualMachines(host.run)
    machine = VirtualMachine(host.run, _name(host), image, 1, cluster.segment, cluster.keys, user_data=text)
    return _fill(build, machine, progress, lambda: _fetch_disk(machine, base, root))


def _name(host: Host) -> str:
    return f"cp-{host.run.id[-4:]}-{host.run.number():x}-bake"


def _fill(build: ChannelBuild, machine: Machine, progress: Progress, fetch: Callable[[], None]) -> str:
    """Let ``machine`` install ``build`` at its first boot, and ``fetch`` what it has become."""
    try:
        progress("booting")
        machine.create()
        machine.start()
        if isinstance(build, SnapFile):
            machine.write(f"{SNAP_FILE}.part", build.path.read_bytes())
            _do(build, machine, f"mv {SNAP_FILE}.part {SNAP_FILE}")
        progress("installing by cloud-init")
        _wait(build, machine)
        version = _version(build, machine)
        _do(build, machine, f"{CLEAN} && {DISABLE[machine.substrate]}")
        machine.stop(timeout=SHUTDOWN)
        progress("fetching")
        fetch()
    finally:
        machine.destroy()
    return version


def _wait(build: ChannelBuild, machine: Machine) -> None:
    """Wait until cloud-init has ended. Raises LabError with its own words where it did not succeed."""
    try:
        done = machine.execute(["cloud-init", "status", "--wait", "--long"], timeout=INSTALL)
    except CommandTimeoutError as error:
        raise LabError(f"{build.name}: cloud-init has not ended after {INSTALL:g} s") from error
    if done.rc not in SUCCEEDED or "status: done" not in done.stdout:
        log = machine.execute(["tail", "-n", "8", "/var/log/cloud-init-output.log"], timeout=30)
        lines = [*done.stdout.splitlines(), *log.stdout.splitlines()]
        said = " | ".join(line.strip() for line in lines if line.strip())
        raise LabError(f"{build.name} could not be installed by cloud-init: {said}")


def snap_version(reported: str, revision: int) -> str:
    """Return the identity of a snap that says it is version ``reported``."""
    return f"{reported}+snap.{revision}"


def _version(build: ChannelBuild, machine: Machine) -> str:
    """Return the version of what was installed; of a snap with its revision, which is its identity."""
    if build.source.snap:
        reported = _do(build, machine, f"{build.facts.daemon} --version").stdout.split()[0]
        listed = _do(build, machine, f"snap list {build.source.snap}").stdout.splitlines()[1].split()
        if isinstance(build, SnapFile):
            return build.identity(reported)
        if listed[2] != str(build.source.revision):
            raise LabError(f"{build.name}: revision {listed[2]} was installed, not {build.source.revision}")
        return snap_version(reported, build.source.revision)
    query = shlex.join(["dpkg-query", "--show", "--showformat=${Version}", build.facts.packages[0]])
    return _do(build, machine, query).stdout.strip()


def _do(build: ChannelBuild, machine: Machine, command: str) -> Result:
    done = machine.execute(["sh", "-c", command], timeout=120)
    if not done.ok:
        raise LabError(f"{build.name}: {command} ended with {done.rc}: {done.stderr.strip()[-300:]}")
    return done


def _fetch(machine: Container, host: Host, root: Path) -> None:
    """Put the machine's file system into ``root``, by way of an image that the host makes of it."""
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
        # Its own file system, devices and set-user-id programs among it, which a filter would take away.
        tar.extractall(unpacked, numeric_owner=True, filter="fully_trusted")  # noqa: S202 - of our own host
    archive.unlink()
    (unpacked / "rootfs").rename(root)
    remove_tree(unpacked)


def _fetch_disk(machine: VirtualMachine, base: RootfsImage, root: Path) -> None:
    """Put what is on the machine's disk into ``root``, and what has booted it."""
    disk = root.with_name("published.img")
    machine.export(disk)
    argv = [*rootfs.GUARD, *rootfs.UNPACK[VM.name](disk, base, root)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip() or done.returncode
        raise LabError(f"what machine {machine.name} has become cannot be read: {said}")
    disk.unlink()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))

