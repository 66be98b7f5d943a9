"""The lab watch: troubles from outside that are over when somebody asks are known all the same."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from clusterproof.lab.cluster import lab_watch
from clusterproof.lab.cluster.cluster import Cluster
from clusterproof.lab.cluster.lab_watch import AT_ONCE, LabWatch, unanswered
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import began, state_of
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import eventually
from clusterproof.lab.host.host import ROOM
from clusterproof.lab.substrates.machine import Watched
from tests.fakes import FakeMachine, StandIn, image


class Pool(StandIn):
    """A host, as far as the watch asks it."""

    def __init__(self) -> None:
        self.room: int | None = 1 << 40

    def free(self) -> int | None:
        return self.room


class Seen(StandIn):
    """A member whose machine is this process, with another one as its service."""

    def __init__(self, name: str, watched: Watched | None) -> None:
        self.name = name
        self.machine = self
        self._watched = watched

    def watched(self) -> Watched | None:
        return self._watched


@pytest.fixture
def service():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


@pytest.fixture
def watched(tmp_path, service) -> Watched:
    procs = tmp_path / "cgroup.procs"
    procs.write_text(f"{service.pid}\n")
    return Watched(os.getpid(), began(os.getpid()), "127.0.0.1", procs)


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def watch(pool, watched) -> LabWatch:
    return LabWatch(pool, [Seen("m1", watched), Seen("m2", None)], Transcript())


def answers(monkeypatch, *missing: int) -> None:
    """Let so many refusals be missing, look after look."""
    given = list(missing)
    monkeypatch.setattr(lab_watch, "unanswered", lambda addresses: dict.fromkeys(addresses, given.pop(0)))


def test_nothing_is_seen_where_nothing_is_wrong(watch, pool):
    for pool.room in (ROOM, 1 << 40, None):
        assert watch.look() == ""


def test_a_service_that_is_stopped_by_a_signal(watch, service):
    service.send_signal(signal.SIGSTOP)
    eventually(lambda: state_of(service.pid)[1] == "T")
    assert watch.look() == f"{state_of(service.pid)[0]} of member m1 was stopped by a signal from outside"
    service.send_signal(signal.SIGCONT)
    eventually(lambda: state_of(service.pid)[1] != "T")
    assert watch.look() == ""


def test_a_first_process_that_is_stopped(pool, service):
    first = Watched(service.pid, began(service.pid), "127.0.0.1", None)
    service.send_signal(signal.SIGSTOP)
    eventually(lambda: state_of(service.pid)[1] == "T")
    seen = LabWatch(pool, [Seen("m1", first)], Transcript()).look()
    assert seen == "the first process of member m1 was stopped by a signal from outside"


@pytest.fixture
def outside(tmp_path):
    """A member whose server is in no cgroup of its service, and that server, for which a copy of cat stands."""
    program = tmp_path / "lxd"
    shutil.copy(shutil.which("cat") or "", program)
    (tmp_path / "cgroup.procs").touch()
    with subprocess.Popen([program], stdin=subprocess.PIPE) as server:
        (tmp_path / "lxd.pid").write_text(f"{server.pid}\n")
        me = os.getpid()
        seen = Watched(me, began(me), "127.0.0.1", tmp_path / "cgroup.procs", str(tmp_path / "lxd.pid"))
        yield Seen("m1", seen), server
        server.kill()


def test_a_server_outside_of_its_service_that_is_stopped(pool, outside):
    member, server = outside
    watch = LabWatch(pool, [member], Transcript())
    assert watch.look() == ""
    server.send_signal(signal.SIGSTOP)
    eventually(lambda: state_of(server.pid)[1] == "T")
    assert watch.look() == "lxd of member m1 was stopped by a signal from outside"
    server.send_signal(signal.SIGCONT)
    eventually(lambda: state_of(server.pid)[1] != "T")
    assert watch.look() == ""


@pytest.mark.parametrize("written", ["another", "", "no number", None])
def test_what_is_no_server_any_more_is_not_watched(pool, outside, tmp_path, service, written):
    """The number of one that has ended may be another process's, which somebody stops for reasons of his own."""
    service.send_signal(signal.SIGSTOP)
    eventually(lambda: state_of(service.pid)[1] == "T")
    file = tmp_path / "lxd.pid"
    if written is None:
        file.unlink()
    else:
        file.write_text(str(service.pid) if written == "another" else written)
    assert LabWatch(pool, [outside[0]], Transcript()).look() == ""


def test_a_pool_that_is_full(watch, pool):
    pool.room = ROOM - 1
    assert watch.look() == f"the lab's pool was full: {(ROOM - 1) >> 20} MiB were free"


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        ((0, AT_ONCE), True),
        ((0, 2), True),
        ((0, 1, 1), True),
        # One packet that a busy computer drops.
        ((0, 1, 0, 0), False),
        # What has never answered has no address yet.
        ((AT_ONCE, AT_ONCE, AT_ONCE), False),
        ((1, 3, 0, 0), False),
        ((AT_ONCE, 0, 0, 2), True),
    ],
)
def test_a_network_that_loses_packets(watch, monkeypatch, missing, lost):
    answers(monkeypatch, *missing)
    seen = [watch.look() for _ in missing]
    assert (seen[-1] == "the network of member m1 lost packets") is lost
    assert not any(seen[:-1])


def test_single_losses_far_apart_are_none(watch, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    answers(monkeypatch, 0, 1, 1, 1)
    for moment in (0.0, 100.0, 111.0, 122.0):
        now = moment
        assert watch.look() == ""


def test_a_member_that_ends_while_it_is_asked_has_lost_nothing(pool, watched, monkeypatch):
    member = Seen("m1", watched)
    watch = LabWatch(pool, [member], Transcript())

    def silent(addresses):
        member._watched = None
        return dict.fromkeys(addresses, AT_ONCE)

    answers(monkeypatch, 0)
    assert watch.look() == ""
    monkeypatch.setattr(lab_watch, "unanswered", silent)
    assert watch.look() == ""


def test_a_member_that_was_started_again_has_a_moment_to_get_its_address(pool, watched, monkeypatch, service):
    member = Seen("m1", watched)
    watch = LabWatch(pool, [member], Transcript())
    answers(monkeypatch, 0, AT_ONCE, 0, AT_ONCE)
    assert watch.look() == ""
    member._watched = Watched(service.pid, began(service.pid), "127.0.0.1", None)
    assert watch.look() == ""
    assert watch.look() == ""
    assert watch.look() == "the network of member m1 lost packets"


def test_a_refusal_and_an_accepted_connection_are_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert unanswered(["127.0.0.1"], port) == {"127.0.0.1": 0}
    assert unanswered(["127.0.0.1"], port) == {"127.0.0.1": 0}
    assert unanswered([]) == {}


def test_silence_is_no_answer(monkeypatch):
    monkeypatch.setattr(lab_watch, "ANSWERED", 0.1)
    with socket.socket() as server, socket.socket() as one, socket.socket() as another:
        server.bind(("127.0.0.1", 0))
        # The kernel drops what is more than this and one waiting.
        server.listen(0)
        for client in (one, another):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        assert unanswered(["127.0.0.1"], server.getsockname()[1]) == {"127.0.0.1": AT_ONCE}


def test_what_was_seen_once_stands(watch, pool, monkeypatch):
    monkeypatch.setattr(lab_watch, "EVERY", 0.01)
    pool.room = 0
    watch.start()
    watch.start()
    eventually(lambda: watch.seen)
    pool.room = 1 << 40
    watch.stop()
    assert watch.seen == "the lab's pool was full: 0 MiB were free"


def test_a_cluster_that_was_troubled_for_a_moment_says_nothing_of_the_product():
    cluster = Cluster.__new__(Cluster)
    cluster._watch = LabWatch(Pool(), [], Transcript())
    cluster.substrate = type("Sound", (), {"check_room": lambda _: None})()
    cluster.members, cluster._past_crashes = [], []
    assert cluster.trouble() == ""
    cluster.check_lab()
    cluster._watch.seen = "the network of member m1 lost packets"
    with pytest.raises(LabError, match="the network of member m1 lost packets"):
        cluster.check_lab()


def test_a_machine_that_cannot_be_watched_is_left_alone(pool):
    assert LabWatch(pool, [Seen("m1", FakeMachine("m1", image()).watched())], Transcript()).look() == ""
