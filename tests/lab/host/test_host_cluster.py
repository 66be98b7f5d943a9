"""A lab host that is a cluster: what is made on each of its members, and how members are placed and reached."""

from __future__ import annotations

import pytest

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.objects import tunnel
from clusterproof.lab.substrates.container import Container
from tests.fakes import INCUS_702, Answer, FakeServer, Refusal, image, lab_host


@pytest.fixture
def server():
    with FakeServer(version="7.0.2") as running:
        running.make_cluster("h1", "h2")
        running.images["clusterproof"][image().fingerprint] = {"fingerprint": image().fingerprint}
        yield running


@pytest.fixture
def host(server, tmp_path, monkeypatch) -> Host:
    return lab_host(server, tmp_path, monkeypatch, prepared=False)


@pytest.fixture
def prepared(host) -> Host:
    host.prepare()
    return host


def test_is_told_of_as_what_it_is(host):
    assert host.describe() == "cluster of 2 members with incus 7.0.2"
    assert host.members == {"h1": "h1.example.org", "h2": "h2.example.org"}


@pytest.mark.parametrize(("kind", "name"), [("storage-pools", "clusterproof"), ("networks", "clusterproof0")])
def test_each_member_is_told_before_the_whole_is_made(server, prepared, kind, name):  # noqa: ARG001
    calls = server.asked(f"POST {kind}")
    assert [call.query.get("target") for call in calls] == ["h1", "h2", None]
    assert {call.body["name"] for call in calls} == {name}


def test_the_size_of_the_pool_is_each_members_own(server, prepared):  # noqa: ARG001
    *each, whole = server.asked("POST storage-pools")
    assert [call.body["config"] for call in each] == [{"size": "40GiB"}] * 2
    assert "size" not in whole.body["config"]
    assert whole.body["config"]["user.clusterproof"] == "true"


def test_without_btrfs_all_members_get_folders(server, host):
    def no_btrfs(call):
        if call.body["driver"] == "btrfs" and "target" not in call.query:
            raise Refusal(500, "no btrfs on h2")
        return server._pool_list(call)

    server.say["POST storage-pools"] = no_btrfs
    host.prepare()
    drivers = [(call.body["driver"], call.query.get("target")) for call in server.asked("POST storage-pools")]
    assert drivers == [(driver, target) for driver in ("btrfs", "dir") for target in ("h1", "h2", None)]


@pytest.mark.parametrize("kind", ["storage-pools", "networks"])
def test_what_was_begun_and_not_finished_is_made_anew(server, host, kind):
    name = {"storage-pools": "clusterproof", "networks": "clusterproof0"}[kind]
    things = server.pools if kind == "storage-pools" else server.networks
    things[name] = {"name": name, "status": "Pending", "machines": ["h1"]}
    host.prepare()
    assert server.asked(f"DELETE {kind}/{name}")
    assert things[name]["status"] == "Created"


def test_somebody_elses_pool_is_left_alone(server, host):
    server.pools["clusterproof"] = {"name": "clusterproof", "status": "Created", "config": {}}
    with pytest.raises(LabError, match="that clusterproof did not make"):
        host.prepare()
    assert not server.lines("DELETE")


def test_the_network_spans_the_members(server, prepared):  # noqa: ARG001
    config = server.networks["clusterproof0"]["config"]
    assert config["tunnel.x.protocol"] == "vxlan"
    # The kernel takes no more than 15 characters for an interface.
    assert len("clusterproof0" + "-x") <= 15


def test_two_labs_have_two_networks():
    assert tunnel("one")["tunnel.x.id"] != tunnel("another")["tunnel.x.id"]
    assert all(0 < int(tunnel(str(n))["tunnel.x.id"]) < 1 << 24 for n in range(100))


class TestMember:
    @pytest.fixture
    def members(self, prepared) -> list[Container]:
        made = [Container(prepared, f"cp-r1-m{n}", image()) for n in (1, 2)]
        for container in made:
            container.create()
        return made

    def test_is_placed_by_the_scheduler(self, server, members):  # noqa: ARG002
        assert [call.query.get("target") for call in server.asked("POST instances")] == [None, None]
        found = server.instances["clusterproof"]
        assert [found[f"cp-r1-m{n}"]["location"] for n in (1, 2)] == ["h1", "h2"]

    def test_has_its_state_where_it_is(self, server, members):  # noqa: ARG002
        volumes = server.volumes["clusterproof"]
        assert [volumes[f"cp-r1-m{n}-state"]["location"] for n in (1, 2)] == ["h1", "h2"]
        device = server.instances["clusterproof"]["cp-r1-m2"]["devices"]["state"]
        assert device["source"] == "cp-r1-m2-state"

    def test_is_reached_through_its_own_member(self, members):
        assert [member.endpoint.rpartition(":")[0] for member in members] == [
            "https://h1.example.org",
            "https://h2.example.org",
        ]

    def test_stays_there_when_its_image_is_changed(self, server, members):
        server.calls.clear()
        members[1].reimage(image(INCUS_702))
        (call,) = server.asked("POST instances")
        assert call.query["target"] == "h2"
        assert "state" in call.body["devices"]
        assert members[1].endpoint.startswith("https://h2.example.org:")

    def test_that_another_process_made_is_found(self, prepared, members):  # noqa: ARG002
        again = Container(prepared, "cp-r1-m2", image(), "10.176.0.9")
        assert again.endpoint.startswith("https://h2.example.org:")


def test_room_is_looked_for_on_each_member(server, prepared):
    full = {"space": {"total": 40 << 30, "used": 40 << 30}}
    free = {"space": {"total": 40 << 30, "used": 1 << 30}}
    server.say["GET storage-pools/clusterproof/resources"] = lambda call: Answer(
        full if call.query["target"] == "h2" else free
    )
    with pytest.raises(LabError, match="the lab's pool on h2 of cluster of 2 members"):
        prepared.check_room()
