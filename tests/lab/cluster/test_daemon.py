"""The product's daemon: what is asked of systemd, and what its answers mean."""

from __future__ import annotations

import itertools

import pytest

from clusterproof.lab.cluster import daemon as daemons
from clusterproof.lab.cluster.member import CommandError, Member
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.substrates.machine import Result
from tests.fakes import LXD_502, FakeMachine, image, out


@pytest.fixture
def machine() -> FakeMachine:
    machine = FakeMachine("cp-r1-m1", image())
    machine.start()
    return machine


@pytest.fixture
def member(machine) -> Member:
    return Member("m1", machine, Transcript())


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Wait as long as the lab, and ask again sooner."""
    monkeypatch.setattr(
        daemons, "eventually", lambda probe, **options: eventually(probe, **options, every=0.001)
    )


@pytest.fixture
def impatient(monkeypatch):
    """Ask twice or so."""
    monkeypatch.setattr(
        daemons,
        "eventually",
        lambda probe, **options: eventually(probe, **{**options, "every": 0.001, "within": 0.002}),
    )


def pids(*answers: str):
    rest = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda *_: out(next(rest))


@pytest.mark.parametrize(("said", "pid"), [("1234\n", 1234), ("0\n", 0), ("", 0), ("\n", 0)])
def test_the_pid(member, machine, said, pid):
    machine.answers = [("MainPID", out(said))]
    assert member.daemon.pid() == pid
    assert machine.commands == ["sh -c 'systemctl show --property=MainPID --value incus.service'"]


def test_starting_does_not_wait(member, machine):
    member.daemon.start()
    units = "incus.socket incus.service"
    assert machine.commands == [
        f"sh -c 'systemctl reset-failed {units} 2>/dev/null; systemctl start --no-block {units}'"
    ]
    machine.answers = [("start", Result(5, "", "Unit incus.socket not found."))]
    with pytest.raises(CommandError, match=r"Unit incus\.socket not found"):
        member.daemon.start()


def test_stopping_waits_for_the_end_of_the_process(member, machine):
    machine.answers = [("MainPID", pids("7", "7", "0"))]
    member.daemon.stop()
    first, *asked = machine.commands
    assert "stop --no-block incus.socket incus.service" in first
    assert len(asked) == 3


@pytest.mark.usefixtures("impatient")
def test_stopping_what_does_not_stop(member, machine):
    machine.answers = [("MainPID", pids("7"))]
    with pytest.raises(NotObservedError, match="m1: daemon stopped; last observation: False"):
        member.daemon.stop()


def test_restarting_is_both(member, machine):
    machine.answers = [("MainPID", pids("0"))]
    member.daemon.restart()
    assert "stop" in machine.commands[0]
    assert "start --no-block" in machine.commands[-1]


def test_starting_may_wait_until_it_is_ready(member, machine):
    ready = itertools.chain([Result(1, "", "")] * 2, itertools.repeat(out("")))
    machine.answers = [("MainPID --value incus.service) != 0", lambda *_: next(ready)), ("MainPID", out("0"))]
    member.daemon.restart(wait=True)
    started = next(n for n, line in enumerate(machine.commands) if "start --no-block" in line)
    assert len([line for line in machine.commands[started:] if "/internal/ready" in line]) == 3
    machine.commands.clear()
    member.daemon.restart()
    assert not [line for line in machine.commands if "/internal/ready" in line]


@pytest.mark.usefixtures("impatient")
def test_a_start_that_waits_in_vain(member, machine):
    machine.answers = [("internal/ready", Result(22, "", ""))]
    with pytest.raises(NotObservedError, match="m1: daemon ready"):
        member.daemon.start(wait=True)


def test_neither_shuts_the_instances_down(member, machine):
    machine.answers = [("MainPID", pids("0"))]
    for end in (member.daemon.stop, member.daemon.kill):
        machine.commands.clear()
        end()
        command = machine.commands[0]
        # The unit that shuts them down stops with the socket.
        assert (
            command.index("ExecStop=") < command.index("daemon-reload") < command.index("systemctl stop")
        )
        assert "/incus-startup.service.d/" in command


def test_killing_is_by_signal_9_and_for_good(member, machine):
    machine.answers = [("MainPID", pids("7", "0"))]
    member.daemon.kill()
    command = machine.commands[0]
    assert "--signal=KILL incus.service" in command
    # Otherwise a client's call, or systemd itself, would start it again.
    assert command.index("stop --no-block incus.socket") < command.index("--signal=KILL")
    assert command.index("--signal=KILL") < command.index("stop --no-block incus.service")


def test_environment_is_set_and_unset(member, machine):
    path = "/etc/systemd/system/incus.service.d/clusterproof.conf"
    member.daemon.set_environment(A="1", B="two words", C=None)
    assert machine.files[path].decode() == '[Service]\nEnvironment="A=1"\nEnvironment="B=two words"\n'
    assert machine.commands[-1] == "systemctl daemon-reload"
    member.daemon.set_environment(A=None)
    assert machine.commands[-2:] == [f"rm -f {path}", "systemctl daemon-reload"]


@pytest.mark.usefixtures("impatient")
def test_ready_is_what_the_daemon_says_of_itself(member, machine):
    assert member.daemon.is_ready()
    assert "--unix-socket /var/lib/incus/unix.socket" in machine.commands[0]
    assert "/internal/ready" in machine.commands[0]
    machine.answers = [("internal/ready", Result(22, "", ""))]
    assert not member.daemon.is_ready()
    with pytest.raises(NotObservedError, match="m1: daemon ready"):
        member.daemon.wait_ready()


def test_a_machine_that_is_gone_ends_the_waiting(member, machine):
    machine.up = False
    with pytest.raises(LabError, match="it is not running"):
        member.daemon.wait_ready()
    assert len(machine.commands) == 1


def test_the_log_is_the_file_and_the_journal(member, machine):
    machine.answers = [("journalctl", out("lines"))]
    assert member.daemon.log() == "lines"
    assert "/var/log/incus/incusd.log" in machine.commands[0]
    assert "_SYSTEMD_UNIT=incus.service" in machine.commands[0]


def test_the_other_product_s_units(member, machine):
    machine.image = image(LXD_502)
    member.daemon.start()
    member.daemon.log()
    assert "systemctl start --no-block lxd.socket lxd.service" in machine.commands[0]
    assert "/var/log/lxd/lxd.log" in machine.commands[1]


# Settling


def looks(*answers: str):
    """Answer how the daemon is, look after look; the last one again and again."""
    rest = itertools.chain(answers, itertools.repeat(answers[-1]))
    return [("--property=ActiveState", lambda *_: out(next(rest)))]


def look(active="active", sub="running", pid=7, process="S", ready="yes", logged=10) -> str:
    return (
        f"ActiveState={active}\nSubState={sub}\nPid={pid}\nProcess={process}\nReady={ready}\nLogged={logged}\n"
    )


RUNS, STARTS = look(), look(active="activating", sub="start-post", ready="")
PANICKED = look(process="Z", ready="")  # systemd has not noticed yet
GONE = look(active="failed", sub="failed", pid=0, process="", ready="", logged=99)


def test_the_state_of_a_daemon(member, machine):
    machine.answers = looks(PANICKED)
    state = member.daemon.state()
    assert (state.active, state.pid, state.process, state.ready, state.logged) == ("active", 7, "Z", False, 10)
    assert not state.settled


@pytest.mark.parametrize(
    ("looked", "is_settled"),
    [
        (RUNS, True),
        (GONE, True),
        (look(active="inactive", sub="dead", pid=0, process="", ready=""), True),
        (PANICKED, False),
        (look(process="", ready=""), False),
        (STARTS, False),
        (look(active="deactivating", sub="stop-sigterm"), True),
        (look(active="activating", sub="auto-restart", pid=0, process="", ready=""), False),
        (look(active="deactivating", sub="stop-post", pid=0, process="", ready=""), False),
    ],
)
def test_what_is_settled(member, machine, looked, is_settled):
    machine.answers = looks(looked)
    assert member.daemon.state().settled is is_settled


@pytest.mark.parametrize(
    ("seen", "count"),
    [
        ([RUNS], 2),
        ([GONE], 2),
        # Still shown as running, then gone, and its last lines come later.
        ([PANICKED, PANICKED, look(active="failed", sub="failed", pid=0, process="", ready=""), GONE], 5),
        ([RUNS, PANICKED, GONE], 4),
        ([STARTS, STARTS, RUNS], 4),
        # Another process is another daemon.
        ([RUNS, look(pid=8)], 3),
    ],
)
def test_a_daemon_settles(member, machine, seen, count):
    machine.answers = looks(*seen)
    member.daemon.settle()
    asked = [command for command in machine.commands if "--property=ActiveState" in command]
    assert len(asked) == count
    assert machine.commands[-1] == "journalctl --sync"


def test_a_daemon_that_waits_for_others_is_settled_once_it_is_quiet(member, machine, monkeypatch):
    monkeypatch.setattr(daemons, "QUIET", 0.01)
    machine.answers = looks(STARTS)
    member.daemon.settle()
    assert machine.commands[-1] == "journalctl --sync"


def test_one_that_never_settles_is_not_waited_for_for_ever(member, machine, impatient):  # noqa: ARG001
    count = itertools.count()
    machine.answers = [("--property=ActiveState", lambda *_: out(look(ready="", logged=next(count))))]
    member.daemon.settle()
    assert machine.commands[-1] == "journalctl --sync"
