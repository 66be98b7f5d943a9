"""The inventory: all that this lab has is found with its owner, and only what nobody uses is removed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from filelock import FileLock

from clusterproof.lab.core import runs
from clusterproof.lab.core.processes import Process
from clusterproof.lab.core.runs import Run, owner
from clusterproof.lab.host import bridge, inventory, loop_devices
from clusterproof.lab.host.inventory import Item, clear, summary, take, unused
from clusterproof.lab.host.names import NETWORK, interface, prefix
from clusterproof.lab.host.private_server import PrivateServer
from tests.fakes import make_interface, stay_alone

DEAD = "20260102T030405Z-dead"


class Computer:
    """This computer as the inventory sees it: folders in place of /sys and /proc, and commands on them."""

    def __init__(self, place: Path, monkeypatch) -> None:
        stay_alone(monkeypatch, place / "lab")
        self.interfaces = bridge.INTERFACES
        self.cgroups, self.blocks, self.mounts = place / "cgroup", place / "block", place / "mountinfo"
        self.cgroups.mkdir()
        self.mounts.write_text(f"30 1 0:26 / {self.cgroups} rw shared:4 - cgroup2 cgroup2 rw\n")
        self.chains = ["fwd.clusterproof0", "in.clusterproof0", "fwd.incusbr0"]
        monkeypatch.setattr(loop_devices, "BLOCKS", self.blocks)
        monkeypatch.setattr(inventory, "MOUNTS", self.mounts)
        monkeypatch.setattr(bridge, "_run", self.run)
        monkeypatch.setattr(loop_devices, "detach", self.detach)
        monkeypatch.setattr("shutil.which", lambda _: "/usr/sbin/nft")
        self.stuck: set[str] = set()
        self.detached: list[str] = []
        self.detaches = True

    def run(self, *argv: str) -> str:
        """Do what ``ip``, ``losetup`` and ``nft`` do."""
        if argv[-1] in self.stuck:
            return ""
        match argv:
            case ("ip", "link", "delete", name):
                (self.interfaces / name / "ifindex").unlink()
                (self.interfaces / name).rmdir()
            case ("nft", "-j", "list", "chains", "inet"):
                found = [{"chain": {"table": "incus", "name": name}} for name in self.chains]
                return json.dumps({"nftables": [{"metainfo": {}}, *found]})
            case ("nft", "delete", "chain", "inet", "incus", name):
                self.chains.remove(name)
            case _:
                raise AssertionError(argv)
        return ""

    def detach(self, device: str) -> None:
        """Do what the kernel does: not at once, as something may still have it mounted."""
        self.detached.append(device)
        if self.detaches:
            (self.blocks / device.rpartition("/")[2] / "loop" / "backing_file").unlink()

    def member(self, run: Run) -> str:
        """Let a member of ``run`` leave its cgroup and its interface; return its name."""
        name = f"{prefix(run)}-1-m1"
        place = self.cgroups / f"lxc.payload.clusterproof_{name}"
        (place / "init.scope").mkdir(parents=True)
        make_interface(self.interfaces, interface(name))
        return name

    def loop(self, name: str, file: Path) -> None:
        place = self.blocks / name / "loop"
        place.mkdir(parents=True)
        (place / "backing_file").write_text(f"{file}\n")


@pytest.fixture
def computer(tmp_path, monkeypatch) -> Computer:
    return Computer(tmp_path, monkeypatch)


@pytest.fixture
def private(computer, monkeypatch) -> Computer:
    """A private server has run here, and no other lab's does."""
    monkeypatch.setattr(bridge, "served_from", lambda _: None)
    (runs.folder() / "host").mkdir(parents=True)
    return computer


def kinds(items: list[Item]) -> set[str]:
    return {item.kind for item in items}


@pytest.mark.usefixtures("computer")
def test_a_lab_that_has_nothing():
    assert take() == []
    assert clear() == []


def test_what_members_of_a_dead_run_left_is_removed(computer):
    name = computer.member(Run(DEAD))
    make_interface(computer.interfaces, "vethabcdef12")
    (computer.cgroups / "lxc.payload.clusterproof_cp-ffff-dead-1-1-m1").mkdir()
    assert {item.owner for item in unused()} == {"run ...-dead"}
    assert kinds(unused()) == {"cgroup", "interface"}
    (line,) = clear()
    assert line.startswith("run ...-dead left 1 cgroup (")
    assert line.endswith(f"1 interface ({interface(name)}): removed")
    assert sorted(path.name for path in computer.interfaces.iterdir()) == [NETWORK, "vethabcdef12"]
    assert [path.name for path in computer.cgroups.iterdir()] == ["lxc.payload.clusterproof_cp-ffff-dead-1-1-m1"]


def test_what_a_living_run_has_stays(computer):
    run = Run.new()
    run.hold()
    computer.member(run)
    assert {(item.owner, item.used) for item in take()} == {(f"run {run.id}", True)}
    assert clear() == []
    assert len(take()) == 2
    run.forget()
    assert kinds(unused()) == {"cgroup", "interface"}


def test_what_goes_with_a_private_server(private):
    private.loop("loop0", runs.folder() / "host/disks/clusterproof.img")
    private.loop("loop1", Path("/srv/other.img"))
    run = Run.new()
    run.hold()
    assert kinds(take()) == {"loop device", "bridge", "nftables chain"}
    assert unused() == []
    run.forget()
    (line,) = clear()
    assert line == (
        "the private server left 1 bridge (clusterproof0), 1 loop device (/dev/loop0), "
        "2 nftables chains (fwd.clusterproof0, in.clusterproof0): removed"
    )
    assert take() == []
    assert private.chains == ["fwd.incusbr0"]


@pytest.mark.usefixtures("private")
def test_the_bridge_of_another_server_is_left_alone(monkeypatch):
    monkeypatch.setattr(bridge, "served_from", lambda _: Path("/srv/other/host"))
    assert take() == []
    monkeypatch.setattr(bridge, "served_from", lambda _: runs.folder() / "host")
    assert kinds(take()) == {"bridge", "nftables chain"}


@pytest.mark.usefixtures("computer")
def test_without_a_private_server_the_bridge_is_the_installed_server_s():
    assert bridge.index()
    assert take() == []


def test_what_cannot_be_removed_is_reported(computer):
    name = interface(computer.member(Run(DEAD)))
    computer.stuck.add(name)
    removed, stuck = clear()
    assert "cgroup" in removed
    assert stuck == f"run ...-dead left 1 interface ({name}): STILL THERE"


@pytest.mark.usefixtures("computer")
def test_processes_of_a_dead_run_are_ended():
    run = Run(DEAD)
    process = Process(run.folder, "cp-m1")
    process.start(["sleep", "60"])
    pid = process.pid()
    run.hold()
    assert unused() == []
    os.close(run._held)
    assert [str(item) for item in unused()] == [f"process {pid} cp-m1"]
    assert clear() == [f"run {DEAD} left 1 process ({pid} cp-m1): removed"]
    assert process._child.wait(5) == -signal.SIGKILL


def test_mounts_of_a_bake_that_was_killed(computer, monkeypatch):
    images = runs.folder() / "images"
    images.mkdir(parents=True)
    point = f"{images}/ab12.partial/root/proc"
    computer.mounts.write_text(computer.mounts.read_text() + f"31 1 0:5 / {point} rw - proc proc rw\n")
    monkeypatch.setattr(inventory, "clear_leftovers", lambda _: computer.mounts.write_text(""))
    with FileLock(images / "ab12.lock"):
        assert [(item.owner, item.used) for item in take()] == [("baking", True)]
        assert clear() == []
    assert clear() == [f"baking left 1 mount ({point}): removed"]


@pytest.mark.usefixtures("alone")
def test_instances_and_volumes_on_the_host(prepared, server, monkeypatch, tmp_path):
    monkeypatch.setattr(inventory, "MOUNTS", tmp_path / "mountinfo")
    (tmp_path / "mountinfo").touch()
    server.add_instance("a", run="dead", owner=owner())
    server.add_volume("b", run=prepared.run.id, owner=owner())
    server.add_instance("c", run="dead", owner="another lab")
    found = {(str(item), item.owner, item.used) for item in take(prepared)}
    assert found == {
        ("instance a", "run dead", False),
        ("volume b", f"run {prepared.run.id}", True),
    }


def test_many_of_a_kind_are_counted():
    items = [Item("run x", "process", str(number), used=False) for number in range(5)]
    assert summary(items) == "5 processes (0, 1, 2, ...)"


def test_a_command_that_fails_says_nothing():
    assert bridge._run("false") == ""
    assert bridge._run("echo", "a") == "a\n"


def test_a_server_that_is_stopped_leaves_nothing_for_the_inventory(private, monkeypatch):
    """Its chains outlive it, and the kernel detaches its pool only when the last mount has ended."""
    private.loop("loop0", runs.folder() / "host/disks/clusterproof.img")
    private.detaches = False
    looks = []

    def look(folder: Path) -> list[str]:
        looks.append(folder)
        if len(looks) == 3:
            (private.blocks / "loop0" / "loop" / "backing_file").unlink()
        return list(below(folder))

    below = loop_devices.below
    monkeypatch.setattr(loop_devices, "below", look)
    assert PrivateServer().stop()
    assert private.detached == ["/dev/loop0"]
    assert looks == [runs.folder() / "host"] * 3
    assert private.chains == ["fwd.incusbr0"]
    assert take() == []
    assert clear() == []


def test_the_chains_of_another_server_survive_the_stop(private, monkeypatch):
    monkeypatch.setattr(bridge, "served_from", lambda _: Path("/srv/other/host"))
    assert PrivateServer().stop()
    assert private.chains == ["fwd.clusterproof0", "in.clusterproof0", "fwd.incusbr0"]
