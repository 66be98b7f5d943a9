"""Ceph, with stand-ins for its programs: what is made, what is judged healthy, and that nothing stays."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

from clusterproof.lab.cluster import ceph
from clusterproof.lab.cluster.ceph import Ceph, running
from clusterproof.lab.cluster.member import Member
from clusterproof.lab.core import processes, runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.redaction import MARK, redact
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.capabilities import CEPH
from tests.fakes import FakeMachine, image, stand_in

KEY = "AQBkXMZo" + "A" * 30 + "=="
GENERATED = "Zx9" * 12  # unlike a key of Ceph, so that only its value says what it is
STATUS = {
    "health": {"checks": {"POOL_NO_REDUNDANCY": {}}},
    "pgmap": {"pgs_by_state": [{"state_name": "active+clean", "count": 24}]},
    "osdmap": {"num_up_osds": 1},
    "fsmap": {"by_rank": [{"status": "up:active"}]},
}
DAEMON = """
case "$*" in *--mkfs*) exit 0 ;; esac
echo "$0 runs" >>"$LOG"
mkfifo "hang.$$"; exec cat <>"hang.$$"
"""
# As the real one does, it prints a key, or adds one to the file that it is given.
AUTHTOOL = f"""\
case "$*" in *--print-key*) echo {KEY}; exit ;; esac
for one; do case $one in */keyring) printf '\\tkey = %s\\n' "{GENERATED}" >>"$one" ;; esac; done
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The folder of the stand-ins; "said" beside it has the command lines they were given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "daemons"))
    for name in ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-mds"):
        stand_in(folder, name, DAEMON)
    stand_in(folder, "monmaptool", "true")
    stand_in(folder, "ceph-authtool", AUTHTOOL)
    (tmp_path / "status").write_text(json.dumps(STATUS))
    stand_in(
        folder, "ceph",
        f'echo "$*" >>{tmp_path}/said; case "$*" in *" status") cat {tmp_path}/status ;; *) echo done ;; esac',
    )  # fmt: skip
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    monkeypatch.setattr(ceph, "HEALTHY", 0.3)
    run = Run.new()
    run.hold()
    yield run
    processes.end_all(run.folder)


@pytest.fixture
def host(run):
    return SimpleNamespace(run=run, gateway=SimpleNamespace(ip="10.176.0.1"))


@pytest.fixture
def made(run, programs) -> Ceph:  # noqa: ARG001
    return Ceph(run, "10.176.0.1", Transcript())


def test_its_keys_are_known_by_value(made):
    made.start()
    assert redact(f"said {GENERATED}") == f"said {MARK}"


def status(tmp_path, **facts: object) -> None:
    (tmp_path / "status").write_text(json.dumps({**STATUS, **facts}))


def test_starts_with_a_file_system_and_a_pool(made, run, tmp_path):
    made.start()
    assert len(processes.of_run(run.folder)) == 4
    said = (tmp_path / "said").read_text()
    assert "fs new lab cephfs-meta cephfs-data" in said
    assert "osd pool application enable rbd-pool rbd" in said
    made.destroy()
    assert processes.of_run(run.folder) == []
    assert not made.folder.exists()


def test_keys_can_be_read_by_nobody_else(made):
    made.start()
    assert (made.folder / "keyring").stat().st_mode & 0o077 == 0
    assert made.folder.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"health": {"checks": {"MDS_SLOW": {}}}}, "MDS_SLOW"),
        ({"pgmap": {}}, "placement groups: none"),
        ({"pgmap": {"pgs_by_state": [{"state_name": "peering"}]}}, "placement groups: peering"),
        ({"osdmap": {"num_up_osds": 0}}, "no OSD is up"),
        ({"fsmap": {"by_rank": [{"status": "up:creating"}]}}, "no metadata server is active"),
        ({"fsmap": {}}, "no metadata server is active"),
    ],
)
def test_one_that_never_gets_healthy_says_what_is_missing(made, tmp_path, facts, why):
    status(tmp_path, **facts)
    with pytest.raises(LabError, match=f"Ceph did not become healthy: .*last observation: '{why}'"):
        made.start()


def test_an_older_ceph_nests_the_number_of_its_osds(made, tmp_path):
    status(tmp_path, osdmap={"osdmap": {"num_up_osds": 1}})
    made.start()


def test_a_daemon_that_ends_is_told_with_its_words(made, programs, monkeypatch):
    monkeypatch.setattr(ceph, "HEALTHY", 20)
    stand_in(programs, "ceph-mds", "echo 'unable to bind' >&2; exit 1")
    with pytest.raises(LabError, match=r"did not become healthy.*ceph-mds has ended: unable to bind"):
        made.start()


def test_a_tool_that_fails_is_told_with_its_words(made, programs):
    stand_in(programs, "monmaptool", "echo one >&2; echo two >&2; echo 'no room' >&2; exit 4")
    with pytest.raises(LabError, match=r"^Ceph: monmaptool --create ended with 4: two \| no room$"):
        made.start()


def test_a_tool_that_hangs_has_a_limit(made, programs, tmp_path, monkeypatch):
    monkeypatch.setattr(ceph, "TOOL", 0.1)
    os.mkfifo(tmp_path / "hang")
    stand_in(programs, "monmaptool", f"exec cat <>{tmp_path}/hang")
    with pytest.raises(LabError, match=r"Ceph: monmaptool --create failed: .*timed out"):
        made.start()


def test_stopping_ends_all_daemons_and_keeps_what_is_stored(made, run):
    made.start()
    made.stop()
    assert processes.of_run(run.folder) == []
    assert (made.folder / "osd").is_dir()


def test_a_member_is_admitted_with_the_key_and_no_setting_of_a_daemon(made):
    made.start()
    machine = FakeMachine("cp-m1", image(), up=True)
    made.admit(Member("m1", machine, Transcript()))
    assert machine.files["/etc/ceph/ceph.client.admin.keyring"].decode() == f"[client.admin]\n\tkey = {KEY}\n"
    assert machine.modes["/etc/ceph/ceph.client.admin.keyring"] == 0o600
    configuration = machine.files["/etc/ceph/ceph.conf"].decode()
    assert "mon host = 10.176.0.1\n" in configuration
    assert str(made.folder) not in configuration


def test_a_transcript_does_not_hold_the_key(made, tmp_path):
    transcript = Transcript(tmp_path / "transcript.jsonl")
    made.start()
    made.admit(Member("m1", FakeMachine("cp-m1", image(), up=True), transcript))
    assert KEY not in (tmp_path / "transcript.jsonl").read_text()


class TestRunning:
    def test_is_removed_afterwards_and_its_logs_are_kept(self, host, programs, tmp_path):  # noqa: ARG002
        with running(host, Transcript(), tmp_path / "evidence") as found:
            (found.folder / "mon.a.log").write_text("quorum")
        assert not found.folder.exists()
        assert processes.of_run(host.run.folder) == []
        assert (tmp_path / "evidence" / "mon.a.log").read_text() == "quorum"
        with runs.lock("ceph").acquire(timeout=0):
            pass

    def test_one_that_does_not_get_healthy_leaves_nothing_but_its_logs(self, host, programs, tmp_path):
        status(tmp_path, fsmap={})
        stand_in(programs, "ceph-mds", f"echo stuck >{tmp_path}/stuck; " + DAEMON)
        unhealthy = pytest.raises(LabError, match="did not become healthy")
        with unhealthy, running(host, Transcript(), tmp_path / "e"):
            pytest.fail("it is not to be used")
        assert processes.of_run(host.run.folder) == []
        assert list(host.run.folder.glob("ceph-*")) == []
        with runs.lock("ceph").acquire(timeout=0):
            pass

    def test_waits_for_another_run_and_not_forever(self, host, programs, tmp_path, monkeypatch):  # noqa: ARG002
        monkeypatch.setattr(ceph, "PATIENCE", 0)
        expected = pytest.raises(LabError, match="another run has used Ceph on this computer for 0 s")
        with runs.lock("ceph"), expected, running(host, Transcript(), tmp_path):
            pytest.fail("it is not to be used")

    def test_without_its_programs_it_says_what_to_do(self, host, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(LabError) as raised, running(host, Transcript(), tmp_path):
            pytest.fail("there is none")
        assert str(raised.value) == f"Ceph needs {', '.join(CEPH)}; run lab/bootstrap --vm"
