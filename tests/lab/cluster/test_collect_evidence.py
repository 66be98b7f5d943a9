"""Evidence: everything that can be had, without secrets, and never an error of its own."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import types
from pathlib import Path

import pytest

from clusterproof.lab.cluster import collect_evidence
from clusterproof.lab.cluster.member import Member
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.redaction import MARK
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.substrates.machine import CommandTimeoutError
from tests.fakes import LXD_502, FakeMachine, image, out

INSIDE = "/run/clusterproof-evidence"
KEY = "-----BEGIN EC PRIVATE KEY-----\nBase64OfThePrivateKey\n-----END EC PRIVATE KEY-----\n"


def entry(name: str, content: bytes = b"", **changes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def member(name: str = "m1", packed: bytes | None = None, **changes) -> Member:
    machine = FakeMachine(f"cp-{name}", image())
    machine.start()
    if packed is not None:
        machine.files[f"{INSIDE}.tar"] = packed
    for key, value in changes.items():
        setattr(machine, key, value)
    return Member(name, machine, Transcript())


def cluster(*members: Member, past_logs: dict | None = None):
    return types.SimpleNamespace(members=list(members), past_logs=past_logs or {})


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def test_every_member_has_a_folder_of_its_own(tmp_path):
    collect_evidence.collect(
        cluster(
            member("m1", archive(entry("./"), entry("./versions.txt", b"Linux"))),
            member("m2", archive(entry("./mounts.txt", b"/ ext4"), entry("disk.txt", b"1%"))),
        ),
        tmp_path / "evidence",
    )
    assert files(tmp_path) == {
        "evidence/m1/versions.txt": "Linux",
        "evidence/m2/mounts.txt": "/ ext4",
        "evidence/m2/disk.txt": "1%",
    }


def test_the_member_is_told_what_its_product_is(tmp_path):
    one = member("m1", archive())
    assert isinstance(one.machine, FakeMachine)
    one.machine.image = image(LXD_502)
    collect_evidence.collect(cluster(one), tmp_path)
    (command,) = one.machine.commands
    socket = "API=/var/lib/lxd/unix.socket"
    for part in ("ADMIN=lxd", socket, "SERVICE=lxd.service", "STATE_DIR=/var/lib/lxd"):
        assert part in command
    assert one.machine.modes[f"{INSIDE}.sh"] == 0o755


def test_collecting_is_no_step_of_the_scenario(tmp_path):
    one = member("m1", archive(entry("disk.txt", b"1%")))
    one.transcript = Transcript(tmp_path / "transcript.jsonl")
    collect_evidence.collect(cluster(one), tmp_path / "evidence")
    one.transcript.flush()
    assert not (tmp_path / "transcript.jsonl").exists()


def test_secrets_are_taken_out_and_nothing_else(tmp_path):
    log = f"before\nsecret: 0123456789abcdef\n{KEY}after \xff\n".encode("latin-1")
    packed = archive(entry("daemon-incusd.log", log))
    collect_evidence.collect(cluster(member("m1", packed), past_logs={"m1": [KEY]}), tmp_path)
    found = files(tmp_path)
    text = found["m1/daemon-incusd.log"]
    assert text.startswith("before\nsecret: ")
    assert text.endswith("after \ufffd\n")
    for content in found.values():
        assert "0123456789abcdef" not in content
        assert "Base64OfThePrivateKey" not in content
        assert MARK in content


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"up": False}, "LabError: .*it is not running"),
        ({"broken": {"execute": CommandTimeoutError("still running after 90 s")}}, "still running"),
        ({"broken": {"execute": LabError("the lab host is gone")}}, "the lab host is gone"),
        ({}, "FileNotFoundError: .*no file"),
    ],
)
def test_a_member_that_cannot_be_asked_says_why(tmp_path, broken, why):
    collect_evidence.collect(cluster(member("m1", **broken), member("m2", archive(entry("x", b"y")))), tmp_path)
    found = files(tmp_path)
    assert found.pop("m2/x") == "y"
    ((name, text),) = found.items()
    assert name == "m1/not-collected.txt"
    assert re.search(why, text)


@pytest.mark.parametrize("packed", [b"", b"no archive at all", archive(entry("x", b"y" * 2000))[:700]])
def test_a_damaged_archive_says_why(tmp_path, packed):
    collect_evidence.collect(cluster(member("m1", packed)), tmp_path)
    assert "Error" in files(tmp_path)["m1/not-collected.txt"]


HOSTILE = {
    "up": entry("../../escaped.txt", b"hostile"),
    "absolute": entry("{folder}/escaped.txt", b"hostile"),
    "dots": entry("..", b"hostile"),
    "deep-dots": entry("a/..", b"hostile"),
    "dot": entry(".", b"hostile"),
    "link-out": entry("passwd", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "link-nowhere": entry("loop", type=tarfile.SYMTYPE, linkname="loop"),
    "hard-link-out": entry("shadow", type=tarfile.LNKTYPE, linkname="../../etc/shadow"),
    "device": entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "pipe": entry("pipe", type=tarfile.FIFOTYPE),
    "long-name": entry("n" * 300, b"hostile"),
    "undecodable": entry("caf\udce9", b"hostile"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_stays_inside_and_hides_nothing(tmp_path, name):
    info, content = HOSTILE[name]
    info.name = info.name.format(folder=tmp_path)
    packed = archive(entry("first.txt", b"1"), (info, content), entry("last.txt", b"2"))
    folder = tmp_path / "out" / "evidence"
    collect_evidence.collect(cluster(member("m1", packed)), folder)
    everything = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert all(path.parent == folder / "m1" for path in everything)
    assert not any(path.is_symlink() for path in everything)
    assert (folder / "m1" / "first.txt").read_text() == "1"
    # One bad entry does not cost the rest.
    assert (folder / "m1" / "last.txt").read_text() == "2"


def test_an_entry_does_not_overwrite_the_cell_s_own_files(tmp_path):
    (tmp_path / "transcript.jsonl").write_text("{}")
    collect_evidence.collect(cluster(member("m1", archive(entry("../transcript.jsonl", b"hostile")))), tmp_path)
    assert (tmp_path / "transcript.jsonl").read_text() == "{}"


ANSWERS = {
    "an-answer": (b'{"type":"sync","metadata":[{"server_name":"m1"}]}', '[\n {\n  "server_name": "m1"\n }\n]'),
    "no-answer": (b"curl: (7) could not connect", "curl: (7) could not connect"),
    "no-envelope": (b'[{"a":1}]', '[{"a":1}]'),
    "cut-off": (b'{"metadata":[{"a"', '{"metadata":[{"a"'),
    "nothing": (b"", ""),
    "no-text": (b'{"metadata":"\xff"}', '{"metadata":"\ufffd"}'),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_the_product_are_made_legible(tmp_path, name):
    said, kept = ANSWERS[name]
    collect_evidence.collect(cluster(member("m1", archive(entry("members.json", said)))), tmp_path)
    assert files(tmp_path) == {"m1/members.json": kept}


def test_logs_of_earlier_machines_are_kept(tmp_path):
    past = {"m1": ["first\n", "second\n"]}
    collect_evidence.collect(cluster(member("m1", archive()), past_logs=past), tmp_path)
    assert files(tmp_path) == {
        "m1/daemon-before-change-1.log": "first\n",
        "m1/daemon-before-change-2.log": "second\n",
    }


def test_no_members(tmp_path):
    collect_evidence.collect(cluster(), tmp_path / "evidence")
    assert files(tmp_path) == {}


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "m1").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="m1"):
        collect_evidence.collect(cluster(member("m1", archive()), past_logs={"m1": ["log"]}), tmp_path)


@pytest.mark.skipif(not shutil.which("timeout"), reason="needs timeout(1) of coreutils")
def test_the_script_keeps_what_it_can_get(tmp_path):
    """Run here, where there is no product: every command that fails says so in its own file."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "incusd.log").write_text("t=1 lvl=info msg=started\n")
    long = f'{{"secret": "hunter2 {"x" * 20_000_000}"}}\nnext\n'
    (tmp_path / "log" / "long.log").write_text(long)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("journalctl", "systemctl", "dpkg-query", "sqlite3", "incus"):
        (tools / name).write_text("#!/bin/sh\necho cannot >&2\nexit 3\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        ["sh", str(Path(collect_evidence.__file__).parent / "collect.sh"), str(tmp_path / "out")],
        env={
            "PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin",
            "ADMIN": "incus admin",
            "API": str(tmp_path / "unix.socket"),
            "STATE_DIR": str(tmp_path),
            "LOG_DIR": str(tmp_path / "log"),
            "SERVICE": "incus.service",
            "SOCKET": "incus.socket",
        },
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0
    found = files(tmp_path / "out")
    assert found["daemon-incusd.log"] == "t=1 lvl=info msg=started\n"
    assert found["daemon-long.log"] == "next\n", "half a secret is not recognized as one"
    assert "cannot" in found["journal.log"]
    assert "[ended with 3: journalctl" in found["journal.log"]
    assert "curl" in found["server.json"]
    assert "global.sql" not in found
    with tarfile.open(tmp_path / "out.tar") as packed:
        assert "./daemon-incusd.log" in packed.getnames()


def test_results_of_commands_do_not_matter(tmp_path):
    one = member("m1", archive(entry("x", b"y")), answers=[("", out("noise"))])
    collect_evidence.collect(cluster(one), tmp_path)
    assert files(tmp_path) == {"m1/x": "y"}
