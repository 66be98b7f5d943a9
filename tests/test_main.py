"""``python -m clusterproof`` before anything is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent


@pytest.mark.parametrize("args", [["doctor"], ["--help"], ["up", "--build", "incus@7.0.2"], []])
def test_one_line_says_what_to_do_first(args):
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    # Without site-packages, as on a computer on which nothing is installed.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "clusterproof", *args],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 64
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the package ")
    assert "sudo lab/bootstrap, then tox run -e qualify -- --plan" in line
