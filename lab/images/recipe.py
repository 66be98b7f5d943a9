"""The recipe of an image: all that decides what it holds. Its digest is the image's identity."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from pathlib import Path

from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.core.architecture import debian_architecture
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images.kinds import CONTAINER, Kind

IMAGES = Path(__file__).parent
CLOUD_INIT = Path(__file__).parents[1] / "cloud-init"


def recipe(
    build: CatalogueBuild, images_dir: Path = IMAGES, kind: Kind = CONTAINER
) -> dict[str, object]:
    """Return all that decides what an image of ``build`` holds, as plain data.

    The mirror is not part of it: it says where the packages come from, not which. Raises LabError.
    """
    source = build.source.recipe
    base = build.source.base_build
    if base and not build.source.first_boot:
        # The build's own name holds its version, which is not known before the image is made.
        return {"product": build.product, "source": source, "base": digest(base, images_dir, kind)}
    found: dict[str, object] = {
        "build": build.name,
        "architecture": platform.machine(),
        "source": source,
        "packages": packages(build, images_dir, kind),
        "files": {
            str(path.relative_to(images_dir)): ["x" if path.stat().st_mode & 0o100 else "-", _sum(path)]
            for folder in kind.folders
            for path in sorted((images_dir / folder).rglob("*"))
            if path.is_file()
        },
    }
    if base:
        found["base"] = digest(base, images_dir, CONTAINER)
    if build.source.first_boot:
        found["cloud-init"] = {path.name: _sum(path) for path in _first_boot_files()}
    return found


def digest(build: CatalogueBuild, images_dir: Path = IMAGES, kind: Kind = CONTAINER) -> str:
    """Return the identity of the recipe of ``build``: SHA-256, in hexadecimal digits. Raises LabError."""
    text = json.dumps(recipe(build, images_dir, kind), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def packages(build: CatalogueBuild, images_dir: Path = IMAGES, kind: Kind = CONTAINER) -> list[str]:
    """Return the packages that are installed for ``build``. Raises LabError."""
    release = build.source.suites[0] if build.source.suites else ""
    folders = dict.fromkeys((CONTAINER.name, kind.name))
    listed = [line for folder in folders for line in lines(images_dir / folder / "packages")]
    return [*(_name(line) for line in listed if f"[!{release}]" not in line), *product_packages(build, kind)]


def product_packages(build: CatalogueBuild, kind: Kind = CONTAINER) -> list[str]:
    """Return those of the packages that are the product's."""
    facts = build.facts
    return [*facts.packages] if kind is CONTAINER else [*facts.packages, *facts.vm_packages]


def member_packages(images_dir: Path = IMAGES) -> list[str]:
    """Return the packages of every member, beside the product's. Raises LabError."""
    return lines(images_dir / CONTAINER.name / "packages")


def lines(file: Path) -> list[str]:
    """Return the lines of a list, without comments and empty ones; LabError where it is missing."""
    try:
        found = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except OSError as error:
        raise LabError(
            f"cannot read {file}: {error.strerror}; restore it from the repository"
        ) from error
    return [line for line in found if line and not line.startswith("#")]


def _name(line: str) -> str:
    """Return the package that ``line`` of a list names."""
    return line.partition(" [!")[0].replace("ARCHITECTURE", debian_architecture())


def _first_boot_files() -> Iterable[Path]:
    return (*sorted(CLOUD_INIT.glob("install-*.yaml")), CLOUD_INIT / "images.toml")


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
