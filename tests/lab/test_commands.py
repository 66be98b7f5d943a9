"""The verbs of the lab: what one of them used is cleared when it ends."""

from __future__ import annotations

import pytest

from clusterproof.lab import commands
from clusterproof.lab.core.runs import Run
from tests.fakes import FakeServer, stay_alone


@pytest.fixture
def cleared(monkeypatch, tmp_path) -> list[str]:
    """A lab of its own, on a server that is a stand-in; what is cleared, in order."""
    stay_alone(monkeypatch, tmp_path / "lab")
    done: list[str] = []
    released = commands.sweeping.release
    monkeypatch.setattr(commands.sweeping, "release", lambda host: done.append("host") or released(host))
    monkeypatch.setattr(commands.inventory, "clear", lambda: done.append("this computer") or [])
    return done


def test_a_command_clears_the_host_and_then_this_computer(cleared):
    with FakeServer() as server, commands.command_host(str(server.socket)) as host:
        assert host.is_prepared()
        assert not cleared
    assert cleared == ["host", "this computer"]
    assert Run.known() == []


def test_what_is_kept_for_the_user_stays(cleared):
    with FakeServer() as server, commands.command_host(str(server.socket)) as host:
        host.run.keep()
    assert cleared == []
    assert [run.id for run in Run.known()] == [host.run.id]
