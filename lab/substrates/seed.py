"""cloud-init seeds, which configure a VM at its first boot, from the templates in cloud-init/."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.templates import templates

TEMPLATES = Path(__file__).parents[1] / "cloud-init"
# The files of a NoCloud seed.
FILES = ("user-data", "meta-data", "network-config")

_TEMPLATES = templates(TEMPLATES)


def render(name: str, /, **values: object) -> str:
    """Return the text of template ``name`` with ``values`` filled in."""
    return _TEMPLATES.get_template(f"{name}.yaml").render(**values)


def seed(keys: Path, *, user_data: str = "", **values: object) -> dict[str, str]:
    """Return the files of a NoCloud seed by name; it authorizes the key in the folder ``keys``.

    With ``user_data``, that takes the place of the lab's own, which becomes the vendor-data.
    """
    filled = {
        **values,
        "authorized": (keys / "client.pub").read_text().strip(),
        "host_key": (keys / "host").read_text(),
        "host_public": (keys / "host.pub").read_text().strip(),
    }
    files = {name: render(name, **filled) for name in FILES}
    if user_data:
        files |= {"user-data": user_data, "vendor-data": render("install-vm", **filled)}
    return files


def make_disk(disk: Path, files: Mapping[str, str]) -> None:
    """Write a seed with ``files`` to the ISO image ``disk``. Raises LabError."""
    with tempfile.TemporaryDirectory(prefix="clusterproof-") as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        argv = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "cidata", "-J", "-r", "-o", str(disk), folder]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise LabError(f"cannot make the seed {disk}: {done.stderr.strip()}")
