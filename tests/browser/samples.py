"""The site that is looked at, and a page that is watched while it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Dialog, Page

from clusterproof.builds import Expectation
from clusterproof.reports.matrix.urls import cell_page
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.verdicts import Observation
from clusterproof.reports.site.publish import publish, publish_site
from tests.pages import HOSTILE
from tests.samples import (
    INCUS_702,
    INCUS_751,
    LXD_502,
    LXD_GIT,
    cell,
    sample_ledger,
    sample_run,
    write_run,
)

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
STEPS: list[dict[str, Any]] = [
    {"verb": "lab", "target": "host", "what": "make m1, m2", "seconds": 1.5},
    {"verb": "run", "target": "m1", "what": "lxd init --preseed", "stdin": "config: {}", "rc": 0},
    {
        "verb": "api",
        "target": "m2",
        "what": "GET /1.0/cluster",
        "status": 503,
        "answer": '{"a": [1, 2]}',
    },
    {"verb": "fault", "target": "m2", "what": "kill"},
    {"verb": "check", "target": "scenario", "what": "the member comes back", "error": "E: not in 30 s"},
]


class Sample(NamedTuple):
    """The site's folder and its pages by kind; ``cell`` is one that has everything."""

    out: Path
    pages: dict[str, Path]


def build_site(folder: Path) -> Sample:
    """Make the site of three runs: a stable one, one with changes, and one that is hostile."""
    ledger = sample_ledger(folder)
    first = sample_run(ledger, "20260302-1200", NOW - 2 * DAY)
    second = sample_run(ledger, "20260303-1200", NOW - DAY)
    changed = [
        one.model_dump(exclude={"verdict"}) | {"observation": Observation.CONFORMS}
        if one.observation is Observation.LAB_ERROR
        else one.model_dump(exclude={"verdict"})
        for one in second
    ]
    hostile = [
        cell(run="hostile", issue=f"evil-{number}", scenario=f"x.py::{text}", reason=text * 9, started=NOW - DAY,
             evidence=f"evidence/evil-{number}", build=INCUS_751, observation=Observation.SYMPTOM)
        for number, text in enumerate(HOSTILE)
    ]  # fmt: skip
    virtual = cell(
        run="20260303-1200", substrate="vm", build=INCUS_702, started=NOW - 20 * DAY, reason="long ago"
    )
    # The symptom brought about by hand says nothing of a build, yet sorts before what the build showed.
    by_hand = cell(
        run="20260303-1200", started=NOW - DAY, scenario="suites/upgrade/test_downgrade.py::test_by_hand",
        role="injection", expectation=Expectation.AFFECTED, observation=Observation.SYMPTOM,
    )  # fmt: skip
    # A check that ended in another way, while the log has what is documented.
    raced = cell(
        run="20260303-1200", started=NOW - DAY, scenario="suites/upgrade/test_downgrade.py::test_raced",
        build=LXD_GIT, expectation=Expectation.AFFECTED, observation=Observation.OTHER_FAILURE,
        reason="Connection aborted", evidence="evidence/raced",
    )  # fmt: skip
    for name, cells in (
        ("20260302-1200", first),
        ("20260303-1200", [*(cell(**_flat(one)) for one in changed), virtual, by_hand, raced]),
        ("hostile", hostile),
    ):
        run = write_run(folder / "out" / name, cells)
        for one in cells:
            if one.evidence:
                _keep(run / one.evidence, one)
        publish(run, ledger, now=NOW)
    out = folder / "out/site"
    made = publish_site(out, ledger, folder / "out/history.sqlite", now=NOW)
    assert made.problems == []
    affected = next(one for one in second if one.build is LXD_502 and one.observation is Observation.SYMPTOM)
    return Sample(
        out,
        {
            "matrix": out / "index.html",
            "compare": out / "compare.html",
            "issue": out / "issues/lxd-15313.html",
            "build": out / "builds/lxd-5.0.2-5+deb12u6.html",
            "cell": out / cell_page(affected.key),
            "earlier": (out / cell_page(affected.key)).with_name("20260302-1200.html"),
            "failed": out / cell_page(raced.key),
            "lookup": out / "lookup.html",
            "words": out / "words.html",
            "run": out / "runs/20260303-1200.html",
            "hostile": out / cell_page(hostile[0].key),
            "hostile issue": out / "issues/evil-3.html",
        },
    )


def _flat(values: dict) -> dict:
    known = Cell.model_fields
    return {key: value for key, value in values.items() if key in known}


def _keep(folder: Path, one: Cell) -> None:
    text = "\n".join(HOSTILE)
    (folder / "m1").mkdir(parents=True)
    (folder / "m1/daemon.log").write_text(f"{text}\n", encoding="utf-8")
    (folder / "m1/journal.log").write_text("begin\n\n\nthis node's version is behind\n")
    (folder / "m1/page.html").write_text("<script>alert(document.domain)</script>")
    (folder / "symptom.txt").write_text(
        f"this node's version is behind {'x' * 300} {text}", encoding="utf-8"
    )
    hostile = [
        {"verb": other, "target": other, "what": other * 20, "stdout": other, "error": other}
        for other in (HOSTILE if "evil" in one.issue else ())
    ]
    lines = []
    for number, step in enumerate([*STEPS, *hostile]):
        at = one.started + timedelta(seconds=2 * number)
        lines.append(json.dumps({"at": at.isoformat(), "seconds": 0.4} | step))
    (folder / "transcript.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Watched:
    """Pages in which every message, error, dialogue and foreign request is a complaint."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def open(
        self,
        address: Path | str,
        *,
        width: int = 1280,
        scheme: Literal["light", "dark"] = "light",
        now: datetime | None = NOW,
        scripts: bool = True,
        height: int = 900,
    ) -> Page:
        """Open ``address`` at ``now``, in a window ``width`` wide and ``height`` high."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts
        )
        self._contexts.append(context)
        page = context.new_page()
        if now:
            page.clock.set_fixed_time(now)
        page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", self._dismiss)
        page.on("request", lambda request: self._check(request.url))
        page.goto(address if isinstance(address, str) else address.as_uri())
        return page

    def _dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def _check(self, url: str) -> None:
        if not url.startswith(("file://", "data:", "http://127.0.0.1:")):
            self.complaints.append(f"request: {url}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def draw(page: Page) -> None:
    """Have everything drawn, also what is not in view."""
    page.add_style_tag(content="* { content-visibility: visible !important }")


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    draw(page)
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong: rule and element."""
    draw(page)
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['target']}" for one in found for node in one["nodes"]]
