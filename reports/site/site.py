"""The site: all pages that people decide from, as files that any web server or browser can show.

A run's own folder is the site of that run; ``clusterproof site`` makes one of all runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

from clusterproof.reports.decide.diff import predecessor
from clusterproof.reports.history.history import PastResult
from clusterproof.reports.history.repeats import Repeats, repeats
from clusterproof.reports.matrix.matrix import Matrix
from clusterproof.reports.matrix.urls import (
    COMPARE,
    FEED,
    FRONT,
    LOOKUP,
    WORDS,
    badge_file,
    cell_folder,
    cell_page,
)
from clusterproof.reports.matrix.urls import result_page as pinned_page
from clusterproof.reports.matrix.urls import (
    run_page as run_address,
)
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.results import Key
from clusterproof.reports.site.build_page import build_page
from clusterproof.reports.site.compare_page import comparison_between
from clusterproof.reports.site.feed import feed
from clusterproof.reports.site.front_page import front_page
from clusterproof.reports.site.issue_page import issue_page
from clusterproof.reports.site.lookup_page import lookup_page
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.result_page import result_page
from clusterproof.reports.site.run_page import run_page, runs_of
from clusterproof.reports.site.words_page import words_page

DATA = "matrix.json"

_TRAIL = 20  # results of a cell that its pages list


@dataclass(frozen=True)
class Site:
    """The pages that are made from ``material``; ``written`` are the addresses of what was written."""

    material: Material
    written: set[str] = field(default_factory=set)

    def write(self) -> Matrix:
        """Write all pages, and ``matrix.json``; return the matrix, which knows of cells without a page.

        Raises OSError where the site itself cannot be written, HistoryError where the history
        cannot be read.
        """
        material = self.material
        matrix = material.matrix
        problems = list(matrix.generated_from.problems)
        for row in matrix.rows:
            trails = material.history.trail(row.id, _TRAIL) if material.history else {}
            self._write(row.page, issue_page(material, row, trails))
            for key, group in self._groups.items():
                if key.issue == row.id:
                    problems += self._results(key, group, trails.get(key, []))
        for column in matrix.columns:
            page, picture = build_page(material, column)
            self._write(column.page, page)
            self._write(badge_file(column.id), picture)
        self._runs()
        self._write(COMPARE, self._comparison())
        self._write(LOOKUP, lookup_page(material))
        self._write(WORDS, words_page(material))
        whole = replace(material, matrix=matrix.with_problems(problems))
        self._write(DATA, whole.matrix.json_text())
        self._write(FRONT, front_page(whole))
        return whole.matrix

    @cached_property
    def _groups(self) -> Mapping[Key, Repeats]:
        return repeats(self.material.cells)

    @cached_property
    def _pinned(self) -> Mapping[tuple[Key, str], str]:
        """Where the results that have pages of their own are, by cell and run."""
        groups = chain(self._groups.values(), *self.material.earlier.values())
        newest = ((group.newest.key, group.newest.run) for group in groups)
        return {(key, run): pinned_page(key, run) for key, run in newest}

    def _results(self, key: Key, newest: Repeats, past: Sequence[PastResult]) -> Iterator[str]:
        """Write the pages of one cell; yield what could not be written.

        The newest result has two addresses: the cell's, where the next run's will be, and one of its own.
        """
        groups = [newest, *self.material.earlier.get(key, ())]
        pages = {group.newest.run: self._pinned[key, group.newest.run] for group in groups}
        for group in groups:
            try:
                text = result_page(self.material, group, past, pages, newest=group is newest)
                self._write(pages[group.newest.run], text)
                if group is newest:
                    self._write(cell_page(key), text)
            except OSError as error:
                yield f'no page for "{group.newest.evidence or cell_folder(key)}": {error.strerror}'

    def _runs(self) -> None:
        runs = runs_of(self.material, lambda key, run: self._pinned.get((key, run)))
        addresses = [run_address(run.summary.id) for run in runs]
        for number, run in enumerate(runs):
            newer = addresses[number - 1] if number else None
            older = addresses[number + 1] if number + 1 < len(runs) else None
            self._write(addresses[number], run_page(self.material, run, older, newer))
        if self.material.history:
            self._write(FEED, feed(self.material, runs))

    def _comparison(self) -> str:
        """Return the page that compares any two builds, at first the newest that can be compared."""
        matrix = self.material.matrix
        columns = matrix.columns
        after = next((one for one in reversed(columns) if predecessor(matrix, one)), None)
        before = predecessor(matrix, after) if after else None
        if columns and not after:
            before, after = columns[0], columns[-1]
        return comparison_between(matrix, self.material.made, before, after, linked=True)

    def _write(self, address: str, text: str) -> None:
        put(self.material.root / address, text)
        self.written.add(address)
