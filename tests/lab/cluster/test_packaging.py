"""How the server is handled on a member: the same meaning, whether it is a package or a snap."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clusterproof.fixtures.faults import FAULTS
from clusterproof.lab.builds import catalogue
from clusterproof.lab.cluster import cluster, packaging
from clusterproof.lab.cluster.member import Member, Mount
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.substrates.machine import CommandTimeoutError, Result
from tests.fakes import LXD_502, FakeMachine, image, out

SNAP = catalogue.load().get("lxd@rehearsal/5.0.2")
PACKAGE = packaging.of(LXD_502.facts)


@pytest.fixture
def of_snap(tmp_path):
    """A snap whose folder for all revisions is one of the test's."""
    state = tmp_path / "lxd" / "common" / "lxd"
    state.mkdir(parents=True)
    return packaging.of(SNAP.facts.model_copy(update={"state_dir": str(state)}))


def sh(command: str) -> str:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def running(program) -> Iterator[int]:
    """A process of this name, which a copy of sleep stands for."""
    program.parent.mkdir()
    shutil.copy(shutil.which("sleep"), program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["lxd", "lxd.debug"])
def test_the_pid_of_a_snaps_server_is_the_one_that_it_wrote_down(of_snap, tmp_path, name):
    assert sh(of_snap.asks_pid) == "0"
    with running(tmp_path / "bin" / name) as pid:
        (tmp_path / "lxd/common/lxd.pid").write_text(f"{pid}\n")
        assert sh(of_snap.asks_pid) == str(pid)
    assert sh(of_snap.asks_pid) == "0"


def test_a_number_that_another_process_has_now_is_no_server(of_snap, tmp_path):
    with running(tmp_path / "bin/postgres") as pid:
        (tmp_path / "lxd/common/lxd.pid").write_text(str(pid))
        assert sh(of_snap.asks_pid) == "0"


@pytest.mark.parametrize("kind", ["stop", "kill"])
def test_a_snaps_unit_is_not_stopped_over_a_server_that_is_to_end_in_order(of_snap, kind):
    """Its end would shut the instances down: the server is told to end, and its script ends with it."""
    command = getattr(of_snap, kind)
    server, _, unit = command.partition("kill -")
    assert "systemctl stop --no-block snap.lxd.daemon.unix.socket" in server
    # Whatever the end looks like, systemd starts nothing again.
    assert "Restart=no" in server
    assert server.index("daemon-reload") < server.index("logger --tag clusterproof daemon-killed")
    assert unit.startswith("TERM $pid" if kind == "stop" else "KILL $pid")
    assert "systemctl kill" not in command


def test_what_was_ended_for_good_starts_again_as_it_was(of_snap):
    drop_in = "/run/systemd/system/snap.lxd.daemon.service.d/clusterproof.conf"
    assert of_snap.start.startswith(f"if [ -e {drop_in} ]; then rm {drop_in}")
    assert of_snap.start.endswith(" --no-block snap.lxd.daemon.unix.socket snap.lxd.daemon.service")
    assert "rm " not in PACKAGE.start


def test_a_snap_has_ended_once_its_script_has(of_snap, tmp_path, monkeypatch):
    """A unit whose script still writes down how the server ended would not start again."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\necho 4711\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert sh(of_snap.asks_left) == "4711"


def test_mounts_are_those_that_the_server_sees():
    machine = FakeMachine("cp-r1-m1", image(), answers=[("/proc/self/mounts", out("a /a\\040b ext4 rw 0 0\n"))])
    machine.start()
    member = Member("m1", machine, Transcript())
    assert member.mounts() == [Mount("a", "/a b", "ext4")]
    assert machine.commands == ["cat /proc/self/mounts"]
    machine.image = image(SNAP)
    member.mounts()
    assert "nsenter --mount" in machine.commands[-1]
    assert "/run/snapd/ns/lxd.mnt cat /proc/self/mounts" in machine.commands[-1]


def test_without_a_namespace_of_the_snap_nothing_is_mounted_in_it(of_snap):
    argv = of_snap.beside(["echo", "here", "a b"])
    argv[3] = "/nowhere"
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "here a b\n"


def test_files_of_the_member_are_elsewhere_for_a_snap():
    snap = packaging.of(SNAP.facts)
    assert snap.seen("/srv/data") == "/var/lib/snapd/hostfs/srv/data"
    assert snap.seen("/var/snap/lxd/common/lxd/storage-pools") == "/var/snap/lxd/common/lxd/storage-pools"
    assert PACKAGE.seen("/srv/data") == "/srv/data"


def test_the_program_of_a_snap_is_copied_and_not_written_to():
    snap = packaging.of(SNAP.facts)
    assert snap.programs == ("/snap/lxd/current/sbin/lxd", "/snap/lxd/current/bin/lxd")
    assert snap.replaced_by == "/var/snap/lxd/common/lxd.debug"
    assert (PACKAGE.programs, PACKAGE.replaced_by) == (("/usr/bin/lxd",), "/usr/bin/lxd")


def snap_member(*answers) -> tuple[Member, FakeMachine]:
    machine = FakeMachine("cp-r1-m1", image(SNAP), answers=list(answers))
    machine.start()
    return Member("m1", machine, Transcript()), machine


def test_a_member_that_has_refreshed_its_snap_by_itself_is_the_labs_fault():
    one, _ = snap_member(("ls /snap/lxd", out("33110\n")))
    cluster._check_installed(one)
    two, _ = snap_member(("ls /snap/lxd", out("33110\n33254\n")))
    with pytest.raises(LabError, match="m1 has not stayed at its image's revision: it has 33110, 33254"):
        cluster._check_installed(two)


def test_a_package_is_not_asked_what_only_a_snap_does():
    machine = FakeMachine("cp-r1-m1", image(LXD_502))
    machine.start()
    member = Member("m1", machine, Transcript())
    cluster._check_installed(member)
    cluster._prepare(member)
    assert machine.commands == []


def test_a_snap_has_its_namespace_before_its_first_command():
    member, machine = snap_member()
    cluster._prepare(member)
    assert "nsenter --mount=/run/snapd/ns/lxd.mnt true" in machine.commands[0]
    said = "cannot preserve mount namespace of process 96 as lxd.mnt: Invalid argument"
    member, _ = snap_member(("nsenter", Result(1, "", said)))
    with pytest.raises(LabError, match=f"m1 cannot run its snap: {said}"):
        cluster._prepare(member)


def test_a_member_that_is_too_slow_to_be_asked_is_the_labs_fault():
    slow, _ = snap_member(("ls /snap/lxd", CommandTimeoutError("ls")))
    with pytest.raises(LabError, match="member m1 cannot be looked at: ls"):
        cluster._check_installed(slow)


def test_a_disk_is_lost_where_the_server_sees_it():
    member, machine = snap_member(("mount --rbind", out("")))
    FAULTS["read-only-disk"](member)
    (command,) = machine.commands
    assert "nsenter --mount" in command
    assert "/run/snapd/ns/lxd.mnt sh -c 'mount --rbind /var/snap/lxd/common/lxd" in command


def test_the_parts_of_a_snap_are_its_snaps():
    listed = "snap() { printf 'Name Version Rev\\ncore22 1 x1\\nlxd 5 x2\\n'; }; "
    assert sh(listed + packaging.of(SNAP.facts).asks_parts).splitlines()[:2] == ["core22 x1", "lxd x2"]
    assert PACKAGE.asks_parts == ""


def test_the_journal_is_asked_for_what_the_server_prints_outside_of_its_unit():
    assert packaging.of(SNAP.facts).journal.endswith(" + SYSLOG_IDENTIFIER=lxd.daemon")
    assert PACKAGE.journal == "_SYSTEMD_UNIT=lxd.service + UNIT=lxd.service"
