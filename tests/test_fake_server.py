"""The stand-in for a server refuses what a real one refuses, so that tests of the lab can fail for it.

Statuses and words are those that LXD 5.0.2 and Incus 6.0.4 gave to the same calls.
"""

from __future__ import annotations

import pytest

from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.substrates.machine import Result
from tests.fakes import BRIDGE, FakeMachine, FakeServer, image, out

PLACE = {"project": "clusterproof"}
VOLUMES = "storage-pools/clusterproof/volumes/custom"
DEVICES = {
    "root": {"type": "disk", "path": "/", "pool": "clusterproof"},
    "eth0": {"type": "nic", "network": BRIDGE["name"]},
}
INSTANCE = {"name": "c1", "source": {"type": "image", "fingerprint": "f1"}, "devices": DEVICES}


@pytest.fixture(params=["incus", "lxd"])
def server(request):
    with FakeServer(product=request.param) as running:
        running.projects["clusterproof"] = {"name": "clusterproof", "config": {}}
        running.pools["clusterproof"] = {"name": "clusterproof"}
        running.networks[BRIDGE["name"]] = dict(BRIDGE)
        running.images["clusterproof"]["f1"] = {"fingerprint": "f1"}
        yield running


@pytest.fixture
def api(server) -> Api:
    return Api(str(server.socket), name="host", transcript=Transcript())


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"source": {"type": "image", "fingerprint": "f2"}}, {"lxd": 404}, "Image not found"),
        ({"devices": {"root": {"type": "disk", "pool": "p2"}}}, {"lxd": 400}, r"pool: Storage pool not found"),
        ({"devices": {"eth0": {"type": "nic", "network": "n2"}}}, {"lxd": 400}, '"n2".*Network not found'),
    ],
)
def test_an_instance_of_what_is_not_there(api, server, changes, status, reason):
    with pytest.raises(ApiError, match=reason) as caught:
        api.post("instances", INSTANCE | changes, **PLACE)
    assert caught.value.status == status.get(server.product, 404)
    assert not server.instances["clusterproof"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("projects/clusterproof", 500), ("storage-pools/clusterproof", 400), (f"networks/{BRIDGE['name']}", 400)],
)
def test_what_is_in_use_is_not_deleted(api, path, status):
    api.post("instances", INSTANCE, **PLACE)
    with pytest.raises(ApiError, match=r"is currently in use|Only empty projects can be removed") as caught:
        api.delete(path)
    assert caught.value.status == status
    api.delete("instances/c1", **PLACE)
    api.delete("images/f1", **PLACE)
    api.delete(path)
    with pytest.raises(ApiError, match="not found") as caught:
        api.get(path)
    assert caught.value.status == 404


def test_lxd_alone_deletes_a_project_with_a_volume(api, server):
    server.images["clusterproof"].clear()
    api.post(VOLUMES, {"name": "v1", "type": "custom", "config": {}}, **PLACE)
    if server.product == "lxd":
        api.delete("projects/clusterproof")
        return
    with pytest.raises(ApiError, match="Only empty projects"):
        api.delete("projects/clusterproof")
    api.delete(f"{VOLUMES}/v1", **PLACE)
    api.delete("projects/clusterproof")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("projects", {"name": "clusterproof"}, {"incus": 500, "lxd": 409}, r'"projects" entry'),
        ("networks", {"name": BRIDGE["name"]}, {"incus": 409, "lxd": 400}, "etwork.* already exists"),
        ("storage-pools", {"name": "clusterproof"}, {}, "The storage pool already exists"),
        (VOLUMES, {"name": "v1"}, {}, "Volume by that name already exists"),
        ("instances", INSTANCE, {"incus": 500, "lxd": 400}, '"instances" entry'),
    ],
)
def test_nothing_is_made_twice(api, server, path, body, status, words):
    if path in ("instances", VOLUMES):
        api.post(path, body, **PLACE)
    with pytest.raises(ApiError, match=words) as caught:
        api.post(path, body, **PLACE)
    assert caught.value.status == status.get(server.product, 409)


def test_there_is_no_instance_outside_of_projects(api):
    with pytest.raises(ApiError, match="Project not found") as caught:
        api.post("instances", INSTANCE, project="none")
    assert caught.value.status == 404


def test_what_does_not_run_runs_no_command(api):
    api.post("instances", INSTANCE, **PLACE)
    with pytest.raises(ApiError, match="Instance is not running") as caught:
        api.post("instances/c1/exec", {"command": ["true"]}, **PLACE)
    assert caught.value.status == 400
    with pytest.raises(ApiError, match="already stopped"):
        api.put("instances/c1/state", {"action": "stop"}, **PLACE)
    with pytest.raises(ApiError, match="Unknown action: 'explode'"):
        api.put("instances/c1/state", {"action": "explode"}, **PLACE)


@pytest.mark.parametrize("path", ["nonsense", "instances/none", "operations/none", f"{VOLUMES}/none"])
def test_what_is_not_there_is_not_found(api, path):
    with pytest.raises(ApiError, match=r"[Nn]ot [Ff]ound") as caught:
        api.get(path)
    assert caught.value.status == 404


def test_a_frozen_instance_is_frozen(api):
    api.post("instances", INSTANCE, **PLACE)
    api.put("instances/c1/state", {"action": "start"}, **PLACE)
    api.put("instances/c1/state", {"action": "freeze"}, **PLACE)
    assert api.get("instances/c1", **PLACE)["status"] == "Frozen"


def test_a_command_that_a_machine_does_not_know_is_an_error():
    machine = FakeMachine("m1", image(), answers=[("incus list", out("c1"))])
    machine.start()
    assert machine.execute(["incus", "list"], timeout=1) == out("c1")
    assert machine.execute(["systemctl", "daemon-reload"], timeout=1).ok
    assert machine.execute(["incus", "lst"], timeout=1) == Result(127, "", "sh: 1: incus: not found")
