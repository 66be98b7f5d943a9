"""The crash watch: which ends of a daemon nobody asked for, and what it said of them."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.cluster.crash_watch import EXITED, STARTING, STOPPING, crashes, found_in
from clusterproof.lab.cluster.packaging import ENDING, TAG
from clusterproof.lab.substrates.machine import Result
from tests.fakes import INCUS_702

PANIC = [
    "panic: runtime error: invalid memory address or nil pointer dereference",
    "[signal SIGSEGV: segmentation violation code=0x1 addr=0xd0 pc=0x13372bf]",
    "goroutine 1838 [running]:",
    "github.com/lxc/lxd/lxd/device.(*disk).CanMigrate(0xc0001b9b20)",
    "\tgithub.com/lxc/lxd/lxd/device/disk.go:97 +0x9f",
]
OWN_ABORT = ["SIGABRT: abort", "PC=0x479fe1 m=0 sigcode=18446744073709551610", "", "goroutine 0 [idle]:"]
ABORTED = [line.replace("18446744073709551610", "0") for line in OWN_ABORT]
QUEUED = [line.replace("18446744073709551610", "18446744073709551615") for line in OWN_ABORT]
OWN_SEGV = ["SIGSEGV: segmentation violation", "PC=0x7f12 m=3 sigcode=1 addr=0x10", "goroutine 0 [idle]:"]
SEGV = [line.replace("sigcode=1", "sigcode=0") for line in OWN_SEGV]
ASSERTION = "cowsqld: src/gateway.c:99: Assertion `g->req != NULL' failed."


def said(*messages: str) -> list[dict]:
    return [{"MESSAGE": message} for message in messages]


def started() -> list[dict]:
    return [{"MESSAGE": "Starting lxd.service", "MESSAGE_ID": STARTING[0]}]


def asked() -> list[dict]:
    return [{"MESSAGE": "Stopping lxd.service", "MESSAGE_ID": STOPPING}]


def killed_by_scenario() -> list[dict]:
    return [{"MESSAGE": ENDING, "SYSLOG_IDENTIFIER": TAG}]


def ended(code: str, status: str, which: str = "Main") -> list[dict]:
    message = f"lxd.service: {which} process exited, code={code}, status={status}"
    return [{"MESSAGE": message, "MESSAGE_ID": EXITED, "EXIT_CODE": code, "EXIT_STATUS": status}]


def found(*parts: list[dict]) -> list[tuple[str, str]]:
    lines = [json.dumps(entry) for part in parts for entry in part]
    return [(crash.kind, crash.status) for crash in found_in("m1", "lxd@5.0.2", lines)]


@pytest.mark.parametrize(
    ("journal", "expected"),
    [
        ([started(), said("all is well")], []),
        ([started(), asked(), ended("exited", "0")], []),
        ([started(), asked(), ended("exited", "1")], []),
        ([started(), killed_by_scenario(), ended("killed", "9")], []),
        ([started(), asked(), ended("killed", "9")], []),
        ([started(), ended("exited", "0")], []),
        ([started(), ended("exited", "1")], [("exit", "1")]),
        ([started(), ended("exited", "1", "Control")], []),
        ([started(), ended("killed", "9")], [("killed", "9")]),
        ([started(), ended("killed", "15")], [("killed", "15")]),
        ([started(), ended("dumped", "6")], [("signal", "6")]),
        ([started(), ended("killed", "11")], [("signal", "11")]),
        ([started(), said(*PANIC), ended("exited", "2")], [("panic", "2")]),
        ([started(), said("fatal error: all goroutines are asleep"), ended("exited", "2")], [("panic", "2")]),
        ([started(), said(ASSERTION), ended("dumped", "6")], [("assertion", "6")]),
        # One that its HTTP server has caught, so that the daemon goes on.
        ([started(), said("http: panic serving @: oh", *PANIC[2:])], [("panic", "")]),
        # Go's runtime says which signal it was and who sent it, and makes an exit status of it.
        ([started(), said(*OWN_ABORT), ended("exited", "2")], [("signal", "6")]),
        ([started(), asked(), said(*OWN_ABORT), ended("exited", "2")], [("signal", "6")]),
        ([started(), said(*OWN_SEGV), ended("exited", "2")], [("signal", "11")]),
        ([started(), said(ASSERTION, *OWN_ABORT), ended("exited", "2")], [("assertion", "2")]),
        ([started(), said(*ABORTED), ended("exited", "2")], [("killed", "6")]),
        ([started(), said(*SEGV), ended("exited", "2")], [("killed", "11")]),
        ([started(), said(*QUEUED), ended("exited", "2")], [("killed", "6")]),
        ([started(), asked(), said(*ABORTED), ended("exited", "2")], []),
        ([started(), said("SIGNONE: new", *OWN_ABORT[1:]), ended("exited", "2")], [("signal", "SIGNONE")]),
        ([started(), said("lvl=warn msg=SIGABRT: abort"), ended("exited", "1")], [("exit", "1")]),
        # What a daemon does when it is told to end is its own doing, too.
        ([started(), asked(), said(*PANIC), ended("exited", "2")], [("panic", "2")]),
        ([started(), asked(), ended("dumped", "6")], [("signal", "6")]),
        # Asked for once, and not for ever.
        ([started(), asked(), ended("exited", "0"), started(), ended("killed", "9")], [("killed", "9")]),
        ([said(*PANIC), ended("exited", "2")] * 2, [("panic", "2")] * 2),
    ],
)
def test_what_is_a_crash(journal, expected):
    assert found(*journal) == expected


def test_what_it_said_is_kept_from_its_first_line():
    lines = [json.dumps(entry) for entry in (*said("before", *PANIC), *ended("exited", "2"), *said("after"))]
    (crash,) = found_in("m1", "lxd@5.0.2", lines)
    assert (crash.member, crash.build) == ("m1", "lxd@5.0.2")
    assert crash.lines == tuple(PANIC)


def test_equal_crashes_have_one_digest():
    def digest(lines: list[str]) -> str:
        (crash,) = found_in("m1", "lxd@5.0.2", [json.dumps(entry) for entry in said(*lines)])
        return crash.digest

    again = [line.replace("1838", "7").replace("0xc0001b9b20", "0xc1").replace("0xd0", "0x8") for line in PANIC]
    elsewhere = [line.replace("CanMigrate", "Start") for line in PANIC]
    assert digest(again) == digest(PANIC) != digest(elsewhere)


def test_a_long_stack_is_cut():
    lines = [json.dumps(entry) for entry in said(PANIC[0], *(f"frame {n}" for n in range(1000)))]
    (crash,) = found_in("m1", "lxd@5.0.2", lines)
    assert len(crash.lines) == 12


@given(st.lists(st.one_of(st.text(), st.dictionaries(st.text(), st.integers()).map(json.dumps))))
def test_what_is_no_entry_is_passed_over(lines):
    assert list(found_in("m1", "lxd@5.0.2", lines)) == []


@pytest.mark.parametrize(("status", "kind", "signal"), [("137", "killed", "9"), ("134", "signal", "6")])
def test_a_snaps_script_ends_like_the_server_that_a_signal_has_ended(status, kind, signal):
    assert found(ended("exited", status)) == [(kind, signal)]


def test_the_journal_of_the_daemon_is_asked():
    asked_for = []

    def run(command, *, timeout):
        asked_for.append(command)
        assert timeout > 0
        return Result(0, "\n".join(json.dumps(entry) for entry in ended("dumped", "6")), "")

    facts = INCUS_702.facts
    (crash,) = crashes(SimpleNamespace(name="m2", build=SimpleNamespace(name="lxd@5.0.2"), facts=facts, run=run))
    assert (crash.member, crash.kind) == ("m2", "signal")
    assert "UNIT=incus.service" in asked_for[0]
    # What was said last has to be written first; and the journal leaves out what is not asked for.
    assert asked_for[0].startswith("journalctl --sync; ")
    (fields,) = re.findall(r"--output-fields=(\S+)", asked_for[0])
    needed = {key for entry in (*started(), *killed_by_scenario(), *ended("dumped", "6")) for key in entry}
    assert set(fields.split(",")) == needed
