"""Sample data that the tests of reports/ share: five builds, a small ledger and a run of it."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clusterproof.builds import Build, Expectation
from clusterproof.reports.history.history import History
from clusterproof.reports.results.ledger import Issue, load_ledger
from clusterproof.reports.results.results import Cell, Phases, append
from clusterproof.reports.results.verdicts import Observation, Role, expect, judge

START = datetime(2026, 3, 2, 21, 4, tzinfo=UTC)


def build(name, version, track, extensions=None, schema=None):
    product, _, _ = name.partition("@")
    return Build(
        name=name,
        product=product,
        version=version,
        track=track,
        source="debian",
        api_extensions=extensions,
        schema_version=schema,
    )


LXD_502 = build("lxd@5.0.2", "5.0.2-5+deb12u6", "5.0", 318, 60)
LXD_GIT = build("lxd@5.0.2+git20231211", "5.0.2+git20231211.1364ae4-9+deb13u7", "5.0", 334, 60)
INCUS_604 = build("incus@6.0.4", "6.0.4-2+deb13u10", "6.0", 450, 73)
INCUS_702 = build("incus@7.0.2", "7.0.2-3~bpo13+1", "7.0", 562, 77)
INCUS_751 = build("incus@7.5.1", "7.5.1-1~exp2", "feature", 562, 77)
BUILDS = [INCUS_604, INCUS_702, INCUS_751, LXD_502, LXD_GIT]

DOWNGRADE = """\
id = "lxd-15313"
title = "Downgrade inside an LTS channel breaks the cluster"
kind = "bug"
area = "upgrade"
products = ["lxd", "incus"]
upstream = ["https://github.com/canonical/lxd/issues/15313", "https://github.com/lxc/incus/issues/999"]
needs = ["container"]
workaround = "Stop all members, set api_extensions of every row of nodes to the binary's own count in \
database/patch.global.sql, start all members."
[symptom]
words = "After a downgrade the member does not come up again: its log says that its version is behind, \
and the others report its heartbeat as lost."
[[symptom.patterns]]
where = "log"
regex = "version is behind"
[[ranges]]
product = "lxd"
track = "5.0"
introduced = { version = "5.0.0", proof = "code" }
[[ranges]]
product = "incus"
track = "6.0"
fixed = { version = "6.0.2", proof = "run", claim = "6.0.1" }
[[ranges]]
product = "incus"
track = "7.0"
affected = false
proof = "code"
"""

RENAME = """\
id = "lxd-11534"
title = "After cluster rename the running daemon keeps the old name"
kind = "bug"
area = "membership"
products = ["lxd"]
upstream = ["https://github.com/canonical/lxd/issues/11534"]
[symptom]
words = "/1.0/cluster still answers with the name from before the rename."
[[symptom.patterns]]
where = "message"
regex = "server_name is still"
[[ranges]]
product = "lxd"
track = "5.0"
introduced = { version = "5.0.0", proof = "code" }
fixed = { version = "5.0.2+git20231211", proof = "run" }
"""

ROLLING = """\
id = "rolling-upgrade"
title = "A cluster stays usable while its members are upgraded one by one"
kind = "promise"
area = "upgrade"
products = ["lxd", "incus"]
upstream = ["https://documentation.ubuntu.com/lxd/latest/howto/cluster_manage/"]
[symptom]
words = "Members that were not upgraded yet stop answering."
"""

RESTORE = """\
id = "lxd-15218"
title = "One instance that cannot start keeps its member from being restored"
kind = "bug"
area = "evacuation"
products = ["lxd", "incus"]
upstream = ["https://github.com/canonical/lxd/issues/15218"]
workaround = "lxc cluster restore MEMBER --action=skip"
[symptom]
words = "Restoring the member fails and it stays EVACUATED."
[[symptom.patterns]]
where = "message"
regex = "EVACUATED"
[[ranges]]
product = "lxd"
track = "5.0"
proof = "code"
[[ranges]]
product = "incus"
track = "7.0"
affected = false
proof = "run"
"""

ISSUES = {
    "upgrade/test_downgrade": DOWNGRADE,
    "membership/test_rename": RENAME,
    "upgrade/test_rolling": ROLLING,
    "evacuation/test_restore": RESTORE,
}


def stand_in_checkout(root: Path, monkeypatch) -> None:
    """Let ``root``, which becomes the working folder, be the checkout whose ledger commands read."""
    write_ledger(root)
    monkeypatch.chdir(root)
    monkeypatch.setattr("clusterproof.reports.results.ledger.SUITES", root / "suites")


def write_ledger(root: Path, issues: dict[str, str] = ISSUES) -> Path:
    """Write ``issues`` (TOML by path beneath suites, without suffix) into the checkout ``root``."""
    (root / "suites").mkdir(parents=True, exist_ok=True)
    for stem, text in issues.items():
        path = root / "suites" / f"{stem}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.with_suffix(".py").touch()
    return root


def cell(**changes) -> Cell:
    """Return a cell whose verdict follows from the rest, unless ``changes`` names one."""
    values = {
        "run": "20260302-2104",
        "scenario": "suites/upgrade/test_downgrade.py::test_one_extension_less",
        "issue": "lxd-15313",
        "role": "reproduction",
        "build": INCUS_702,
        "peer": None,
        "substrate": "container",
        "observation": Observation.CONFORMS,
        "expectation": Expectation.NOT_AFFECTED,
        "reason": "3 of 3 members ONLINE",
        "seconds": 14.25,
        "phases": Phases(members=1.5, cluster=3.75, scenario=8.5, teardown=0.5),
        "evidence": None,
        "started": START,
        "suite": "4f1e0c9a7b3d2865",
    } | changes
    values.setdefault("verdict", judge(values["expectation"], values["observation"]))
    return Cell(**values)


def sample_run(ledger: dict[str, Issue], run="20260302-2104", start=START) -> list[Cell]:
    """Return the cells of a whole run: four issues on five builds, most verdicts among them."""
    o = Observation
    behind = (
        "member m2 is not ONLINE within 30 s; log of m2: this node's version is behind, please upgrade"
    )
    fine = "3 of 3 members ONLINE 4.1 s after the restart"
    plan: list[tuple[str, str, Role, list[Observation | None]]] = [
        # issue, test, role, observations by build (604, 702, 751, 502, git), reasons
        ("lxd-15313", "upgrade/test_downgrade.py::test_one_extension_less", "reproduction",
         [o.CONFORMS, o.CONFORMS, o.CONFORMS, o.SYMPTOM, o.SYMPTOM]),
        ("lxd-15313", "upgrade/test_downgrade.py::test_documented_repair", "workaround",
         [o.CONFORMS, o.CONFORMS, o.CONFORMS, o.CONFORMS, o.CONFORMS]),
        ("lxd-11534", "membership/test_rename.py::test_new_name_is_used_at_once", "reproduction",
         [o.NOT_RUN, o.NOT_RUN, o.NOT_RUN, o.SYMPTOM, o.SYMPTOM]),
        ("rolling-upgrade", "upgrade/test_rolling.py::test_member_by_member", "reproduction",
         [o.CONFORMS, o.SYMPTOM, o.NOT_RUN, o.CONFORMS, None]),
        ("lxd-15218", "evacuation/test_restore.py::test_member_comes_back", "reproduction",
         [o.LAB_ERROR, o.CONFORMS, o.OTHER_FAILURE, o.CONFORMS, o.SYMPTOM]),
    ]  # fmt: skip
    reasons = {
        o.CONFORMS: fine,
        o.SYMPTOM: behind,
        o.NOT_RUN: "needs a newer build of the same product",
        o.LAB_ERROR: "host: no address on the lab's bridge for member m1 within 20 s",
        o.OTHER_FAILURE: "POST /1.0/cluster/members/m1/state: 500 Internal Server Error\n"
        + "goroutine 812 [running]: main.restoreClusterMember(0xc000a8) api_cluster.go:3127 +0x1a5\n"
        * 6,
    }
    cells: list[Cell] = []
    for issue_id, test, role, observations in plan:
        for number, (one, seen) in enumerate(zip(BUILDS, observations, strict=True)):
            if seen is None:
                continue
            expectation = expect(ledger[issue_id].expects(one), role)
            reason = reasons[seen]
            if expectation is Expectation.NOT_APPLICABLE:
                reason = "the issue does not concern this product"
            stem = test.rpartition("::")[2]
            kept = seen in (o.SYMPTOM, o.OTHER_FAILURE, o.LAB_ERROR)
            cells.append(
                cell(
                    run=run,
                    scenario=f"suites/{test}",
                    issue=issue_id,
                    role=role,
                    build=one,
                    peer=INCUS_702 if one is INCUS_604 and "rolling" in test else None,
                    observation=seen,
                    expectation=expectation,
                    reason=reason,
                    seconds=0.0 if seen is o.NOT_RUN else 6.5 + 17.25 * number,
                    evidence=f"evidence/{stem}-{one.name.replace('@', '-')}" if kept else None,
                    started=start + timedelta(seconds=20 * len(cells)),
                )
            )
    return cells


def record(path: Path, cells: Iterable[Cell]) -> None:
    """Add ``cells`` to the history in ``path``, which is made where there is none."""
    with History(path) as history:
        history.record(cells)


def write_run(folder: Path, cells: list[Cell]) -> Path:
    """Write ``cells`` as the results of the run ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.jsonl").touch()
    for one in cells:
        append(folder / "results.jsonl", one)
    return folder


def sample_ledger(root: Path) -> dict[str, Issue]:
    return load_ledger(write_ledger(root))
