"""Channels of the snap store: which revision each has, asked once for a run."""

from __future__ import annotations

import json
import platform
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tenacity import wait_none

from clusterproof.lab.builds import catalogue, snap_store
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.snap_store import Release
from clusterproof.lab.core import fetching
from clusterproof.lab.core.architecture import debian_architecture
from clusterproof.lab.core.errors import LabError, UsageError
from tests.fakes import FakeCheckout

pytest_plugins = ["pytester"]

# Where it comes from stands in the file.
RECORDED = (Path(__file__).parents[2] / "data" / "snap-info-lxd.json").read_bytes()
KNOWN = catalogue.load()


class Store(HTTPServer):
    """A store on this machine: it answers ``answer`` with ``status``, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.status = RECORDED, 200
        # Statuses of the next answers, before the one that stays.
        self.first: list[int] = []
        self.asked: list[tuple[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Store

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Snap-Device-Series"]))
        self.send_response(self.server.first.pop(0) if self.server.first else self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shop(monkeypatch):
    with Store() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("LAB_SNAP_STORE", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(fetching, "PAUSE", wait_none())
        yield server
        server.shutdown()


def channel(name: str) -> CatalogueBuild:
    found = KNOWN.get(name)
    assert found.source.first_boot
    return found


def found(snap: str, name: str) -> Release:
    return snap_store.ask(snap).find(name, debian_architecture())


@pytest.mark.parametrize(
    ("name", "revision"),
    [
        ("latest/stable", 10601),
        ("latest/candidate", 10655),
        # Closed: it has what the next safer risk has.
        ("latest/beta", 10655),
        ("latest/edge", 10674),
        ("3.0/beta", 9942),
        ("2.0/candidate", 8023),
    ],
)
def test_a_channel_has_the_revision_that_snapd_would_take(shop, name, revision):  # noqa: ARG001
    assert found("lxd", name).revision == revision


def test_it_is_asked_in_the_documented_form(shop):
    found("lxd", "latest/stable")
    ((path, series),) = shop.asked
    assert path == "/v2/snaps/info/lxd?fields=revision%2Cversion&architecture=amd64"
    assert series == "16"


def test_a_track_without_a_release_is_said(shop):  # noqa: ARG001
    with pytest.raises(LabError, match=r"channel 5.21/stable has no release for amd64 .*2.0, 3.0, latest"):
        found("lxd", "5.21/stable")


def test_another_machine_has_other_releases(shop, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(LabError, match=r"for riscv64 \(tracks that have one: none\)"):
        found("lxd", "latest/stable")


@pytest.mark.parametrize("name", ["stable", "latest/", "latest/best", "/stable", ""])
def test_what_is_no_channel_is_refused(shop, name):  # noqa: ARG001
    with pytest.raises(UsageError, match=r"is not like 5\.21/stable"):
        found("lxd", name)


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (404, b'{"error-list": []}', "has no answer about lxd"),
        (200, b"<html>", "is not of its documented form"),
        (200, b'{"channel-map": [{"revision": "new"}]}', "is not of its documented form"),
    ],
)
def test_an_answer_that_cannot_be_used(shop, status, answer, says):
    shop.status, shop.answer = status, answer
    with pytest.raises(LabError, match=says) as caught:
        found("lxd", "latest/stable")
    assert isinstance(caught.value, LabError)


def test_a_store_that_fails_for_a_moment_is_asked_again(shop):
    shop.first = [503, 500, 429]
    assert found("lxd", "latest/stable").revision == 10601
    assert len(shop.asked) == 4
    shop.status = 502
    with pytest.raises(LabError, match=r"has no answer about lxd .*502"):
        found("lxd", "latest/stable")
    assert len(shop.asked) == 4 + fetching.ATTEMPTS


def test_a_channel_without_a_release_blocks_its_own_build_alone(shop):
    found = snap_store.settle([channel("lxd@5.21/stable"), channel("lxd@latest/stable")])
    assert snap_store.revisions(found) == {"lxd@latest/stable": 10601}
    assert len(shop.asked) == 1
    says = r"lxd@5\.21/stable cannot be installed: channel 5\.21/stable has no release"
    with pytest.raises(LabError, match=says):
        found[0].first_boot.values(found[0], [], None)


def test_a_store_that_fails_blocks_its_builds_and_no_others(shop):
    shop.status, shop.answer = 200, b"<html>"
    lxd, incus = snap_store.settle([channel("lxd@latest/stable"), KNOWN.get("incus@7.0.2")])
    assert incus == KNOWN.get("incus@7.0.2")
    with pytest.raises(LabError, match=r"lxd@latest/stable cannot be installed: .*not of its documented form"):
        lxd.first_boot.values(lxd, [], None)


def test_a_branch_is_no_channel(shop):
    answer = json.loads(RECORDED)
    first = answer["channel-map"][0]
    branch = {**first, "channel": {**first["channel"], "name": "latest/stable/fix-1"}, "revision": 666}
    shop.answer = json.dumps({"channel-map": [branch, *answer["channel-map"]]}).encode()
    assert found("lxd", "latest/stable").revision == 10601


def test_a_store_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE", wait_none())
    monkeypatch.setenv("LAB_SNAP_STORE", "http://127.0.0.1:9")
    says = r"cannot be asked for lxd at http://127\.0\.0\.1:9: Connection refused; name another one"
    with pytest.raises(LabError, match=says):
        found("lxd", "latest/stable")


def test_what_was_found_once_is_not_asked_again(shop):
    builds = [channel("lxd@latest/stable"), KNOWN.get("incus@7.0.2"), channel("lxd@latest/edge")]
    found = snap_store.settle(builds)
    assert snap_store.revisions(found) == {"lxd@latest/stable": 10601, "lxd@latest/edge": 10674}
    assert len(shop.asked) == 1
    assert snap_store.settle(found) == found
    assert snap_store.settle(builds, snap_store.revisions(found)) == found
    assert len(shop.asked) == 1


def test_a_revision_in_two_channels_is_that_of_the_safer_one():
    names = ("lxd@5.21/beta", "lxd@5.21/stable", "lxd@6/edge", "lxd@latest/edge", "lxd@latest/stable")
    revisions = (7, 7, 9, 9, 8)
    found = zip(names, revisions, strict=True)
    builds = [channel(name).resolved(lambda *_, at=number: at) for name, number in found]
    assert snap_store.twins([*builds, KNOWN.get("incus@7.0.2"), channel("incus@zabbly/daily")]) == {
        "lxd@5.21/beta": "lxd@5.21/stable",
        "lxd@latest/edge": "lxd@6/edge",
    }
    assert snap_store.twins([channel("lxd@6/edge"), channel("lxd@6/beta")]) == {}


def test_the_revision_is_in_the_source_and_the_recipe_and_not_in_the_name(shop):  # noqa: ARG001
    (build,) = snap_store.settle([channel("lxd@latest/stable")])
    assert build.name == "lxd@latest/stable"
    assert build.source.label == "snap latest/stable revision 10601"
    installed = build.installed("5.21.4+snap.10601")
    assert (installed.version, installed.track) == ("5.21.4+snap.10601", "5.21")


def test_a_session_asks_once(shop, pytester, monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    checkout = FakeCheckout(pytester, monkeypatch)
    checkout.ledger()
    checkout.scenario("def test_it(case): pass")
    result = checkout.run("--collect-only", "-q", "--build", "lxd@latest/stable")
    assert "suites/membership/test_name.py::test_it[lxd@latest/stable]" in result.outlines
    # A list of cells touches nothing.
    assert len(shop.asked) == 0
    checkout.run(f"--plan-json={tmp_path / 'plan.json'}", "--build", "lxd@latest/stable")
    (build,) = json.loads((tmp_path / "plan.json").read_text())["builds"]
    assert build["revision"] == 10601
    assert len(shop.asked) == 1


def test_the_recording_says_where_it_comes_from():
    assert "store/store_test.go" in json.loads(RECORDED)["_source"]
