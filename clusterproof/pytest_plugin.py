"""pytest's way into an installed clusterproof; does nothing in runs that do not name its suites."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clusterproof import SUITES


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Load the plugin, and with it its options, where the command line names the suites."""
    given = early_config.known_args_namespace
    named = [place for argument in given.file_or_dir if (place := argument.partition("::")[0])]
    by_name = given.pyargs and any(place.split(".")[:2] == ["clusterproof", "suites"] for place in named)
    where = early_config.invocation_params.dir
    if by_name or any(_is_in_suites(where / place) for place in named):
        early_config.pluginmanager.import_plugin("clusterproof.fixtures.plugin")


def _is_in_suites(path: Path) -> bool:
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    return path == SUITES or SUITES in path.parents
