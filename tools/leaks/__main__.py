"""``python -m tools.leaks QUALIFY-OPTIONS``: a run, and whether one of its secrets is in a file that it wrote.

The run is ``clusterproof qualify`` in this very process, without workers, as a secret is known to the process
that made it alone. The exit status is 1 where a secret was found or where the run made none, else the run's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clusterproof.cli import pytest_arguments
from clusterproof.lab.core import known_secrets
from tools.leaks.search import leaks


def main(given: list[str]) -> int:
    """Run scenarios with the options ``given``, and print what was found."""
    out = Path(given[given.index("--out") + 1]) if "--out" in given else Path("out")
    status = pytest.main([*pytest_arguments(given), "-n", "0"])
    known = known_secrets.known()
    folder = (out / "latest").resolve()
    found = leaks(folder, known)
    files = sum(path.is_file() for path in folder.rglob("*"))
    for line in found:
        print(line)
    print(f"{len(known)} pieces of secrets, {files} files in {folder.name}: {len(found)} leaks")
    return 1 if found or not known else int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
