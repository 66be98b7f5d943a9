"""Synthetic results of the size that the site is built for: 60 issues on 30 builds, in two runs, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from clusterproof.builds import Build, Expectation
from clusterproof.reports.decide.policy import DEFAULT, load_policy
from clusterproof.reports.history.history import History
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.matrix.urls import COMPARE, FRONT, LOOKUP
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.ledger import Issue, load_ledger
from clusterproof.reports.results.results import Cell, Phases
from clusterproof.reports.results.verdicts import Observation, Role, expect, judge
from clusterproof.reports.site.build_page import build_page
from clusterproof.reports.site.compare_page import comparison_between
from clusterproof.reports.site.front_page import front_page
from clusterproof.reports.site.issue_page import issue_page
from clusterproof.reports.site.lookup_page import lookup_page
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.published_evidence import EvidenceInPlace
from clusterproof.reports.site.rendering import STALE_DAYS, Made

ISSUES = 60
TRACKS = [
    ("incus", "6.0", "6.0"),
    ("incus", "7.0", "7.0"),
    ("incus", "feature", "7.4"),
    ("lxd", "5.0", "5.0"),
    ("lxd", "5.21", "5.21"),
]
RELEASES = 6
AREAS = ("access", "config", "evacuation", "groups", "instances", "membership", "storage", "upgrade")
SUBJECTS = (
    "A renamed member", "Evacuating the last member", "A join that fails late", "Restoring a member",
    "A volume on a remote pool", "A project's own group", "Recovery of a lost quorum", "A copy of a volume",
)  # fmt: skip
EFFECTS = (
    "keeps calling itself by its old name", "stops its instances and fails", "leaves the pools mounted",
    "drops the cluster's listener", "is reported as offline for good", "loses its configuration",
    "crashes the daemon of the leader", "blocks every later upgrade",
)  # fmt: skip
_FAILS, _BLOCKED, _UNTESTABLE = 0.012, 0.004, 0.02


def builds() -> list[Build]:
    """Return the 30 builds."""
    return [
        Build(
            name=f"{product}@{major}.{release}",
            product=product,
            version=f"{major}.{release}-1",
            track=track,
            source="debian",
            api_extensions=300 + release,
            schema_version=60 + release,
        )
        for product, track, major in TRACKS
        for release in range(RELEASES)
    ]


def large_ledger(root: Path, seed: int = 1) -> dict[str, Issue]:
    """Write 60 documented issues beneath ``root`` and return them."""
    dice = random.Random(seed)
    for number in range(ISSUES):
        area = AREAS[number % len(AREAS)]
        ranges = "".join(_range(dice, product, track, major) for product, track, major in TRACKS)
        title = f"{SUBJECTS[number % 8]} {EFFECTS[(number // 8 + number) % 8]}"
        path = root / f"suites/{area}/test_{number}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'id = "{("lxd", "incus")[number % 2]}-{1000 + 37 * number}"\ntitle = "{title}"\nkind = "bug"\n'
            f'area = "{area}"\nproducts = ["lxd", "incus"]\n'
            f'upstream = ["https://github.com/canonical/lxd/issues/{1000 + 37 * number}"]\n'
            'workaround = "Restart the daemon of the member, one after the other."\n'
            f'[symptom]\nwords = "The member\'s daemon says so, number {number}."\n'
            f'[[symptom.patterns]]\nwhere = "message"\nregex = "symptom of {number} seen"\n{ranges}'
        )
    return load_ledger(root)


def _range(dice: random.Random, product: str, track: str, major: str) -> str:
    head = f'[[ranges]]\nproduct = "{product}"\ntrack = "{track}"\n'
    kind = dice.random()
    if kind < 0.25:
        return f'{head}affected = false\nproof = "code"\n'
    if kind < 0.4:
        return f'{head}proof = "run"\n'
    return f'{head}fixed = {{ version = "{major}.{dice.randrange(1, RELEASES)}", proof = "code" }}\n'


def large_run(ledger: dict[str, Issue], run: str, started: datetime, seed: int) -> Iterator[Cell]:
    """Yield the results of ``run``: a reproduction of every issue on every build, and its way out."""
    dice = random.Random(seed)
    number = 0
    for issue in ledger.values():
        module = issue.path.with_suffix(".py").name
        for build in builds():
            stands = issue.expects(build)
            roles: list[Role] = ["reproduction"]
            if stands is Expectation.AFFECTED:
                roles.append("workaround")
            for role in roles:
                number += 1
                expectation = expect(stands, role)
                seen = _seen(dice, expectation)
                yield Cell(
                    run=run,
                    scenario=f"suites/{issue.area}/{module}::test_{role}",
                    issue=issue.id,
                    role=role,
                    build=build,
                    substrate="container",
                    observation=seen,
                    expectation=expectation,
                    verdict=judge(expectation, seen),
                    reason="" if seen is Observation.CONFORMS else "member m2 is not ONLINE within 30 s",
                    seconds=12.5,
                    phases=Phases(members=1.5, cluster=3.75, scenario=6.5, teardown=0.5),
                    started=started + timedelta(seconds=2 * number),
                    suite=f"{seed:016x}",
                )


def _seen(dice: random.Random, expectation: Expectation) -> Observation:
    chance = dice.random()
    for share, observation in (
        (_FAILS, Observation.OTHER_FAILURE),
        (_BLOCKED, Observation.LAB_ERROR),
        (_UNTESTABLE, Observation.NOT_RUN),
    ):
        if chance < share:
            return observation
        chance -= share
    return Observation.SYMPTOM if expectation is Expectation.AFFECTED else Observation.CONFORMS


def large_site(folder: Path, now: datetime) -> dict[str, Path]:
    """Write the pages of two runs that a person begins at, without those of results; return them by kind."""
    ledger = large_ledger(folder)
    with History(folder / "history.sqlite") as history:
        for run, ago, seed in (("20260303T0100", 2, 1), ("20260304T0100", 1, 2)):
            history.record(large_run(ledger, run, now - timedelta(days=ago), seed))
        cells = history.current()
        made = Made(now, STALE_DAYS)
        matrix = build_matrix(cells, ledger, history, whole=True)
        out = folder / "site"
        policy = load_policy(DEFAULT)
        material = Material(out, matrix, cells, ledger, made, EvidenceInPlace(), {}, policy, history)
        row = matrix.rows[0]
        before, after = matrix.columns[0], matrix.columns[6]
        pages = {
            "matrix": (FRONT, front_page(material)),
            "build": (after.page, build_page(material, after)[0]),
            "issue": (row.page, issue_page(material, row, history.trail(row.id, 20))),
            "lookup": (LOOKUP, lookup_page(material)),
            "compare": (COMPARE, comparison_between(matrix, made, before, after, linked=True)),
        }
    for address, text in pages.values():
        put(out / address, text)
    return {kind: out / address for kind, (address, _) in pages.items()}
