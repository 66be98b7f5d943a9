"""What a cell's page says about running it again runs that cell and no other."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from clusterproof.reports.results.ledger import load_ledger
from clusterproof.reports.site.publish import publish
from tests.samples import INCUS_604, INCUS_702, cell, write_run

CHECKOUT = Path(__file__).parent.parent
PLAIN = {
    "issue": "incus-2986",
    "scenario": "suites/evacuation/test_only_member.py::test_evacuate",
    "build": INCUS_604,
}
CHANGE = {
    "issue": "lxd-15313",
    "scenario": "suites/upgrade/test_downgrade.py::test_previous_build",
    "build": INCUS_604,
    "peer": INCUS_702,
}


@pytest.mark.parametrize("facts", [PLAIN, CHANGE], ids=["a build", "a change of build"])
def test_the_command_on_its_page(tmp_path, facts):
    run = write_run(tmp_path / "out" / "r1", [cell(**facts)])
    publish(run, load_ledger())
    page = next(path for path in run.rglob("*.html") if 'id="again"' in path.read_text())
    said = re.search(r'id="command"[^>]*>(.*?)</pre>', page.read_text(), re.DOTALL)
    program, verb, *arguments = shlex.split(unescape(said[1]))
    assert (program, verb) == ("clusterproof", "qualify")
    done = subprocess.run(
        [sys.executable, "-m", "clusterproof", "qualify", *arguments, "--plan", "--json"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT), "LAB_DIR": str(tmp_path / "lab")},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (planned,) = json.loads(done.stdout)["cells"]
    assert planned["name"].partition("[")[0] == facts["scenario"]
    assert planned["build"] == "incus@6.0.4"
