"""A member: commands, files and power, each a step of the transcript."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from clusterproof.lab.cluster.member import CommandError, Member
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.substrates.machine import CommandTimeoutError, Result
from tests.fakes import LXD_502, FakeMachine, image, out


@pytest.fixture
def machine() -> FakeMachine:
    machine = FakeMachine("cp-r1-m1", image())
    machine.create()
    machine.start()
    return machine


@pytest.fixture
def member(machine, tmp_path) -> Member:
    return Member("m1", machine, Transcript(tmp_path / "transcript.jsonl"))


def shell(argv, _) -> Result:
    """Run a member's command on this computer."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def steps(member: Member) -> list[dict]:
    member.transcript.flush()
    return [json.loads(line) for line in member.transcript.path.read_text().splitlines()]


def test_what_a_member_is(member, machine):
    assert member.build.name == "incus@7.0.2"
    assert member.facts.client == "incus"
    assert member.address == machine.address
    assert repr(member) == "<member m1: incus@7.0.2 on cp-r1-m1>"


def test_a_list_is_a_command_and_a_string_goes_through_the_shell(member, machine):
    member.run(["incus", "list", "a b"])
    member.run("incus list | wc -l")
    assert machine.commands == ["incus list 'a b'", "sh -c 'incus list | wc -l'"]
    assert [step["what"] for step in steps(member)] == ["incus list 'a b'", "incus list | wc -l"]


def test_a_command_is_a_step_with_all_that_came_of_it(member, machine):
    machine.answers = [("init", Result(1, "out", "err"))]
    assert member.run(["incus", "admin", "init"], stdin="a: ü\n") == Result(1, "out", "err")
    assert machine.given == {"incus admin init": "a: ü\n".encode()}
    (step,) = steps(member)
    assert (step["verb"], step["target"], step["rc"]) == ("run", "m1", 1)
    assert (step["stdin"], step["stdout"], step["stderr"]) == ("a: ü\n", "out", "err")


@pytest.mark.parametrize("result", [Result(1, "", "no such member\n"), Result(1, "no such member\n", "")])
def test_a_checked_command_must_succeed(member, machine, result):
    machine.answers = [("list", result)]
    with pytest.raises(CommandError) as caught:
        member.run(["incus", "list"], check=True)
    assert str(caught.value) == "m1: 'incus list' ended with 1: no such member"
    assert steps(member)[0]["rc"] == 1


def test_the_machine_s_errors_pass(member, machine):
    machine.answers = [("slow", CommandTimeoutError("still running")), ("", LabError("host is gone"))]
    with pytest.raises(CommandTimeoutError, match=r"still running \(7 s\)"):
        member.run("slow", timeout=7)
    with pytest.raises(LabError, match="host is gone"):
        member.run("other")
    assert [step["error"] for step in steps(member)] == [
        "CommandTimeoutError: still running (7 s)",
        "LabError: host is gone",
    ]


def test_the_product_s_own_client_and_sql(member, machine):
    machine.answers = [("sql", out("| 77 |")), ("list", Result(1, "", "no"))]
    assert member.sql("global", "SELECT 1") == "| 77 |"
    assert member.client("list", check=False).rc == 1
    with pytest.raises(CommandError):
        member.client("list")
    assert machine.commands[:2] == ["incus admin sql global 'SELECT 1'", "incus list"]


def test_the_other_product_s_client_and_sql(machine, member):
    machine.image = image(LXD_502, schema=60)
    machine.answers = [("lxc list", out("")), ("lxd sql", out(""))]
    member.client("list")
    member.sql("local", "SELECT 1")
    assert machine.commands == ["lxc list", "lxd sql local 'SELECT 1'"]


def test_the_tiny_image_is_imported_only_where_it_is_not_yet(member, machine, tmp_path, monkeypatch):
    # A client that knows the image once it has imported it.
    known, client = tmp_path / "known", tmp_path / "incus"
    client.write_text(f'#!/bin/sh\ncase "$2" in info) test -e {known} ;; import) echo "$@" >> {known} ;; esac\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    machine.answers = [("image info", shell), ("incus launch tiny", out(""))]
    member.launch("c1", "--config", "limits.cpu=1")
    member.launch("c2")
    assert known.read_text() == "image import /opt/clusterproof/tiny.tar.gz --alias tiny\n"
    assert [line for line in machine.commands if "launch" in line] == [
        "incus launch tiny c1 --config limits.cpu=1",
        "incus launch tiny c2",
    ]


def test_an_instance_may_be_created_without_starting_it(member, machine):
    machine.answers = [("incus init tiny", out(""))]
    member.init("c2", "--storage", "other", timeout=7)
    assert machine.commands[-1] == "incus init tiny c2 --storage other"
    machine.answers = [("launch", Result(1, "", "Error: no such pool\n"))]
    with pytest.raises(CommandError, match="no such pool"):
        member.launch("c3")
    machine.answers = [("image info", Result(1, "", "Error: no space left\n"))]
    with pytest.raises(CommandError, match="no space left"):
        member.launch("c3")
    assert "launch" not in machine.commands[-1]


def test_files_are_steps(member, machine):
    member.write("/etc/x", "ü\n", 0o600)
    assert machine.files["/etc/x"] == "ü\n".encode()
    assert machine.modes["/etc/x"] == 0o600
    assert member.read("/etc/x") == "ü\n".encode()
    with pytest.raises(FileNotFoundError, match="no file /etc/z"):
        member.read("/etc/z")
    written, read, missing = steps(member)
    assert (written["verb"], written["what"], written["content"]) == ("write", "/etc/x", "ü\n")
    assert (read["verb"], read["bytes"]) == ("read", 3)
    assert "FileNotFoundError" in missing["error"]


def test_power_is_a_fault_or_the_lab_s(member, machine):
    member.stop()
    assert not machine.should_run
    member.start()
    assert machine.should_run
    member.kill()
    assert machine.done == ["create", "start", "stop", "start", "kill"]
    assert [(step["verb"], step["what"]) for step in steps(member)] == [
        ("fault", "stop the member"),
        ("lab", "start the member"),
        ("fault", "kill the member"),
    ]


def test_testinfra_looks_into_the_member(member, machine):
    machine.answers = [("", shell)]
    assert member.inspect.file("/").is_directory
    assert not member.inspect.file("/no such file").exists
    assert member.inspect.run("echo %s", "it's").stdout == "it's\n"
    assert member.inspect.check_output("printf x") == "x"
    assert {step["target"] for step in steps(member)} == {"m1"}


LXC_USAGE = "Description:\n  Manage cluster groups\n\nUsage:\n  lxc cluster group [command]\n"


@pytest.mark.parametrize("usage", [LXC_USAGE, LXC_USAGE.partition("\n\n")[2]])
def test_a_client_that_prints_its_usage_has_done_nothing(usage):
    machine = FakeMachine("cp-r1-m1", image())
    machine.start()
    machine.answers = [("creat", out(usage)), ("--help", out(usage)), ("list", out("Usage: 3 of 4\n"))]
    member = Member("m1", machine, Transcript())
    with pytest.raises(CommandError, match="'cluster group creat g2' is no command"):
        member.client("cluster", "group", "creat", "g2", check=False)
    assert member.client("cluster", "group", "--help").stdout == usage
    assert member.client("list").ok
