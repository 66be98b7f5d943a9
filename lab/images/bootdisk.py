"""Bootable disks, for lab hosts that run members as VMs (experimental).

The lab's own QEMU VMs get their kernel from outside of the disk. On a server the firmware boots from the disk
itself: from systemd-boot, with the same kernel and root file system.
"""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import tarfile
from pathlib import Path

import yaml

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import run_tool
from clusterproof.lab.images.rootfs import RootfsImage

LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
TOOLS = {"sfdisk": "fdisk", "mformat": "mtools", "mcopy": "mtools", "qemu-img": "qemu-utils"}
MIB = 1 << 20
# Offset and size of the EFI system partition.
BEGIN, EFI = 1 * MIB, 64 * MIB
# The types of the two partitions (UEFI specification, 5.3; Discoverable Partitions Specification).
PARTS = ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
# UEFI starts a file of this name where no boot entry is set up.
EFI_FILE = "EFI/BOOT/BOOTX64.EFI"
SECTOR = 512
# Seconds for copying a whole disk.
COPY = 600.0


def missing() -> list[str]:
    """Return the packages that have to be installed before such disks can be made."""
    absent = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    return sorted(absent | (set() if LOADER.exists() else {"systemd-boot-efi"}))


def of(files: RootfsImage, arguments: str) -> Path:
    """Return a disk (qcow2) that boots ``files`` with the kernel's ``arguments``, made where it is missing.

    Raises LabError.
    """
    name = hashlib.sha256(f"{arguments} {LOADER.stat().st_size if LOADER.exists() else 0}".encode()).hexdigest()
    disk = files.folder / f"boot-{name[:16]}.qcow2"
    with runs.lock(f"boot-{files.digest}"):
        if not disk.exists():
            if absent := missing():
                raise LabError(
                    f"making a bootable disk needs {', '.join(absent)}; run lab/bootstrap --vm"
                )
            _make(files, arguments, disk)
    return disk


def metadata(files: RootfsImage, build: str) -> bytes:
    """Return the disk's metadata for a server: a tar with ``metadata.yaml``, the same for every call."""
    described = {
        "architecture": platform.machine(),
        "creation_date": 1,
        "properties": {
            "description": f"clusterproof member, {build}",
            "clusterproof.build": build,
            "clusterproof.version": files.package_version,
            "clusterproof.digest": files.digest,
        },
    }
    content = yaml.safe_dump(described).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("metadata.yaml")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _make(files: RootfsImage, arguments: str, disk: Path) -> None:
    raw, efi = disk.with_suffix(".raw.partial"), disk.with_suffix(".efi.partial")
    partial = disk.with_suffix(".partial")
    size = files.rootfs.stat().st_size
    parts = ((efi, BEGIN, EFI, PARTS[0]), (files.rootfs, BEGIN + EFI, size, PARTS[1]))
    try:
        _make_efi(efi, files, arguments)
        with raw.open("wb") as file:
            file.truncate(BEGIN + EFI + size + MIB)
        lines = [f"start={at // SECTOR}, size={size // SECTOR}, type={kind}" for _, at, size, kind in parts]
        run_tool(["sfdisk", "--quiet", str(raw)], "\n".join(["label: gpt", *lines]))
        for part, at, _, _ in parts:
            to = [f"of={raw}", f"seek={at // MIB}", "bs=1M", "conv=notrunc,sparse", "status=none"]
            run_tool(["dd", f"if={part}", *to], timeout=COPY)
        forms = ["-q", "-W", "-c", "-f", "raw", "-O", "qcow2"]
        run_tool(["qemu-img", "convert", *forms, str(raw), str(partial)], timeout=COPY)
        partial.rename(disk)
    except OSError as error:
        raise LabError(f"cannot make {disk}: {error.strerror or error}") from error
    finally:
        for path in (raw, efi, partial):
            path.unlink(missing_ok=True)


def _make_efi(file: Path, files: RootfsImage, arguments: str) -> None:
    """Make the EFI system partition, with systemd-boot, which starts the kernel at once."""
    with file.open("wb") as out:
        out.truncate(EFI)
    run_tool(["mformat", "-i", str(file), "-F", "-v", "BOOT", "::"])
    run_tool(["mmd", "-i", str(file), "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"])
    for source, name in ((LOADER, EFI_FILE), (files.kernel, "vmlinuz"), (files.initrd, "initrd")):
        run_tool(["mcopy", "-i", str(file), str(source), f"::/{name}"])
    texts = {
        "loader/loader.conf": "timeout 0\n",
        "loader/entries/member.conf": (
            f"title member\nlinux /vmlinuz\ninitrd /initrd\noptions {arguments}\n"
        ),
    }
    for name, text in texts.items():
        run_tool(["mcopy", "-i", str(file), "-", f"::/{name}"], text)
