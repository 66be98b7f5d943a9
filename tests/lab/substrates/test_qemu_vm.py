"""Virtual machines: their places on this machine, and how one is found, entered and told to be gone."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import paramiko
import pytest

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.substrates import qemu_vm, ssh_access
from clusterproof.lab.substrates.qemu import Segment
from clusterproof.lab.substrates.qemu_vm import VirtualMachine, VirtualMachines, disk_of
from tests.fakes import image


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    run = Run.new()
    run.hold()
    return run


@pytest.mark.parametrize(("processors", "places"), [(None, 1), (1, 1), (2, 1), (3, 1), (8, 4)])
def test_a_place_for_every_two_processors(monkeypatch, processors, places):
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    held = []
    for _ in range(places):
        one = qemu_vm.slot(5)
        one.__enter__()
        held.append(one)
    with pytest.raises(LabError, match="other runs have held all slots for clusters of VMs"), qemu_vm.slot(0):
        pytest.fail("there is none left")
    held.pop().__exit__(None, None, None)
    with qemu_vm.slot(5):
        pass
    for one in held:
        one.__exit__(None, None, None)


def test_a_place_is_given_back_after_a_failure():
    with pytest.raises(ValueError, match="x"), qemu_vm.slot(5):
        raise ValueError("x")
    with qemu_vm.slot(0.1):
        pass


class TestKeys:
    def test_belong_to_root_alone_and_fit_each_other(self, run):
        keys = VirtualMachines(run).keys
        assert stat.S_IMODE(keys.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys.iterdir())
        for name in ("client", "host"):
            loaded = paramiko.Ed25519Key.from_private_key_file(str(keys / name))
            assert (keys / f"{name}.pub").read_text().split()[1] == loaded.get_base64()
        assert (keys / "known_hosts").read_text() == f"member {(keys / 'host.pub').read_text()}\n"

    def test_of_two_clusters_differ(self, run):
        one, other = VirtualMachines(run), VirtualMachines(run)
        assert (one.keys / "client").read_text() != (other.keys / "client").read_text()

    def test_that_are_there_are_used(self, run):
        one = VirtualMachines(run)
        before = (one.keys / "client").read_text()
        assert (VirtualMachines(run, one.keys).keys / "client").read_text() == before


def machine(run: Run, name: str = "cp-ab12-1-m2", number: int = 2) -> VirtualMachine:
    return VirtualMachine(run, name, image(), number, Segment(23456), VirtualMachines(run).keys)


def test_another_process_enters_a_machine(run):
    made = machine(run)
    assert ssh_access.ssh_commands(run) == {}
    made._enter_by("127.0.0.1", 40001)
    (name, entering), *others = ssh_access.ssh_commands(run).items()
    assert (name, others) == ("m2", [])
    assert entering[0] == "ssh"
    assert entering[entering.index("-p") + 1] == "40001"
    assert entering[entering.index("-i") + 1] == str(made.keys / "client")
    assert entering[-1] == "root@127.0.0.1"


def test_a_machine_whose_qemu_has_ended_says_so_at_once(run):
    made = machine(run)
    with pytest.raises(LabError, match=r"member cp-ab12-1-m2 is gone: QEMU has ended: no output"):
        made.execute(["true"], timeout=600)


def test_a_console_that_is_not_there_says_nothing(run):
    assert machine(run).console() == ""


def test_a_disk_that_is_missing_says_what_to_do():
    expected = r"the disk of incus@7\.0\.2.* is missing or damaged; run clusterproof bake"
    with pytest.raises(LabError, match=expected):
        disk_of(dataclasses.replace(image(), digest="0" * 64))


def test_a_disk_that_is_full(run, monkeypatch):
    monkeypatch.setattr(qemu_vm, "ROOM", 1 << 62)
    with pytest.raises(LabError, match=f"the disk below {runs.folder()} is full"):
        VirtualMachines(run).check_room()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(run):
    made = machine(run)
    run.folder.chmod(0o500)
    with pytest.raises(LabError, match=r"cannot make VM cp-ab12-1-m2: .*Permission denied"):
        made.create()
    run.folder.chmod(0o700)


def test_destroying_what_was_never_made_does_nothing(run):
    made = machine(run)
    made.destroy()
    assert not Path(made.folder).exists()
