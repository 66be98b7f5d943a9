"""The tool that tries the faults: its scenario is one that runs, and what it met is printed."""

from __future__ import annotations

import os
import subprocess
import sys

from clusterproof.reports.results.results import append
from clusterproof.reports.results.verdicts import Observation
from tests.samples import cell
from tools.bench.credulous import copied, met


def test_its_scenario_is_a_cell_of_every_product_and_can_be_judged(tmp_path):
    checkout = copied(tmp_path)
    argv = [sys.executable, "-m", "clusterproof", "qualify", "suites/config/test_credulous.py", "--plan"]
    argv += ["--build=incus@7.0.2", "--build=lxd@5.0.2", "--fault=read-only-disk"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["LAB_DIR"] = str(tmp_path / "lab")
    said = subprocess.check_output(argv, cwd=checkout, env=environment, text=True, timeout=200)
    assert "plan: 2 cells" in said


def test_what_the_scenario_met_is_printed_without_the_last_answers(tmp_path):
    assert met(tmp_path) == ""
    seen = cell(
        observation=Observation.SYMPTOM,
        reason="it works: anything: read-only. Last answers: m1: Pid=60",
    )
    append(tmp_path / "20260302T210400Z-ab12/results.jsonl", seen)
    assert met(tmp_path) == "; it met: it works: anything: read-only"
