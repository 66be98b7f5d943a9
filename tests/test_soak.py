"""Soaks: off unless asked for, and split in two runs of which the second finds what the first left."""

from __future__ import annotations

import itertools
import json

import pytest

from lab.state import Run
from tests.fakes import (
    INCUS_702,
    FakeCheckout,
    FakeMachine,
    FakeServer,
    bake_beforehand,
    out,
    stay_alone,
)

pytest_plugins = ["pytester"]

SCENARIO = """
def test_quick(cell): pass

@pytest.mark.soak
@pytest.mark.members(1)
def test_long(members, soak):
    (member,) = members.members

    def arrange():
        member.run("arrange")
        return ["a", "b"]

    files = soak.begin(arrange)
    soak.wait(hours={hours})
    member.run("check " + " ".join(files))
"""
LONG, OVER = "11", "0"


@pytest.fixture
def machines(monkeypatch) -> dict[str, FakeMachine]:
    """The stand-ins for members' machines, by name; one that is there is found again."""
    known: dict[str, FakeMachine] = {}
    numbers = itertools.count(2)

    def machine(_, name, image, address=None):
        if address is None:
            known[name] = FakeMachine(name, image, f"10.176.0.{next(numbers)}", [("MainPID", out("7"))])
        assert address in (None, known[name].address)
        return known[name]

    monkeypatch.setattr("lab.container.Container", machine)
    monkeypatch.setattr("fixtures.soak.Container", machine)
    return known


@pytest.fixture
def checkout(pytester, monkeypatch, tmp_path):
    stay_alone(monkeypatch, tmp_path / "lab")
    bake_beforehand(INCUS_702)
    checkout = FakeCheckout(pytester, monkeypatch)
    checkout.ledger()
    with FakeServer() as server:
        monkeypatch.setenv("LAB_HOST", str(server.socket))
        yield checkout


def run(checkout, *args: str, hours: str = LONG) -> list[tuple[str, str, str]]:
    """Run the scenarios; return of each cell the scenario, what was observed, and why."""
    checkout.scenario(SCENARIO.format(hours=hours))
    checkout.run("--build", "incus@7.0.2", "--evidence", "failing", *args)
    return [
        (cell["scenario"].rpartition("::")[2], cell["observation"], cell["reason"])
        for cell in checkout.cells()
    ]


def done(machine: FakeMachine) -> list[str]:
    return [command for command in machine.commands if "arrange" in command or "check" in command]


def kept() -> list[Run]:
    return [run for run in Run.known() if run.kept]


def test_off_by_default(checkout, machines):
    assert run(checkout) == [("test_quick", "conforms", "")]
    assert machines == {}


def test_the_whole_in_one_run(checkout, machines):
    assert run(checkout, "--soak=whole", hours=OVER) == [("test_long", "conforms", "")]
    (machine,) = machines.values()
    assert done(machine) == ["sh -c arrange", "sh -c 'check a b'"]
    assert not machine.exists
    assert Run.known() == []


def test_begun_in_one_run_and_judged_in_another(checkout, machines):
    ((name, observation, reason),) = run(checkout, "--soak=begin")
    assert (name, observation) == ("test_long", "not-run")
    assert reason.startswith("begun; judge it after 20")
    assert reason.endswith(" UTC with --soak=judge")
    (machine,) = machines.values()
    assert machine.up
    (left,) = kept()

    # Too early: nothing is judged and nothing is touched.
    ((_, observation, again),) = run(checkout, "--soak=judge")
    assert (observation, again) == ("not-run", reason)
    assert machine.up
    assert [found.id for found in kept()] == [left.id]

    assert run(checkout, "--soak=judge", hours=OVER) == [("test_long", "conforms", "")]
    assert done(machine) == ["sh -c arrange", "sh -c 'check a b'"]
    assert not machine.exists
    assert Run.known() == []


def test_the_judged_build_is_the_one_that_was_begun(checkout, machines):  # noqa: ARG001
    run(checkout, "--soak=begin")
    record = kept()[0].folder / "soak.json"
    begun = json.loads(record.read_text())
    begun["build"]["version"] = "7.0.2-0older"
    record.write_text(json.dumps(begun))
    run(checkout, "--soak=judge", hours=OVER)
    assert checkout.cells()[0]["build"]["version"] == "7.0.2-0older"


def test_nothing_was_begun(checkout, machines):
    ((_, observation, reason),) = run(checkout, "--soak=judge")
    assert observation == "not-run"
    assert reason == "no soak of it was begun on this machine; begin one with --soak=begin"
    assert machines == {}


def test_what_another_scenario_began_is_not_judged(checkout, machines):
    run(checkout, "--soak=begin")
    record = kept()[0].folder / "soak.json"
    record.write_text(record.read_text().replace("test_long", "test_other"))
    ((_, observation, _),) = run(checkout, "--soak=judge", hours=OVER)
    assert observation == "not-run"
    (machine,) = machines.values()
    assert machine.up


def test_a_daemon_that_was_started_anew_blocks_the_soak(checkout, machines):
    run(checkout, "--soak=begin")
    (machine,) = machines.values()
    machine.answers = [("MainPID", out("8"))]
    ((_, observation, reason),) = run(checkout, "--soak=judge", hours=OVER)
    assert observation == "lab-error"
    assert reason.startswith("the daemon of m1 was started anew during the soak")
    assert not machine.exists


def test_a_member_that_stopped_meanwhile_blocks_the_soak(checkout, machines):
    run(checkout, "--soak=begin")
    (machine,) = machines.values()
    machine.up = False
    ((_, observation, reason),) = run(checkout, "--soak=judge", hours=OVER)
    assert observation == "lab-error"
    assert "m1 stopped, and no scenario stopped it" in reason


def test_a_beginning_that_fails_leaves_nothing(checkout, machines):
    checkout.scenario(SCENARIO.format(hours=LONG).replace('return ["a", "b"]', "raise OSError"))
    checkout.run("--build", "incus@7.0.2", "--evidence", "failing", "--soak=begin")
    assert [cell["observation"] for cell in checkout.cells()] == ["other-failure"]
    (machine,) = machines.values()
    assert not machine.exists
    assert Run.known() == []
