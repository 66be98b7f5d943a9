"""cloud-init seeds: what a virtual machine learns at its first start, from the templates in cloud-init/."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.templates import templates

TEMPLATES = Path(__file__).parent / "cloud-init"
# The files of a NoCloud seed.
FILES = ("user-data", "meta-data", "network-config")

_TEMPLATES = templates(TEMPLATES)


def render(name: str, /, **values: object) -> str:
    """Return the text of template ``name`` with ``values`` filled in."""
    return _TEMPLATES.get_template(f"{name}.yaml").render(**values)


def make_seed(disk: Path, *, keys: Path, **values: object) -> None:
    """Write a NoCloud seed to ``disk``; the machine is entered with the keys in the folder ``keys``.

    Raises LabError where the disk cannot be made.
    """
    filled = {
        **values,
        "authorized": (keys / "client.pub").read_text().strip(),
        "host_key": (keys / "host").read_text(),
        "host_public": (keys / "host.pub").read_text().strip(),
    }
    with tempfile.TemporaryDirectory(prefix="clusterproof-") as folder:
        for name in FILES:
            (Path(folder) / name).write_text(render(name, **filled), encoding="utf-8")
        argv = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "cidata", "-J", "-r", "-o", str(disk), folder]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise LabError(f"cannot make the seed {disk}: {done.stderr.strip()}")
