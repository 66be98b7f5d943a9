"""``clusterproof prove``: what runs showed of the ledger, kept beside its entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from clusterproof.exit_status import ExitStatus, in_words, status_of
from clusterproof.reports.commands.errors import print_problems, refuse, refusing
from clusterproof.reports.commands.histories import Sources
from clusterproof.reports.history.merge_results import results_in
from clusterproof.reports.matrix.proving import contradictions, tally, worth_keeping, wrong_claims
from clusterproof.reports.results.kept_evidence import folder_of, symptom_lines
from clusterproof.reports.results.ledger import load_ledger
from clusterproof.reports.results.proofs import ProofLine, gathered, read_proofs, write_proofs
from clusterproof.reports.results.results import Cell, scan


def prove(sources: Sources) -> None:
    """Keep what runs showed of the ledger's bounds beside its entries: exit 1 where that contradicts them."""
    problems: list[str] = []
    seen: dict[str, list[ProofLine]] = defaultdict(list)
    with refusing():
        ledger = load_ledger()
        for file in results_in(sources):
            for one in scan(file):
                if isinstance(one, str):
                    problems.append(one)
                elif line := ProofLine.of(one, list(_lines(file.parent, one))):
                    seen[one.issue].append(line)
    proofs: dict[str, Sequence[ProofLine]] = {}
    for name, issue in ledger.items():
        try:
            with refusing():
                found = worth_keeping(issue, gathered(seen[name], read_proofs(issue)))
            write_proofs(issue, found)
        except OSError as error:
            refuse(in_words(error, "proofs are kept in a checkout"), status=status_of(error))
        proofs[name] = found
        shown = issue.path.relative_to(issue.path.parents[2])
        problems += [f"{shown}: {line}" for line in (*contradictions(issue, found), *wrong_claims(issue, found))]
    print_problems(problems)
    count = tally(ledger, proofs)
    typer.echo(
        f"{count.bounds} bounds: {count.both_sides} shown on both sides, {count.one_side} on one; "
        f"{count.tracks} whole tracks: {count.tracks_shown} shown"
    )
    raise typer.Exit(ExitStatus.STOPPED if problems else ExitStatus.AS_EXPECTED)


def _lines(run: Path, cell: Cell) -> Iterator[str]:
    """Yield the lines that showed the symptom of ``cell``: those of its evidence, else what the check said."""
    folder = folder_of(run, cell)
    kept = symptom_lines(folder) if folder else None
    yield from kept.lines if kept else [line for line in cell.reason.splitlines() if line.strip()]
