"""The page of a result: its verdict, what shows it, what was done, and how to see it again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from clusterproof.reports.exports.allure_results import address as address_in_allure
from clusterproof.reports.history.history import PastResult
from clusterproof.reports.history.repeats import Repeats
from clusterproof.reports.matrix.from_results import scenario
from clusterproof.reports.matrix.urls import build_id, cell_page
from clusterproof.reports.matrix.urls import result_page as pinned_page
from clusterproof.reports.results.documented_symptom import documented_lines
from clusterproof.reports.results.kept_evidence import (
    SYMPTOM,
    Kept,
    folder_of,
    kept,
    symptom_lines,
)
from clusterproof.reports.results.timeline import TRANSCRIPT, Timeline, read_timeline
from clusterproof.reports.results.verdicts import Observation
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.rendering import script
from clusterproof.reports.site.reproduction import reproduction
from clusterproof.reports.site.scenario_source import story_of


def result_page(
    material: Material,
    results: Repeats,
    past: Sequence[PastResult],
    pages: Mapping[str, str],
    *,
    newest: bool,
) -> str:
    """Return the page of ``results``, which are of one run; ``newest`` says that no later run has the cell.

    ``past`` are the newest results of the cell in all runs; ``pages`` leads to those that have a page,
    by run. Raises OSError where the evidence cannot be read.
    """
    cell = results.newest
    others = results.results[:-1]
    run_dir = material.runs.get(cell.run)
    folder = folder_of(run_dir, cell) if run_dir else None
    files: list[Kept] = []
    more, base = 0, ""
    if folder:
        placed = material.evidence.place(cell.run, folder, cell.evidence or "")
        files, more = kept(placed)
        page = (material.root / cell_page(cell.key)).parent.resolve()
        base = f"{quote(Path(os.path.relpath(placed, page)).as_posix())}/"
    issue = material.ledger.get(cell.issue)
    shown = material.matrix.scenario(cell) if newest else scenario(results, issue, material.history)
    row = material.matrix.row(cell.issue)
    timeline = (
        read_timeline(folder / TRANSCRIPT, cell.started, shared=bool(others)) if folder else Timeline()
    )
    showing = folder and cell.observation is Observation.SYMPTOM
    failing = folder and issue and cell.observation is Observation.OTHER_FAILURE
    lines = symptom_lines(folder) if folder and showing else None
    said = " ".join(cell.reason.split())
    permalink = pinned_page(cell.key, cell.run)
    return material.page(
        "cell",
        "../../../",
        script("common"),
        cell=cell,
        stands=results.standing,
        row=row,
        column=material.matrix.column(build_id(cell.build)),
        story=story_of(cell.scenario, issue),
        shown=shown,
        allure=address_in_allure(cell.key) if newest and material.has_allure else None,
        permalink=permalink,
        newer=None if newest else cell_page(cell.key),
        others=others,
        past=[(one, pages.get(one.run)) for one in past],
        timeline=timeline,
        symptom=lines,
        says_it_all=lines is not None and all(" ".join(line.split()) in said for line in lines.lines),
        documented=documented_lines(folder, issue.symptom) if folder and failing and issue else [],
        kept=files,
        more_files=more,
        base=base,
        absent=cell.evidence is not None and folder is None,
        again=reproduction(cell, row, timeline, lines.lines if lines else ()),
        transcript=TRANSCRIPT,
        symptom_file=SYMPTOM,
    )
