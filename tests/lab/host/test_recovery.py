"""Recovery: what a host lost is noticed, set up again before the next cell, and never the product's fault."""

from __future__ import annotations

import shutil

import pytest

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host import bridge, objects, recovery
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.names import NETWORK, prefix
from clusterproof.lab.host.recovery import recover
from tests.fakes import Answer, make_interface


def test_a_host_that_lost_nothing(prepared, server):
    assert prepared.lost() == ""
    before = server.lines("POST", "PUT", "PATCH", "DELETE")
    assert recover(prepared) == ""
    assert server.lines("POST", "PUT", "PATCH", "DELETE") == before


def test_another_process_that_does_not_finish_setting_it_up(prepared, server, monkeypatch):
    server.info["environment"]["server_pid"] = 4711
    monkeypatch.setattr(recovery, "PATIENCE", 0.05)
    with runs.lock("recovery"), pytest.raises(LabError, match=r"anew; another process has tried .* for 0\.05 s"):
        recover(prepared)
    assert prepared.lost() == "the lab host was started anew"


def test_another_server_took_its_place(prepared, server):
    server.info["environment"]["server_pid"] = 4711
    with pytest.raises(LabError, match="not sound: the lab host was started anew"):
        prepared.check_room()
    assert recover(prepared) == "the lab host was started anew"
    prepared.check_room()


def test_of_a_clustered_host_any_member_may_answer(prepared, server):
    prepared.members = {"h1": "h1.example.org", "h2": "h2.example.org"}
    prepared.prepare()
    server.info["environment"]["server_pid"] = 4711
    assert prepared.lost() == ""


def test_the_bridge_is_deleted_and_made_again_by_its_server(prepared, server):
    shutil.rmtree(bridge.INTERFACES / NETWORK)
    with pytest.raises(LabError, match="not sound: the lab's bridge is gone"):
        prepared.check_room()

    def revive(call):
        # A server makes a bridge again when a key changes that is not the user's.
        changed = call.body["config"]
        assert changed["ipv4.dhcp.expiry"] != server.networks[NETWORK]["config"].get("ipv4.dhcp.expiry")
        make_interface(bridge.INTERFACES, NETWORK, 8)
        return Answer({})

    server.say[f"PATCH networks/{NETWORK}"] = revive
    assert recover(prepared) == "the lab's bridge is gone"
    assert prepared.lost() == ""


def test_a_cell_that_ran_while_another_worker_made_the_bridge_again(prepared):
    make_interface(bridge.INTERFACES, NETWORK, 8)
    with pytest.raises(LabError, match="not sound: the lab's bridge was made anew"):
        prepared.check_room()


def test_a_bridge_that_stays_away(prepared, monkeypatch):
    monkeypatch.setattr(objects, "REVIVED", 0.1)
    shutil.rmtree(bridge.INTERFACES / NETWORK)
    with pytest.raises(LabError, match=r"bridge is gone, and .* cannot be set up again: .*restart the server"):
        recover(prepared)


@pytest.mark.parametrize("kind", ["projects", "pools"])
def test_project_and_pool_are_made_again(prepared, server, kind):
    getattr(server, kind).pop("clusterproof")
    assert recover(prepared) == "the lab's project or pool is gone"
    assert "clusterproof" in getattr(server, kind)


def test_a_host_that_stays_away(prepared, server, monkeypatch):
    monkeypatch.setattr(recovery, "RETURNED", 0.1)
    server.stop()
    with pytest.raises(LabError, match=r"does not answer: .* cannot be set up again: .*incus 6\.0\.4 answers"):
        recover(prepared)


class Private:
    """A private server of which every call is noted."""

    def __init__(self, *, read_only: bool = False) -> None:
        self.calls: list[str] = []
        self.read_only = read_only

    def __call__(self) -> Private:
        return self

    def is_read_only(self) -> bool:
        return self.read_only

    def stop(self) -> None:
        self.calls.append("stop")
        self.read_only = False

    def ensure(self, *, end_members: bool) -> None:
        self.calls.append(f"ensure {end_members}")


@pytest.mark.parametrize(
    ("others", "expected"), [([], "ensure True"), (["another run"], "ensure False")], ids=["alone", "not alone"]
)
def test_a_private_server_is_started_again_and_members_of_other_runs_stay(
    prepared, server, monkeypatch, others, expected
):
    private = Private()
    monkeypatch.setattr(recovery, "PrivateServer", private)
    monkeypatch.setattr("clusterproof.lab.host.host.PrivateServer", private)
    monkeypatch.setattr(recovery, "others_alive", lambda _: others)
    prepared.endpoint = Endpoint(prepared.endpoint.url, private=True)
    server.info["environment"]["server_pid"] = 4711
    assert recover(prepared) == "the lab host was started anew"
    assert private.calls == [expected]


def test_a_pool_that_cannot_be_written_is_mounted_anew(prepared, monkeypatch):
    private = Private(read_only=True)
    monkeypatch.setattr(recovery, "PrivateServer", private)
    monkeypatch.setattr("clusterproof.lab.host.host.PrivateServer", private)
    prepared.endpoint = Endpoint(prepared.endpoint.url, private=True)
    assert recover(prepared) == "the lab's pool cannot be written any more"
    assert private.calls == ["stop", "ensure True"]


def test_what_the_cells_before_left_is_deleted_and_nothing_else(prepared, server):
    mine, other = prefix(prepared.run), prefix(prepared.run).rpartition("-")[0] + "-1"
    (prepared.run.folder / "1.lock").touch()
    for name in (f"{mine}-1-m1", f"{other}-1-m1", "person"):
        server.add_instance(name, run=prepared.run.id)
    server.add_volume(f"{mine}-1-m1-state", run=prepared.run.id)
    server.info["environment"]["server_pid"] = 4711
    recover(prepared)
    # Process 1 held the run and does no longer: its worker was killed.
    assert set(server.instances["clusterproof"]) == {"person"}
    assert server.volumes["clusterproof"] == {}


def test_members_of_a_living_worker_stay(prepared, server, monkeypatch):
    monkeypatch.setattr(type(prepared.run), "holders", lambda _: {1})
    other = prefix(prepared.run).rpartition("-")[0] + "-1-1-m1"
    server.add_instance(other, run=prepared.run.id)
    server.info["environment"]["server_pid"] = 4711
    recover(prepared)
    assert set(server.instances["clusterproof"]) == {other}
