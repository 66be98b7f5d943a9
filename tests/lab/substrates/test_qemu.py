"""QEMU: its command line, and what is done when the process or its monitor fails."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import Process
from clusterproof.lab.substrates import qemu
from clusterproof.lab.substrates.qemu import Disk, Qemu, Segment, Spec, command
from tests.fakes import stand_in

# A stand-in that has a monitor: it answers each command as $SCRIPT, JSON by command's name, has it: a list of
# answers, of which the last one stays; "gone" ends it at once. What it was asked is added to the file "asked".
MONITOR = """
    import json, os, socket, sys
    script = json.loads(os.environ["SCRIPT"])
    server = socket.socket(socket.AF_UNIX)
    server.bind("qmp.sock.part")
    server.listen()
    os.rename("qmp.sock.part", "qmp.sock")
    while True:
        peer, _ = server.accept()
        def say(what):
            peer.sendall(json.dumps(what).encode() + b"\\n")
        def commands():
            # They follow each other without any mark between them.
            text = ""
            while block := peer.recv(65536).decode():
                text = (text + block).lstrip()
                while text.endswith("}"):
                    found, end = json.JSONDecoder().raw_decode(text)
                    text = text[end:].lstrip()
                    yield found
        version = {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}
        say({"QMP": {"version": version, "capabilities": []}})
        for asked in commands():
            name = asked["execute"]
            with open("asked", "a") as file:
                file.write(json.dumps([name, asked.get("arguments", {})]) + "\\n")
            answers = script.get(name, [{}])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if answer == "gone":
                sys.exit("qemu: fatal: assertion failed")
            key = "error" if "class" in answer else "return"
            say({key: answer} | ({"id": asked["id"]} if "id" in asked else {}))
            if name == "quit":
                sys.exit()
"""
COMPLETED = {"status": "completed"}


def spec(**facts) -> Spec:
    values = {"kernel": Path("/k"), "initrd": Path("/i"), "arguments": "quiet", "accelerator": "tcg", **facts}
    return Spec(**values)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A machine's working folder; the stand-in for QEMU comes first in PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "machine").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "monitor.py").write_text(textwrap.dedent(MONITOR))
    stand_in(tmp_path / "bin", qemu.BINARY, f"exec {sys.executable} {tmp_path / 'monitor.py'}")
    return tmp_path / "machine"


@pytest.fixture
def machine(folder, tmp_path):
    machine = Qemu(Process(tmp_path / "run", "cp-m1"), folder)
    yield machine
    machine.process.end()


@pytest.fixture
def script(monkeypatch):
    def write(**answers: object) -> None:
        by_command = {name.replace("_", "-"): given_one for name, given_one in answers.items()}
        monkeypatch.setenv("SCRIPT", json.dumps(by_command))

    write()
    return write


def asked(folder: Path) -> dict[str, dict]:
    """Return by the command's name with what the monitor was last asked."""
    lines = (folder / "asked").read_text().splitlines()
    return dict(json.loads(line) for line in lines)


def values(argv: list[str], option: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == option]


class TestCommand:
    def test_nothing_of_this_machine_gets_in_unasked(self):
        argv = command(spec())
        assert {"-nodefaults", "-no-user-config"} <= set(argv)
        # A kernel that panics ends the machine, which is then seen to be gone.
        assert "-no-reboot" in argv
        assert values(argv, "-netdev") == values(argv, "-drive") == values(argv, "-incoming") == []

    def test_the_clock_stands_still_with_a_paused_machine(self):
        assert values(command(spec()), "-rtc") == ["base=utc,clock=vm"]

    @pytest.mark.parametrize(("accelerator", "expected"), [("tcg", "tcg,thread=multi"), ("kvm", "kvm")])
    def test_the_accelerator(self, accelerator, expected):
        assert values(command(spec(accelerator=accelerator)), "-accel") == [expected]

    def test_disks_keep_their_order_and_only_a_seed_is_read_only(self):
        disks = (Disk(Path("/a"), "qcow2"), Disk(Path("/b"), "raw", read_only=True))
        argv = command(spec(disks=disks))
        first, second = values(argv, "-drive")
        assert first.startswith("id=disk0,if=none,format=qcow2,")
        assert first.endswith(",file=/a")
        assert "readonly" not in first
        assert ",readonly=on," in second
        devices = [device for device in values(argv, "-device") if "blk" in device]
        assert devices == ["virtio-blk-pci,drive=disk0", "virtio-blk-pci,drive=disk1"]

    @given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
    def test_any_path_is_one_value_of_its_option(self, name):
        path = Path("/folder", name.lstrip("/") or "x")
        (drive,) = values(command(spec(disks=(Disk(path, "raw"),))), "-drive")
        # QEMU ends a value at a comma, unless there are two.
        given_path = drive.partition("file=")[2]
        assert given_path.replace(",,", "").count(",") == 0
        assert given_path.replace(",,", ",") == str(path)

    def test_networks_stay_on_the_loopback_device(self):
        argv = command(spec(number=7, segment=Segment(23456), forwards=((40001, 22), (40002, 18443))))
        cluster, outer = values(argv, "-netdev")
        assert cluster.endswith(":23456,localaddr=127.0.0.1")
        assert outer == "user,id=outer,hostfwd=tcp:127.0.0.1:40001-:22,hostfwd=tcp:127.0.0.1:40002-:18443"

    def test_every_interface_of_a_segment_has_an_address_of_its_own(self):
        macs = {mac(number) for number in range(1, 255) for mac in (qemu.cluster_mac, qemu.outer_mac)}
        assert len(macs) == 2 * 254
        assert all(len(mac) == 17 for mac in macs)


class TestSaving:
    def test_ends_the_machine_when_its_memory_is_written(self, machine, folder, script):
        script(query_migrate=[{"status": "active"}, {}, COMPLETED])
        machine.start(spec())
        machine.pause()
        machine.save(folder / "it's here")
        assert not machine.running()
        wanted = asked(folder)["migrate"]["uri"]
        assert wanted.startswith("exec:")
        assert shlex.split(wanted.removeprefix("exec:")) == ["cat", ">", str(folder / "it's here")]
        assert asked(folder)["migrate-set-parameters"]["max-bandwidth"] > 10**12

    @pytest.mark.parametrize("status", ["failed", "cancelled"])
    def test_that_fails_says_qemus_words_and_leaves_the_machine(self, machine, folder, script, status):
        script(query_migrate=[{"status": status, "error-desc": "No space left on device"}])
        machine.start(spec())
        with pytest.raises(LabError, match="could not be saved or restored: No space left on device"):
            machine.save(folder / "memory")
        assert machine.running()

    def test_that_takes_too_long_fails(self, machine, folder, script):
        script(query_migrate=[{"status": "active"}])
        machine.start(spec())
        with pytest.raises(LabError, match=r"VM cp-m1: its monitor failed: .*memory is saved.*active"):
            machine.save(folder / "memory", timeout=0.2)

    def test_of_a_machine_that_dies_meanwhile(self, machine, folder, script):
        script(query_migrate=["gone"])
        machine.start(spec())
        with pytest.raises(LabError, match="VM cp-m1: its monitor failed"):
            machine.save(folder / "memory")


class TestGoingOn:
    def test_reads_the_memory_and_runs(self, machine, folder, script):
        script(query_migrate=[{"status": "active"}, COMPLETED])
        machine.start(spec(incoming=folder / "it's here"))
        command = asked(folder)["migrate-incoming"]["uri"].removeprefix("exec:")
        assert shlex.split(command) == ["cat", str(folder / "it's here")]
        assert "cont" in asked(folder)

    def test_from_a_damaged_memory(self, machine, folder, script):
        script(query_migrate=[{"status": "failed", "error-desc": "Not a migration stream"}])
        with pytest.raises(LabError, match="Not a migration stream"):
            machine.start(spec(incoming=folder / "memory"))
        assert "cont" not in asked(folder)

    def test_that_qemu_refuses(self, machine, folder, script):
        script(migrate_incoming=[{"class": "GenericError", "desc": "it has already started"}])
        with pytest.raises(LabError, match=r"VM cp-m1: its monitor failed.*already started"):
            machine.start(spec(incoming=folder / "memory"))


class TestDead:
    def test_one_that_ends_at_once_is_told_with_its_last_words(self, machine, folder):
        stand_in(folder.parent / "bin", qemu.BINARY, "echo 'qemu: -m 1T: cannot allocate memory' >&2; exit 1")
        with pytest.raises(LabError) as raised:
            machine.start(spec(incoming=folder / "memory"))
        assert str(raised.value) == (
            "VM cp-m1: it did not start; QEMU has ended: qemu: -m 1T: cannot allocate memory"
        )

    def test_one_that_says_nothing(self, machine, folder):
        stand_in(folder.parent / "bin", qemu.BINARY, "exit 0")
        with pytest.raises(LabError, match="QEMU has ended: no output"):
            machine.start(spec(incoming=folder / "memory"))

    def test_one_that_is_not_installed(self, machine, monkeypatch):
        monkeypatch.setattr(qemu, "BINARY", "qemu-system-none")
        with pytest.raises(LabError, match="cp-m1: cannot start qemu-system-none: No such file"):
            machine.start(spec())

    def test_one_that_dies_under_a_command(self, machine, script):
        script(stop=["gone"])
        machine.start(spec())
        with pytest.raises(LabError, match="VM cp-m1: its monitor failed"):
            machine.pause()

    def test_one_whose_monitor_never_comes(self, machine, folder, monkeypatch):
        stand_in(folder.parent / "bin", qemu.BINARY, "exec cat <>fifo")
        os.mkfifo(folder / "fifo")
        monkeypatch.setattr(qemu, "TIMEOUT", 0.2)
        with pytest.raises(LabError, match=r"VM cp-m1: its monitor failed: .*monitor answers"):
            machine.start(spec(incoming=folder / "memory"))
        assert machine.running()

    def test_one_that_hangs_as_its_monitor_is_asked(self, machine, monkeypatch, script):
        script()
        machine.start(spec())
        machine.pause()
        machine.process.signal(signal.SIGSTOP)
        monkeypatch.setattr(qemu, "TIMEOUT", 0.3)
        with pytest.raises(LabError, match=r"VM cp-m1: its monitor failed: .*monitor answers"):
            machine.pause()

    def test_a_socket_of_an_earlier_life_is_not_taken_for_the_new_one(self, machine, folder, script):
        script()
        with socket.socket(socket.AF_UNIX) as old:
            here = Path.cwd()
            os.chdir(folder)
            try:
                old.bind("qmp.sock")
            finally:
                os.chdir(here)
        machine.start(spec())
        machine.pause()
        assert "stop" in asked(folder)


def test_ending_asks_first_and_insists(machine, folder, script):
    script()
    machine.start(spec())
    machine.pause()
    machine.end()
    assert "quit" in asked(folder)
    assert not machine.running()
    machine.end()


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    stand_in(tmp_path, "mke2fs", "true")
    assert qemu.missing_tools() == [qemu.BINARY, "qemu-img", "xorriso"]


def test_a_free_port_can_be_listened_on():
    with socket.create_server(("127.0.0.1", qemu.free_port())):
        pass
