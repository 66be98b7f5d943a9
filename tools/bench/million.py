"""A history of a million results, made from a seed, and how long a site's questions to it take.

``python -m tools.bench.million [RESULTS] [--history FILE] [--site]``; an existing FILE is asked and not made
anew, with ``--site`` the whole site is made, too.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from clusterproof.builds import Build, Expectation, Product
from clusterproof.reports.history.history import History
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.results.results import Cell, Key, Phases
from clusterproof.reports.results.verdicts import ROLES, Observation, Role, expect, judge
from clusterproof.reports.site.publish import publish_site
from clusterproof.reports.site.rendering import size

SEED = 20260302
BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
TRACKS: dict[tuple[Product, str], int] = {
    ("lxd", "5.0"): 6,
    ("lxd", "5.21"): 6,
    ("incus", "6.0"): 6,
    ("incus", "7.0"): 6,
    ("incus", "feature"): 6,
}
ISSUES, SCENARIOS = 60, 3
SUITE_RUNS = 30  # so many nights one suite is used, until somebody changes it
FLAKE, LAB_ERROR = 0.01, 0.004


def release(product: Product, track: str, major: str, number: int) -> Build:
    """Return release ``number`` of the series ``major``."""
    return Build(
        name=f"{product}@{major}.{number}",
        product=product,
        version=f"{major}.{number}-1",
        track=track,
        source="debian",
        api_extensions=300 + number,
        schema_version=60 + number,
    )


def builds() -> list[Build]:
    """Return the builds of all tracks."""
    return [
        release(product, track, major, number)
        for place, ((product, track), count) in enumerate(TRACKS.items())
        for major in [f"7.{place}" if track == "feature" else track]
        for number in range(count)
    ]


def cells(results: int, seed: int = SEED) -> Iterator[Cell]:
    """Yield ``results`` results, run after run: every issue on every build each night, and some flakes."""
    dice = random.Random(seed)
    all_builds = builds()
    fixed = {
        (issue, build.product, build.track): dice.randrange(8)
        for issue in range(ISSUES)
        for build in all_builds
    }
    made, night = 0, 0
    while True:
        run = f"{BEGIN + timedelta(days=night):%Y%m%dT%H%M%SZ}-{dice.randrange(1 << 16):04x}"
        suite = f"{night // SUITE_RUNS:016x}"
        for issue in range(ISSUES):
            for scenario in range(SCENARIOS):
                role: Role = ROLES[0] if scenario < 2 else ROLES[1]
                for build in all_builds:
                    if made == results:
                        return
                    at = fixed[issue, build.product, build.track]
                    number = int(build.name.rpartition(".")[2])
                    stands = Expectation.FIXED if number >= at else Expectation.AFFECTED
                    expectation = expect(stands, role)
                    observation = (
                        Observation.SYMPTOM
                        if expectation is Expectation.AFFECTED
                        else Observation.CONFORMS
                    )
                    chance = dice.random()
                    if chance < LAB_ERROR:
                        observation = Observation.LAB_ERROR
                    elif chance < LAB_ERROR + FLAKE:
                        observation = Observation.OTHER_FAILURE
                    yield Cell(
                        run=run,
                        scenario=f"suites/area-{issue % 8}/test_issue_{issue}.py::test_{scenario}",
                        issue=f"issue-{issue}",
                        role=role,
                        build=build,
                        substrate="container",
                        observation=observation,
                        expectation=expectation,
                        verdict=judge(expectation, observation),
                        reason="member m2 is not ONLINE within 30 s; "
                        * (observation is not Observation.CONFORMS),
                        seconds=round(dice.uniform(2, 40), 3),
                        phases=Phases(
                            members=1.5,
                            cluster=3.75,
                            scenario=round(dice.uniform(0, 9), 3),
                            teardown=0.5,
                        ),
                        evidence=f"evidence/issue-{issue}-test-{scenario}-{build.name}",
                        started=BEGIN + timedelta(days=night, seconds=made % 80_000),
                        suite=suite,
                    )
                    made += 1
        night += 1


def make(path: Path, results: int, seed: int = SEED) -> None:
    """Write a history of ``results`` results."""
    with History(path) as history:
        history.record(cells(results, seed))


def ask(path: Path) -> Iterator[tuple[str, float, str]]:
    """Yield each question that a site asks, the seconds that it took, and what came of it."""
    with History(path) as history:
        began = perf_counter()
        runs, results = history.size()
        yield "how many runs and results", perf_counter() - began, f"{results} results of {runs} runs"
        began = perf_counter()
        current = history.current()
        yield "the newest results of every cell", perf_counter() - began, f"{len(current)} results"
        began = perf_counter()
        records = history.records()
        flaky = sum(record.flakes.differing > 0 for record in records.values())
        yield (
            "runs, flips, flakes of every cell",
            perf_counter() - began,
            f"{len(records)} cells, {flaky} flaky",
        )
        issues = sorted({cell.issue for cell in current})
        began = perf_counter()
        trails: dict[Key, int] = {}
        for issue in issues:
            trails |= {key: len(trail) for key, trail in history.trail(issue, 30).items()}
        yield (
            "the newest 30 results of every cell",
            perf_counter() - began,
            f"{sum(trails.values())} results",
        )
        began = perf_counter()
        proofs = [history.proof(issue) for issue in issues]
        proven = sum(proof.proven for proof in proofs)
        yield "the proof of every issue", perf_counter() - began, f"{proven} of {len(proofs)} proven"
        began = perf_counter()
        newest = history.summaries(20)
        yield (
            "the newest 20 runs",
            perf_counter() - began,
            f"{sum(run.results for run in newest)} results",
        )


def make_site(path: Path, out: Path) -> Iterator[tuple[str, float, str]]:
    """Yield what a site in ``out`` is made of, the seconds that it took, and how large it is."""
    began = perf_counter()
    with History(path) as history:
        matrix = build_matrix(history.current(), {}, history)
    yield "the matrix", perf_counter() - began, f"{len(matrix.rows)} issues on {len(matrix.columns)} builds"
    began = perf_counter()
    published = publish_site(out, {}, path)
    spent = perf_counter() - began
    pages = [file.stat().st_size for file in out.rglob("*.html")]
    front = published.html.stat().st_size
    yield "the whole site", spent, f"{len(pages)} pages, {size(sum(pages))}, the front page {size(front)}"


def main() -> None:
    """Print what was made and how long each question took."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.million", description=__doc__)
    parser.add_argument("results", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--history", type=Path, default=None)
    parser.add_argument("--site", action="store_true")
    asked = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.history or Path(folder) / "history.sqlite"
        if not path.exists():
            began = perf_counter()
            make(path, asked.results)
            console.print(f"made {path} in {perf_counter() - began:.1f} s")
        table = Table("question", "seconds", "answer")
        total = 0.0
        for question, seconds, answer in ask(path):
            total += seconds
            table.add_row(question, f"{seconds:.2f}", answer)
        table.add_row("all questions", f"{total:.2f}", f"file of {size(path.stat().st_size)}")
        if asked.site:
            for what, seconds, answer in make_site(path, Path(folder) / "site"):
                table.add_row(what, f"{seconds:.2f}", answer)
        console.print(table)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        console.print(f"peak memory {peak:.0f} MB, Python {sys.version.partition(' ')[0]}")


if __name__ == "__main__":
    main()
