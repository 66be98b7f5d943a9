"""Baking by cloud-init: a build is installed at the first boot of an image that has cloud-init.

A container of the base image is started with user-data from ``lab/cloud-init``, and the result is packed as a
member's image. An image for VMs is made in the same way, of a VM with Debian.
"""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.sources import SNAP_FILES
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.templates import templates
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import prefix
from clusterproof.lab.images.image import Image
from clusterproof.lab.images.kinds import CONTAINER, VM, Kind
from clusterproof.lab.images.leftovers import remove_tree
from clusterproof.lab.images.logged_commands import Progress, guarded
from clusterproof.lab.images.recipe import CLOUD_INIT, IMAGES, member_packages, product_packages
from clusterproof.lab.images.rootfs import RootfsImage
from clusterproof.lab.substrates.container import Container
from clusterproof.lab.substrates.machine import CommandTimeoutError, Machine, Result
from clusterproof.lab.substrates.qemu_vm import VirtualMachine, VirtualMachines

# Seconds for installing everything over a slow network.
INSTALL = 1800.0
SHUTDOWN = 120.0
# The exit statuses of "cloud-init status" after an installation: 2 is success with warnings.
SUCCEEDED = (0, 2)
# Installed by the first boot beside the product and a member's packages.
TOOLS = ("ca-certificates", "curl", "gpg")
# What the script that installs the product has printed.
LOG = "/run/clusterproof-install.log"
# Members keep nothing of what cloud-init learnt at the first boot, and containers start without it.
CLEAN = (
    "cloud-init clean --logs && "
    f"rm -rf /run/clusterproof-install {LOG} {SNAP_FILES} /var/lib/apt/lists/* /var/cache/apt/archives/*.deb "
    "/root/.ssh"
)
DISABLE = {"container": "touch /etc/cloud/cloud-init.disabled", "vm": "true"}
_ENVIRONMENT = templates(CLOUD_INIT)


def user_data(
    build: CatalogueBuild, mirror: Mirror, images_dir: Path = IMAGES, kind: Kind = CONTAINER
) -> str:
    """Return the user-data that installs ``build``. Raises LabError where the mirror is needed and unknown."""
    source = build.first_boot
    return _ENVIRONMENT.get_template(source.template).render(
        packages=sorted({*member_packages(images_dir), *TOOLS}),
        folder=SNAP_FILES,
        **source.values(build, product_packages(build, kind), mirror.archive),
    )


def fill_in_container(
    build: CatalogueBuild,
    fingerprint: str,
    host: Host,
    progress: Progress,
    text: str,
    root: Path,
    files: Sequence[Path] = (),
) -> str:
    """Install ``build`` at the first boot of image ``fingerprint`` with user-data ``text``, and fill ``root``.

    ``files`` are handed over to the installation. Returns the version that was installed. Raises LabError.
    """
    image = Image(build.installed(build.version), build.facts, "", fingerprint)
    machine = Container(host, _name(host), image, config={"cloud-init.user-data": text})
    return _fill(build, machine, progress, files, lambda: _fetch(machine, host, root))


def fill_in_vm(
    build: CatalogueBuild,
    base: RootfsImage,
    host: Host,
    progress: Progress,
    text: str,
    root: Path,
    files: Sequence[Path] = (),
) -> str:
    """Do the same as ``fill_in_container`` in a QEMU VM with the image ``base``."""
    image = Image(build.installed(build.version), build.facts, base.digest, "")
    cluster = VirtualMachines(host.run)
    machine = VirtualMachine(host.run, _name(host), image, 1, cluster.segment, cluster.keys, user_data=text)
    return _fill(build, machine, progress, files, lambda: _fetch_disk(machine, base, root))


def _name(host: Host) -> str:
    return f"{prefix(host.run)}-bake"


def _fill(
    build: CatalogueBuild,
    machine: Machine,
    progress: Progress,
    files: Sequence[Path],
    fetch: Callable[[], None],
) -> str:
    """Let ``machine`` install ``build`` at its first boot, and ``fetch`` its file system; return the version."""
    source = build.first_boot
    try:
        progress("booting")
        machine.create()
        machine.start()
        if files:
            _do(build, machine, f"mkdir {SNAP_FILES}.part")
            for number, file in enumerate(files, 1):
                machine.write(f"{SNAP_FILES}.part/{number}.snap", file.read_bytes())
            _do(build, machine, f"mv {SNAP_FILES}.part {SNAP_FILES}")
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
        # What was to be installed says why it was not; what comes before that, cloud-init does.
        own = machine.execute(["tail", "-n", "8", LOG], timeout=30).stdout.splitlines()
        log = machine.execute(["tail", "-n", "8", "/var/log/cloud-init-output.log"], timeout=30)
        lines = own or [*done.stdout.lstrip(".").splitlines(), *log.stdout.splitlines()]
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
