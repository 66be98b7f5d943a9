"""A real Chromium, headless, and a site to look at in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.browser.samples import Watched, build_site

NAMES = ("chromium", "chromium-browser", "google-chrome")
# A browser that keeps to the pages it is given; without them it calls home at every start.
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """Return the browser's program; without one, nothing here can be said."""
    named = os.environ.get("CHROMIUM")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        missing = f'CHROMIUM names "{named}", which is no program' if named else "there is no Chromium"
        pytest.exit(
            f"the pages cannot be tested: {missing}; install one (apt-get install chromium), "
            "or say where it is with CHROMIUM",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # As root, Chromium has no sandbox to offer.
    arguments = [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else [*QUIET]
    program = chromium()
    with sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=program, args=arguments)
        except Error as error:
            told = str(error).strip().splitlines()[0]
            pytest.exit(f"{program} does not start: {told}", returncode=pytest.ExitCode.USAGE_ERROR)
        yield running
        running.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site of three runs, in which everything is to be seen that can be seen."""
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def watched(browser) -> Iterator[Watched]:
    """Open pages, and see afterwards that nothing went wrong in them that nobody looked for."""
    watching = Watched(browser)
    yield watching
    watching.close()
    assert watching.complaints == []


@pytest.fixture
def page(watched, site) -> Page:
    """The front page, as on a desk."""
    return watched.open(site.out / "index.html")
