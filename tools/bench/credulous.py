"""Whether each fault of ``--fault`` catches a scenario that takes whatever goes wrong for its symptom.

``python -m tools.bench.credulous [--build NAME] [--fault NAME]...``: in a copy of this checkout, such a scenario
is put among the suites and run in the lab under each fault, or under those named. Prints what each run says, and
what the scenario met; exit 1 where one did not catch it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from clusterproof.fixtures.faults import FAULTS
from clusterproof.reports.results.results import read

ROOT = Path(__file__).parents[2]
SCENARIO = '''\
"""Takes whatever goes wrong for its symptom."""

import pytest

from clusterproof.fixtures.shown import Shown

pytestmark = pytest.mark.documents("incus-1")


@pytest.mark.members(2)
def test_credulous(cluster, symptom):
    with symptom("the first member works"):
        first = cluster.members[0]
        try:
            cluster.client().post("projects", {"name": "p1", "config": {}})
            first.run(["touch", f"{first.facts.state_dir}/written"], check=True)
        except Exception as error:
            raise Shown("anything", error=str(error)) from error
'''
ENTRY = """\
id = "incus-1"
title = "Nothing at all"
kind = "bug"
area = "config"
products = ["incus", "lxd"]
upstream = ["https://github.com/lxc/incus/issues/1"]
ranges = [
    { product = "incus", affected = false, proof = "code" },
    { product = "lxd", affected = false, proof = "code" },
]
[symptom]
words = "Anything."
shown = ["anything"]
"""
# What the last line of a run says of a scenario that was caught.
CAUGHT = "1 cell took it for the symptom"
LIMIT = 600.0


def copied(into: Path) -> Path:
    """Copy this checkout, with the scenario among its suites; return the copy."""
    rooms = ("clusterproof", "lab", "fixtures", "suites", "reports", "conftest.py", "pyproject.toml")
    for room in rooms:
        source = ROOT / room
        if source.is_dir():
            shutil.copytree(source, into / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, into / room)
    (into / "suites/config/test_credulous.py").write_text(SCENARIO)
    (into / "suites/config/test_credulous.toml").write_text(ENTRY)
    return into


def met(out: Path) -> str:
    """Return what the scenarios met in the runs in ``out``, as part of a line."""
    cells = (cell for results in out.glob("*/results.jsonl") for cell in read(results)[0])
    # What was answered last stands behind what was met.
    return "".join(f"; it met: {cell.reason.partition('. Last answers:')[0]}" for cell in cells if cell.reason)


def main() -> int:
    """Print what each run says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.credulous", description=__doc__)
    parser.add_argument("--build", default="incus@7.0.2")
    parser.add_argument("--fault", action="append", choices=FAULTS, dest="faults", help="all without this")
    asked = parser.parse_args()
    console = Console()
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        checkout = copied(Path(folder))
        for fault in asked.faults or FAULTS:
            argv = [sys.executable, "-m", "clusterproof", "qualify", "suites/config/test_credulous.py"]
            argv += ["-n", "1", "--substrate=container", f"--build={asked.build}", f"--fault={fault}"]
            argv += [f"--out={checkout / fault}"]
            done = subprocess.run(
                argv, cwd=checkout, capture_output=True, text=True, timeout=LIMIT, check=False
            )
            said = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-500:]]
            caught = done.returncode == 1 and CAUGHT in said[0]
            missed += not caught
            line = f"{'caught' if caught else 'MISSED'}: {said[0]}{met(checkout / fault)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
