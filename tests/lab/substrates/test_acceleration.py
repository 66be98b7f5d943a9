"""KVM or emulation: decided by what boots, once for every start of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images.rootfs import RootfsImage
from clusterproof.lab.substrates import acceleration, qemu
from tests.fakes import stand_in

BOOTS = "echo 'clusterproof: the machine runs' >console.log"
HANGS = "mkfifo hang; exec cat <>hang"
ENDS = "echo 'qemu: kvm_init failed' >&2; exit 1"


@pytest.fixture
def image(tmp_path) -> RootfsImage:
    return RootfsImage("d1" * 32, tmp_path / "images" / "root.img", "1")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine of the test's own, which has /dev/kvm; ``tcg`` hangs unless the test says otherwise."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "boot").write_text("boot-1")
    (tmp_path / "kvm").touch()
    (tmp_path / "lab").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    monkeypatch.setattr(acceleration, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(acceleration, "_BOOT_ID", tmp_path / "boot")
    monkeypatch.setattr(acceleration, "LIMITS", {"kvm": 20.0, "tcg": 20.0})
    for tool in ("qemu-img", "mke2fs", "xorriso"):
        stand_in(tmp_path / "bin", tool, "true")


@pytest.fixture
def qemus(tmp_path):
    """Make a QEMU that does this with each accelerator; its starts are lines of the file "started"."""

    def make(*, kvm: str, tcg: str, version: str = "10.0.2") -> None:
        body = f"""
            case "$1" in --version) echo 'QEMU emulator version {version} (Debian)'; exit ;; esac
            case "$*" in *"-accel kvm"*) echo kvm >>{tmp_path}/started; {kvm} ;;
            *) echo tcg >>{tmp_path}/started; {tcg} ;; esac"""
        stand_in(tmp_path / "bin", qemu.BINARY, body)

    return make


def started(tmp_path: Path) -> list[str]:
    return (tmp_path / "started").read_text().split()


def test_kvm_where_a_kernel_boots_with_it(image, qemus, tmp_path):
    qemus(kvm=BOOTS, tcg=BOOTS)
    assert acceleration.chosen(image) == "kvm"
    assert started(tmp_path) == ["kvm"]


def test_emulation_where_kvm_ends(image, qemus):
    qemus(kvm=ENDS, tcg=BOOTS)
    assert acceleration.chosen(image) == "tcg"
    assert acceleration.why_not(image, "kvm") == "it ended: qemu: kvm_init failed"


def test_emulation_where_kvm_hangs(image, qemus, monkeypatch):
    qemus(kvm=HANGS, tcg=BOOTS)
    monkeypatch.setattr(acceleration, "LIMITS", {"kvm": 0.2, "tcg": 20.0})
    assert acceleration.chosen(image) == "tcg"
    assert acceleration.why_not(image, "kvm") == "the kernel did not come up within 0.2 s"


def test_emulation_where_there_is_no_kvm(image, qemus, tmp_path):
    (tmp_path / "kvm").unlink()
    qemus(kvm=BOOTS, tcg=BOOTS)
    assert acceleration.chosen(image) == "tcg"
    assert started(tmp_path) == ["tcg"]


def test_where_neither_boots_both_are_named(image, qemus):
    qemus(kvm=ENDS, tcg="exit 3")
    with pytest.raises(LabError) as raised:
        acceleration.chosen(image)
    assert str(raised.value) == (
        "no VM boots on this computer with QEMU 10.0.2 (Debian): "
        "kvm: it ended: qemu: kvm_init failed; tcg: it ended: no output"
    )
    assert not (runs.folder() / "acceleration.json").exists()


def test_is_found_out_once(image, qemus, tmp_path):
    qemus(kvm=BOOTS, tcg=BOOTS)
    assert [acceleration.chosen(image) for _ in range(3)] == ["kvm"] * 3
    assert started(tmp_path) == ["kvm"]


@pytest.mark.parametrize("change", ["boot", "qemu", "image", "kvm", "torn"])
def test_is_found_out_again_when_something_changes(image, qemus, tmp_path, change):
    qemus(kvm=BOOTS, tcg=BOOTS)
    acceleration.chosen(image)
    match change:
        case "boot":
            (tmp_path / "boot").write_text("boot-2")
        case "qemu":
            qemus(kvm=BOOTS, tcg=BOOTS, version="11.1.0")
        case "image":
            image = RootfsImage("d2" * 32, image.rootfs, "2")
        case "kvm":
            (tmp_path / "kvm").unlink()
        case "torn":
            (runs.folder() / "acceleration.json").write_text('{"a": ')
    acceleration.chosen(image)
    assert len(started(tmp_path)) == 2


def test_without_qemu_it_says_what_to_do(image, monkeypatch, tmp_path):
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(LabError, match=r"virtual machines need qemu-system-x86_64, .*; run lab/bootstrap --vm"):
        acceleration.chosen(image)
