"""A lab host for tests: a server that is no real one, and a run that uses it."""

from __future__ import annotations

import pytest

from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.host import Host
from tests.fakes import FakeServer, stay_alone


@pytest.fixture
def alone(tmp_path, monkeypatch) -> None:
    """A lab folder of the test's own, and none of this computer's servers, settings or routes."""
    stay_alone(monkeypatch, tmp_path / "lab")


@pytest.fixture
def product() -> str:
    """What the server is; a module where the products differ is parametrised over both."""
    return "incus"


@pytest.fixture
def server(product):
    with FakeServer(product=product) as running:
        yield running


@pytest.fixture
def run(alone):  # noqa: ARG001
    run = Run.new()
    run.hold()
    yield run
    run.forget()


@pytest.fixture
def host(server, run) -> Host:
    return Host(Endpoint(str(server.socket)), run, Transcript())


@pytest.fixture
def prepared(host) -> Host:
    host.prepare()
    return host
