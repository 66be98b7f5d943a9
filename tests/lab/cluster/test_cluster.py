"""Clusters: how members are made, joined, asked, changed and removed.

The members are stand-ins; their product's API is answered by a server on a unix socket.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterproof.lab.cluster import cluster as clusters
from clusterproof.lab.cluster.cluster import Cluster, Instance
from clusterproof.lab.cluster.member import CommandError
from clusterproof.lab.core import waiting
from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.redaction import MARK, redact
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import prefix
from clusterproof.lab.substrates import container as containers
from clusterproof.lab.substrates.machine import CommandTimeoutError, Result
from tests.fakes import INCUS_604, Answer, FakeMachine, FakeServer, Refusal, image, out, stay_alone


@pytest.fixture
def product():
    """What answers in the members' place."""
    with FakeServer() as running:
        yield running


@pytest.fixture
def host(tmp_path, monkeypatch):
    stay_alone(monkeypatch, tmp_path / "lab")
    run = Run("20260302T210400Z-ab12")
    run.hold()
    with FakeServer() as server:
        host = Host(Endpoint(str(server.socket)), run, Transcript())
        host.prepare()
        yield host


@pytest.fixture
def cluster(host, product, tmp_path, monkeypatch) -> Cluster:
    """A cluster whose machines are stand-ins that behave."""
    numbers = itertools.count(2)

    def machine(_, name, image):
        answers = [
            ("init --preseed", lambda _, stdin: joined(product, stdin)),
            ("cluster.crt", out("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")),
            ("MainPID", out("0")),
            ("journalctl", out(f"log of {name}")),
        ]
        return FakeMachine(name, image, f"10.176.0.{next(numbers)}", answers)

    def api(endpoint, *, name, transcript, cert, server_cert):
        assert endpoint.startswith("https://10.176.0.")
        assert endpoint.endswith(":8443")
        assert all(path.is_file() for path in (*cert, server_cert))
        return Api(str(product.socket), name=name, transcript=transcript)

    monkeypatch.setattr("clusterproof.lab.substrates.container.Container", machine)
    monkeypatch.setattr(clusters, "Api", api)
    monkeypatch.setattr(clusters, "eventually", soon)
    return Cluster(host, Transcript(tmp_path / "transcript.jsonl"))


def soon(probe, *args, **options):
    """Wait as long as the lab, and ask again sooner."""
    return waiting.eventually(probe, *args, **options, every=0.001)


@pytest.fixture
def impatient(cluster, monkeypatch):  # noqa: ARG001 (which sets another patience)
    """Ask twice or so."""

    def eventually(probe, *args, **options):
        return waiting.eventually(probe, *args, **{**options, "every": 0.001, "within": 0.01})

    monkeypatch.setattr(clusters, "eventually", eventually)


def joined(product: FakeServer, stdin: bytes) -> Result:
    """Take up the member whose preseed this is, as the product would."""
    seed = yaml.safe_load(stdin)["cluster"]
    name = seed["server_name"]
    if not product.members:
        seed["server_address"] = "first"
    elif token_of(seed)["server_name"] != name:
        return Result(1, "", "Error: token is for another member\n")
    roles = ["database"] if product.members else ["database", "database-leader"]
    product.members[name] = {"server_name": name, "status": "Online", "roles": roles}
    return out("")


def token_of(seed: dict) -> dict:
    return json.loads(base64.b64decode(seed["cluster_token"], validate=True))


def seeds(member) -> list[dict]:
    return [yaml.safe_load(given) for line, given in member.machine.given.items() if "init" in line]


def formed(cluster: Cluster, count: int = 3) -> Cluster:
    cluster.make_members([image()] * count)
    cluster.form()
    return cluster


# Making


def test_members_are_made_and_booted_at_once(cluster, monkeypatch):
    together = threading.Barrier(3)
    plain: Any = containers.Container

    def machine(*args):
        made = plain(*args)
        monkeypatch.setattr(made, "create", lambda: together.wait(10))
        return made

    monkeypatch.setattr("clusterproof.lab.substrates.container.Container", machine)
    made = cluster.make_members([image(), image(INCUS_604), image()])
    assert made == cluster.members
    assert [member.name for member in made] == ["m1", "m2", "m3"]
    assert [member.build.name for member in made] == ["incus@7.0.2", "incus@6.0.4", "incus@7.0.2"]
    assert all(member.machine.running() for member in made)
    assert len({member.machine.name for member in made}) == 3
    assert cluster.phases["members"] > 0


def test_members_made_later_have_the_next_names(cluster):
    cluster.make_members([image()])
    assert [member.name for member in cluster.make_members([image()])] == ["m2"]
    assert cluster.member("m2") is cluster.members[1]


def test_names_carry_the_run_and_differ_between_clusters(cluster, host):
    other = Cluster(host, Transcript())
    names = [one.make_members([image()])[0].machine.name for one in (cluster, other)]
    assert all(name.startswith(f"{prefix(host.run)}-") for name in names)
    assert "-ab12-" in prefix(host.run)
    assert len(set(names)) == 2


def test_a_member_that_cannot_be_made_leaves_nothing_behind(cluster, monkeypatch):
    plain: Any = containers.Container

    def machine(host, name, image):
        made = plain(host, name, image)
        if name.endswith("m2"):
            made.broken["create"] = LabError("no space left")
        return made

    monkeypatch.setattr("clusterproof.lab.substrates.container.Container", machine)
    with pytest.raises(LabError, match="no space left"):
        cluster.make_members([image()] * 3)
    machines = [member.machine for member in cluster.members]
    assert len(machines) == 3
    cluster.destroy()
    assert [machine.done[-1] for machine in machines] == ["destroy"] * 3


# Joining


def test_a_cluster_is_bootstrapped_and_the_others_join(cluster, product):
    formed(cluster)
    first, *others = cluster.members
    (seed,) = seeds(first)
    assert seed["config"]["core.https_address"] == f"{first.address}:8443"
    assert seed["cluster"] == {"enabled": True, "server_name": "m1"}
    for member in others:
        (seed,) = seeds(member)
        assert seed["cluster"]["server_name"] == member.name
        assert seed["cluster"]["server_address"] == f"{member.address}:8443"
        assert token_of(seed["cluster"])["server_name"] == member.name
    assert list(product.members) == ["m1", "m2", "m3"]
    assert cluster.phases["cluster"] > 0


def test_this_process_s_certificate_is_trusted(cluster, host):
    formed(cluster, 1)
    first = cluster.members[0].machine
    (trusted,) = [line for line in first.commands if "/1.0/certificates" in line]
    certificate = (host.run.folder / "clusterproof.crt").read_text()
    body = "".join(certificate.split("-----")[2].split())
    assert body in trusted
    assert "PRIVATE" not in " ".join(first.commands)


def test_a_member_that_does_not_trust_the_client_yet_is_waited_for(cluster, product):
    formed(cluster)
    answers = itertools.chain(["untrusted"] * 2, itertools.repeat("trusted"))
    product.say["GET "] = lambda _: Answer(product.info | {"auth": next(answers)})
    before = len(product.asked("GET "))
    client = cluster.client(cluster.members[2])
    assert len(product.asked("GET ")) == before + 3
    assert client.get("")["auth"] == "trusted"


def test_a_token_is_made_from_the_operation(cluster):
    formed(cluster, 1)
    token = json.loads(base64.b64decode(cluster.token("m9"), validate=True))
    assert token == {
        "server_name": "m9",
        "fingerprint": "fab1e5",
        "addresses": ["10.176.0.9:8443"],
        "secret": "ab12" * 16,
        "expires_at": "2026-01-02T03:04:05Z",
    }
    assert redact("the secret was ab12ab12ab12ab12ab12") == f"the secret was {MARK}"


def test_neither_token_nor_key_is_in_the_transcript(cluster):
    formed(cluster)
    cluster.transcript.flush()
    text = cluster.transcript.path.read_text()
    assert "ab12" * 16 not in text
    for member in cluster.members[1:]:
        (seed,) = seeds(member)
        assert seed["cluster"]["cluster_token"] not in text


def test_a_member_may_join_under_another_name(cluster, product):
    formed(cluster, 1)
    (member,) = cluster.make_members([image()])
    cluster.join(member, "other")
    assert list(product.members) == ["m1", "other"]


def test_a_refused_join_has_the_product_s_words(cluster):
    formed(cluster, 1)
    (member,) = cluster.make_members([image()])
    member.machine.answers.insert(0, ("init", Result(1, "", "Error: Failed to join cluster: version\n")))
    with pytest.raises(CommandError, match=r"m2: .*ended with 1: Error: Failed to join cluster: version"):
        cluster.join(member)


@pytest.mark.parametrize(
    "failure",
    [Result(1, "", "Error: no database\n"), CommandTimeoutError("init was still running")],
)
def test_a_cluster_that_is_not_formed_is_the_lab_s_fault(cluster, failure):
    cluster.make_members([image()] * 2)
    cluster.members[1].machine.answers.insert(0, ("init", failure))
    with pytest.raises(LabError, match=r"the cluster could not be formed: .*(no database|still running)"):
        cluster.form()


@pytest.mark.usefixtures("impatient")
def test_a_cluster_that_is_never_online_is_the_lab_s_fault(cluster, product):
    product.say["GET cluster/members"] = Answer(
        [{"server_name": "m1", "status": "Online"}, {"server_name": "m2", "status": "Offline"}]
    )
    cluster.make_members([image()] * 2)
    with pytest.raises(LabError, match=r"could not be formed: .*m1, m2 Online.*'m2': 'Offline'"):
        cluster.form()


def test_an_api_that_refuses_tokens_is_the_lab_s_fault_while_forming(cluster, product):
    product.say["POST cluster/members"] = Refusal(403, "not authorized")
    cluster.make_members([image()] * 2)
    with pytest.raises(LabError, match=r"could not be formed: m1: .*not authorized"):
        cluster.form()


def test_a_cluster_may_be_formed_of_some_members(cluster, product):
    made = cluster.make_members([image()] * 3)
    cluster.form(made[:2])
    assert list(product.members) == ["m1", "m2"]


# Asking


def test_statuses_and_leader(cluster, product):
    formed(cluster)
    product.members["m2"]["status"] = "Evacuated"
    assert cluster.statuses() == {"m1": "Online", "m2": "Evacuated", "m3": "Online"}
    assert cluster.leader() is cluster.members[0]
    product.members["m1"]["roles"], product.members["m3"]["roles"] = [], ["database-leader"]
    assert cluster.leader(cluster.members[1]) is cluster.members[2]
    for entry in product.members.values():
        entry["roles"] = []
    with pytest.raises(ApiError, match="no member is the database's leader, as <member m1"):
        cluster.leader()


@pytest.mark.usefixtures("impatient")
def test_waiting_for_some_members(cluster, product):
    formed(cluster)
    product.members["m3"]["status"] = "Offline"
    cluster.wait_online(cluster.members[:2])
    with pytest.raises(waiting.NotObservedError, match="m1, m2, m3 Online"):
        cluster.wait_online()


def test_a_member_that_does_not_answer_yet_is_waited_for(cluster, product):
    formed(cluster)
    answers = itertools.chain([Refusal(503, "not yet")] * 2, itertools.repeat(None))

    def later(_):
        return next(answers) or Answer(list(product.members.values()))

    product.say["GET cluster/members"] = later
    before = len(product.asked("GET cluster/members"))
    cluster.wait_online()
    assert len(product.asked("GET cluster/members")) == before + 3


def test_an_instance_is_where_and_how_the_asked_member_says(cluster, product):
    formed(cluster)
    product.say["GET instances/c1"] = Answer({"name": "c1", "location": "m2", "status": "Stopped"})
    assert cluster.instance("c1") == Instance("m2", "Stopped")
    assert cluster.instance("c1", cluster.members[1]).location == "m2"
    product.say["GET instances/c1"] = Refusal(404, "Instance not found")
    with pytest.raises(ApiError, match="Instance not found"):
        cluster.instance("c1")


def test_an_instance_is_waited_for_until_it_runs(cluster, product):
    formed(cluster)
    statuses = itertools.chain(["Stopped", "Error"], itertools.repeat("Running"))
    product.say["GET instances/c1"] = lambda _: Answer({"location": "m1", "status": next(statuses)})
    cluster.wait_running("c1")
    assert len(product.asked("GET instances/c1")) == 3
    product.say["GET instances/c1"] = Answer({"location": "m1", "status": "Stopped"})
    with pytest.raises(waiting.NotObservedError, match="c1 is Running; last observation: 'Stopped'"):
        cluster.wait_running("c1", within=0.01)


@pytest.mark.parametrize(("mode", "more"), [("", {}), ("skip", {"mode": "skip"})])
@pytest.mark.parametrize("action", ["evacuate", "restore"])
def test_evacuating_and_restoring_are_asked_of_the_first_member(cluster, product, action, mode, more):
    formed(cluster)
    product.say["POST cluster/members/m2/state"] = Answer()
    getattr(cluster, action)(cluster.member("m2"), mode)
    (call,) = product.asked("POST cluster/members/m2/state")
    assert call.body == {"action": action, **more}


def test_what_the_product_says_of_evacuating_is_passed_on(cluster, product):
    formed(cluster)
    product.say["POST cluster/members/m1/state"] = Refusal(400, "Failed to evacuate instances: no target")
    with pytest.raises(ApiError, match="Failed to evacuate instances: no target"):
        cluster.evacuate(cluster.members[0])


def test_a_restricted_client_has_a_certificate_of_its_own(cluster, product):
    formed(cluster)
    product.say["POST certificates"] = Answer()
    client = cluster.restricted_client("p1")
    sent = product.asked("POST certificates")[-1].body
    assert (sent["type"], sent["restricted"], sent["projects"]) == ("client", True, ["p1"])
    assert client.name == "m1, restricted to p1"
    assert client is not cluster.client()


def test_one_client_for_each_member(cluster):
    formed(cluster)
    first, second, _ = cluster.members
    assert cluster.client() is cluster.client(first)
    assert cluster.client(second) is not cluster.client(first)
    assert cluster.client(second).name == "m2"


# Changing builds


def test_a_change_of_build_keeps_what_matters_in_order(cluster):
    formed(cluster)
    member = cluster.members[1]
    client = cluster.client(member)
    member.machine.done.clear()
    member.machine.commands.clear()
    older = image(INCUS_604, schema=73)
    cluster.upgrade(member, older)
    assert member.build.name == "incus@6.0.4"
    assert member.machine.done == ["reimage", "start"]
    commands = member.machine.commands
    wanted = ("journalctl --no-pager --output=short", "--output=json", "stop --no-block", "start --no-block")
    places = [
        next(number for number, command in enumerate(commands) if part in command) for part in wanted
    ]
    assert places == sorted(places)
    assert places[2] < commands.index("sync") < places[3]
    assert cluster.past_logs == {"m2": [f"log of {member.machine.name}"]}
    assert cluster.client(member) is not client


def test_logs_are_those_of_all_members_and_earlier_machines(cluster):
    formed(cluster)
    first, second, third = cluster.members
    cluster.upgrade(second, image(INCUS_604))
    third.kill()
    logs = cluster.logs()
    assert logs["m1"].strip() == f"log of {first.machine.name}"
    assert logs["m2"].splitlines() == [f"log of {second.machine.name}"] * 2
    assert logs["m3"].strip() == ""


# Was the lab sound?


def test_a_sound_lab_has_room_and_its_members_run(cluster, monkeypatch):
    asked = []
    monkeypatch.setattr(cluster.substrate, "check_room", lambda: asked.append("room"))
    formed(cluster)
    for member in cluster.members:
        running = member.machine.running

        def watched(running=running, name=member.name):
            asked.append(name)
            return running()

        monkeypatch.setattr(member.machine, "running", watched)
    cluster.members[1].stop()
    cluster.check_lab()
    # A member that a scenario stopped is to stand still.
    assert asked == ["room", "m1", "m3"]


def test_a_member_that_stopped_by_itself(cluster):
    formed(cluster)
    cluster.members[1].machine.up = False
    with pytest.raises(LabError, match="member m2 stopped, and no scenario stopped it"):
        cluster.check_lab()


def test_a_host_without_room(cluster, host, monkeypatch):
    def full():
        raise LabError("the lab's pool is full")

    formed(cluster)
    monkeypatch.setattr(host, "check_room", full)
    with pytest.raises(LabError, match="pool is full"):
        cluster.check_lab()


# Ending


def test_all_members_are_removed(cluster):
    formed(cluster)
    machines = [member.machine for member in cluster.members]
    cluster.destroy()
    assert [machine.exists for machine in machines] == [False] * 3
    assert cluster.members == []
    cluster.destroy()


def test_all_members_are_tried_also_when_one_cannot_be_removed(cluster):
    formed(cluster)
    machines = [member.machine for member in cluster.members]
    machines[0].broken["destroy"] = LabError("cannot delete instance: device busy")
    with pytest.raises(LabError, match="device busy"):
        cluster.destroy()
    assert [machine.done[-1] for machine in machines] == ["destroy"] * 3
    assert [machine.exists for machine in machines] == [True, False, False]


def test_a_cluster_without_members(cluster):
    cluster.destroy()
    assert cluster.logs() == {}
    cluster.check_lab()


def test_the_run_s_folder_keeps_its_key_to_itself(cluster, host):
    formed(cluster, 1)
    keys = list(Path(host.run.folder).glob("*.key"))
    assert keys
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)


def test_a_heartbeat_that_comes_late_is_waited_out(cluster, product):
    seen = itertools.chain(["Offline", "Offline"], itertools.repeat("Evacuated"))

    def listed(_):
        return Answer([{"server_name": "m1", "status": "Online"}, {"server_name": "m2", "status": next(seen)}])

    formed(cluster)
    product.say["GET cluster/members"] = listed
    first, second, third = cluster.members
    assert cluster.status_of(second) == "Evacuated"
    assert cluster.status_of(first) == "Online"
    assert cluster.status_of(third) == ""


def test_a_member_that_stays_offline_is(cluster, product, monkeypatch):
    monkeypatch.setattr("clusterproof.lab.cluster.cluster.ONLINE", 0.3)
    formed(cluster)
    product.say["GET cluster/members"] = lambda _: Answer([{"server_name": "m1", "status": "Offline"}])
    assert cluster.status_of(cluster.members[0]) == "Offline"
