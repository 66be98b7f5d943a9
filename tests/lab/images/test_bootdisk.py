"""Disks that boot by themselves: what is on them, and what is said where they cannot be made."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images import bootdisk
from clusterproof.lab.images.rootfs import RootfsImage

real = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in bootdisk.TOOLS), reason="sfdisk, mtools or qemu-img is missing"
)


@pytest.fixture
def files(tmp_path, monkeypatch) -> RootfsImage:
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "root.img").write_bytes(b"R" * (2 << 20))
    (folder / "vmlinuz").write_bytes(b"kernel")
    (folder / "initrd").write_bytes(b"initial")
    loader = tmp_path / "loader.efi"
    loader.write_bytes(b"loader")
    monkeypatch.setattr(bootdisk, "LOADER", loader)
    return RootfsImage("d1" * 32, folder / "root.img", "7.0.2-3")


def unpacked(disk: Path) -> Path:
    raw = disk.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True, timeout=60)
    return raw


def text(raw: Path, name: str) -> str:
    done = subprocess.run(
        ["mtype", "-i", f"{raw}@@{bootdisk.BEGIN}", f"::/{name}"], check=True, timeout=60, capture_output=True
    )
    return done.stdout.decode()


@real
def test_the_firmware_finds_the_loader_and_the_kernel_its_root(files):
    raw = unpacked(bootdisk.of(files, "console=ttyS0 clusterproof.state=/var/lib/incus"))
    assert text(raw, "EFI/BOOT/BOOTX64.EFI") == "loader"
    assert (text(raw, "vmlinuz"), text(raw, "initrd")) == ("kernel", "initial")
    assert text(raw, "loader/loader.conf") == "timeout 0\n"
    assert text(raw, "loader/entries/member.conf").splitlines()[1:] == [
        "linux /vmlinuz",
        "initrd /initrd",
        "options console=ttyS0 clusterproof.state=/var/lib/incus",
    ]
    table = subprocess.run(["sfdisk", "--json", raw], check=True, capture_output=True, timeout=60)
    first, second = json.loads(table.stdout)["partitiontable"]["partitions"]
    assert (first["type"].lower(), second["type"].lower()) == bootdisk.PARTS
    with raw.open("rb") as file:
        file.seek(second["start"] * bootdisk.SECTOR)
        assert file.read(2 << 20) == b"R" * (2 << 20)


@real
def test_it_is_made_once_for_the_same_arguments(files):
    first = bootdisk.of(files, "a")
    made = first.stat().st_mtime_ns
    assert bootdisk.of(files, "a") == first
    assert first.stat().st_mtime_ns == made
    assert bootdisk.of(files, "b") != first
    assert [path.suffix for path in files.folder.glob("boot-*")] == [".qcow2", ".qcow2"]


def test_what_is_missing_is_named_with_the_way_out(files, monkeypatch):
    monkeypatch.setattr(bootdisk, "TOOLS", {"no-such-tool": "mtools"})
    monkeypatch.setattr(bootdisk, "LOADER", Path("/no/loader.efi"))
    assert bootdisk.missing() == ["mtools", "systemd-boot-efi"]
    with pytest.raises(LabError, match=r"needs mtools, systemd-boot-efi; run lab/bootstrap --vm$"):
        bootdisk.of(files, "a")


@real
def test_a_tool_that_fails_leaves_nothing_behind(files):
    files.kernel.unlink()
    with pytest.raises(LabError, match=r"mcopy failed: .*vmlinuz"):
        bootdisk.of(files, "a")
    assert list(files.folder.glob("boot-*")) == []


def test_a_server_is_told_the_same_each_time(files):
    told = bootdisk.metadata(files, "incus@7.0.2")
    assert told == bootdisk.metadata(files, "incus@7.0.2")
    with tarfile.open(fileobj=io.BytesIO(told)) as tar:
        member = tar.extractfile("metadata.yaml")
        assert member is not None
        found = yaml.safe_load(member.read())
    assert found["properties"]["clusterproof.build"] == "incus@7.0.2"
    assert found["creation_date"] > 0
