"""The command's own part: one screen of help, and what pytest is called with."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clusterproof import SUITES
from clusterproof.cli import GROUPS, app, pytest_arguments


def test_every_verb_stands_in_one_screen_of_help():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80", "TERM": "dumb"})
    assert result.exit_code == 0
    for group, verbs in GROUPS.items():
        assert group in result.output
        for verb, line in verbs.items():
            assert any(verb in told and line in told for told in result.output.splitlines()), verb
    assert len(result.output.splitlines()) <= 45


def test_the_help_of_qualify_is_of_its_own_options():
    result = CliRunner().invoke(app, ["qualify", "--build", "incus@7.0.2", "--help"])
    assert result.exit_code == 0
    assert "--sideload BUILD=PATH" in result.output
    assert "--tb" not in result.output


def test_all_suites_run_with_what_is_given(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = pytest_arguments(["--build", "incus@7.0.2", "-n", "0", "-k", "suites/x"])
    assert arguments[0] == str(SUITES)
    assert arguments[-6:] == ["--build", "incus@7.0.2", "-n", "0", "-k", "suites/x"]
    assert f"--rootdir={SUITES.parent}" in arguments
    assert f"--override-ini=cache_dir={tmp_path}/.pytest_cache" in arguments


@pytest.mark.parametrize(
    "named", ["suites/upgrade", "suites/upgrade/test_downgrade.py::test_one_extension_less[lxd@5.0.2]"]
)
def test_scenarios_are_named_as_results_name_them(monkeypatch, tmp_path, named):
    monkeypatch.chdir(tmp_path)
    arguments = pytest_arguments([named, "-v"])
    assert [one for one in arguments if Path(one).is_absolute()] == [str(SUITES.parent / named)]
    assert arguments[-1] == "-v"
