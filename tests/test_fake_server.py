"""The stand-in for a server refuses what a real one refuses, so that tests of the lab can fail for it."""

from __future__ import annotations

import pytest

from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.transcript import Transcript
from tests.fakes import BRIDGE, FakeServer

PLACE = {"project": "clusterproof"}
DEVICES = {
    "root": {"type": "disk", "path": "/", "pool": "clusterproof"},
    "eth0": {"type": "nic", "network": BRIDGE["name"]},
}
INSTANCE = {"name": "c1", "source": {"type": "image", "fingerprint": "f1"}, "devices": DEVICES}


@pytest.fixture
def server():
    with FakeServer() as running:
        running.projects["clusterproof"] = {"name": "clusterproof", "config": {}}
        running.pools["clusterproof"] = {"name": "clusterproof"}
        running.networks[BRIDGE["name"]] = dict(BRIDGE)
        running.images["clusterproof"]["f1"] = {"fingerprint": "f1"}
        yield running


@pytest.fixture
def api(server) -> Api:
    return Api(str(server.socket), name="host", transcript=Transcript())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": {"type": "image", "fingerprint": "f2"}}, 'Image "f2" not found'),
        ({"devices": {"root": {"type": "disk", "path": "/", "pool": "p2"}}}, 'Storage pool "p2" not found'),
        ({"devices": {"eth0": {"type": "nic", "network": "n2"}}}, 'Network "n2" not found'),
    ],
)
def test_an_instance_of_what_is_not_there(api, server, changes, reason):
    with pytest.raises(ApiError, match=reason):
        api.post("instances", INSTANCE | changes, **PLACE)
    assert not server.instances["clusterproof"]


@pytest.mark.parametrize(
    "path", ["projects/clusterproof", "storage-pools/clusterproof", f"networks/{BRIDGE['name']}"]
)
def test_what_is_in_use_is_not_deleted(api, path):
    api.post("instances", INSTANCE, **PLACE)
    with pytest.raises(ApiError, match=r"in use|Only empty projects"):
        api.delete(path)
    api.delete("instances/c1", **PLACE)
    api.delete("images/f1", **PLACE)
    api.delete(path)
    with pytest.raises(ApiError, match="not found"):
        api.get(path)


def test_a_frozen_instance_is_frozen(api):
    api.post("instances", INSTANCE, **PLACE)
    api.put("instances/c1/state", {"action": "start"}, **PLACE)
    api.put("instances/c1/state", {"action": "freeze"}, **PLACE)
    assert api.get("instances/c1", **PLACE)["status"] == "Frozen"
