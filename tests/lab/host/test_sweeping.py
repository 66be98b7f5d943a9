"""Sweeping: what dead runs left is deleted, what others have is not."""

from __future__ import annotations

import os

import pytest

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import Process
from clusterproof.lab.core.runs import Run, owner
from clusterproof.lab.host import sweeping
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.names import prefix
from clusterproof.lab.host.sweeping import delete_ended, is_idle, release, runs_on, sweep
from tests.fakes import Answer, Refusal, stay_alone


def left_on(server) -> set[str]:
    found = [*server.instances.items(), *server.volumes.items()]
    return {f"{project}/{name}" for project, things in found for name in things}


def test_sweeping_deletes_what_dead_runs_of_this_computer_left(prepared, server):
    live, kept = Run("live"), Run("kept")
    live.hold()
    kept.hold()
    kept.keep()
    os.close(kept._held)
    mine = {"owner": owner()}
    server.add_instance("dead-m1", run="dead", **mine)
    server.add_volume("dead-m1-state", run="dead", **mine)
    server.add_volume("half-state", run="half", **mine)
    for name, config in {
        "live-m1": {"run": "live", **mine},
        "kept-m1": {"run": "kept", **mine},
        "this-m1": {"run": prepared.run.id, **mine},
        "other-m1": {"run": "other", "owner": "another computer"},
        "person": {},
    }.items():
        server.add_instance(name, **config)
        server.add_volume(f"{name}-state", **config)
    server.add_instance("elsewhere", project="default", run="dead", **mine)
    server.add_volume("elsewhere-state", project="default", run="dead", **mine)
    before = left_on(server)

    assert sweep(prepared) == [
        "run dead: 2 instances, volumes and processes removed",
        "run half: 1 instances, volumes and processes removed",
    ]
    gone = {"clusterproof/dead-m1", "clusterproof/dead-m1-state", "clusterproof/half-state"}
    assert left_on(server) == before - gone
    assert sweep(prepared) == []
    live.forget()
    assert sweep(prepared) == ["run live: 2 instances, volumes and processes removed"]


def test_sweeping_forgets_dead_runs_that_left_nothing(prepared):
    dead = Run("dead")
    dead.hold()
    assert dead.reserve("10.176.0.9")
    os.close(dead._held)
    assert sweep(prepared) == []
    assert "dead" not in [run.id for run in Run.known()]
    assert prepared.run.reserve("10.176.0.9")


def test_sweeping_gives_back_addresses_of_a_run_of_another_host(prepared, server):
    server.add_instance("dead-m1", run="dead", owner=owner())
    assert Run("dead").reserve("10.176.0.9")
    sweep(prepared)
    assert prepared.run.reserve("10.176.0.9")


def test_what_cannot_be_swept_does_not_hide_the_rest(prepared, server):
    for run in ("a", "b"):
        server.add_instance(f"{run}-m1", run=run, owner=owner())
    server.say["DELETE instances/a-m1"] = Refusal(500, "device busy")
    with pytest.raises(LabError, match="cannot delete instance a-m1"):
        sweep(prepared)
    assert "b-m1" not in server.instances["clusterproof"]


def test_idle_is_a_host_that_nobody_else_uses(prepared, server):
    assert is_idle(prepared)
    other = Run("other")
    other.hold()
    assert not is_idle(prepared)
    other.forget()
    server.add_instance("c1", run="x")
    assert not is_idle(prepared)


def test_releasing_clears_what_the_run_left(prepared, server):
    server.add_instance("m1", run=prepared.run.id, owner=owner())
    server.add_volume("m1-state", run=prepared.run.id, owner=owner())
    server.add_instance("other", run="other", owner=owner())
    assert release(prepared) == 2
    assert left_on(server) == {"clusterproof/other"}
    assert not prepared.run.alive()


def test_releasing_stops_a_private_server_that_nobody_else_uses(prepared, monkeypatch):
    stopped = []

    class Private:
        def stop(self, idle=lambda: True) -> bool:
            if idle():
                stopped.append(1)
                return True
            return False

    monkeypatch.setattr(sweeping, "PrivateServer", Private)
    assert release(prepared) == 0
    assert stopped == []
    prepared.endpoint = Endpoint(prepared.endpoint.url, private=True)
    other = Run("other")
    other.hold()
    release(prepared)
    assert stopped == []
    other.forget()
    release(prepared)
    assert stopped == [1]


def test_releasing_a_host_that_is_gone_is_the_lab_s_fault(prepared, server):
    server.stop()
    with pytest.raises(LabError, match="host"):
        release(prepared)


def test_between_two_cells_what_ended_ones_left_goes(prepared, server, monkeypatch):
    here, elsewhere, dead = os.getpid(), 4242, 4243
    monkeypatch.setattr(prepared.run, "holders", lambda: {here, elsewhere})
    start = prefix(prepared.run).rpartition("-")[0]
    for process in (here, elsewhere, dead):
        server.add_instance(f"{start}-{process:x}-m1", run=prepared.run.id, owner=owner())
        server.add_volume(f"{start}-{process:x}-m1-state", run=prepared.run.id, owner=owner())
    server.add_instance("golden", run=prepared.run.id, owner=owner())
    server.add_instance(f"{start}-{dead:x}-m2", run="other", owner=owner())
    monitors = [Process(prepared.run.folder, f"{start}-{process:x}-m1") for process in (elsewhere, dead)]
    for monitor in monitors:
        monitor.start(["sleep", "600"])
    assert delete_ended(prepared) == 5
    assert [monitor.pid() is not None for monitor in monitors] == [True, False]
    monitors[0].end()
    assert left_on(server) == {
        "clusterproof/golden",
        f"clusterproof/{start}-{elsewhere:x}-m1",
        f"clusterproof/{start}-{elsewhere:x}-m1-state",
        f"clusterproof/{start}-{dead:x}-m2",
    }


def test_the_owner_is_this_computer_and_this_lab(monkeypatch, tmp_path):
    mine = owner()
    assert str(runs.folder()) in mine
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "another"))
    assert owner() != mine


def test_nothing_is_asked_of_other_projects(prepared, server):
    server.add_instance("m1", run="dead", owner=owner())
    sweep(prepared)
    things = ("instances", "images", "storage-pools/clusterproof/volumes")
    asked = [call for call in server.calls if call.path.startswith(things)]
    assert asked
    assert {call.query.get("project") for call in asked} == {"clusterproof"}


def test_an_instance_without_config(prepared, server):
    server.say["GET instances"] = Answer([{"name": "odd", "config": {}}])
    assert runs_on(prepared) == set()


def test_members_that_cannot_be_deleted_go_with_a_restart_of_a_private_server(prepared, server, monkeypatch):
    calls = []

    class Private:
        def ensure(self) -> None:
            calls.append("ensure")
            server.say.clear()

        def stop(self, idle=lambda: True) -> bool:
            calls.append("stop")
            return idle()

    monkeypatch.setattr(sweeping, "PrivateServer", Private)
    server.add_instance("m1", run=prepared.run.id, owner=owner())
    server.say["DELETE instances/m1"] = Refusal(500, "device busy")
    with pytest.raises(LabError, match="device busy"):
        release(prepared)
    assert calls == []
    prepared.endpoint = Endpoint(prepared.endpoint.url, private=True)
    # The members of another run would end with it.
    other = Run("other")
    other.hold()
    for clear in (release, sweep):
        server.add_instance("m2", run="dead", owner=owner())
        server.say["DELETE instances/m2"] = Refusal(500, "device busy")
        with pytest.raises(LabError, match="device busy"):
            clear(prepared)
    assert calls == []
    other.forget()
    del server.instances["clusterproof"]["m2"]
    assert release(prepared) == 1
    assert calls == ["stop", "ensure", "stop"]
    assert left_on(server) == set()


@pytest.fixture
def borrowable(server, monkeypatch, tmp_path) -> str:
    """The address of a server that stands in for the lab host."""
    stay_alone(monkeypatch, tmp_path / "lab")
    return str(server.socket)


def test_what_is_made_on_a_borrowed_host_goes_with_its_run(borrowable, server):
    with sweeping.borrowed(borrowable) as host:
        assert host.is_prepared()
        server.add_instance("m1", run=host.run.id, owner=owner())
    assert not left_on(server)
    assert Run.known() == []


def test_what_is_kept_for_the_user_stays_on_a_borrowed_host(borrowable, server):
    with sweeping.borrowed(borrowable) as host:
        host.run.keep()
        server.add_instance("m1", run=host.run.id, owner=owner())
    assert left_on(server) == {"clusterproof/m1"}
    assert [run.id for run in Run.known()] == [host.run.id]
