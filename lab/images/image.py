"""An image on the lab host: one build, installed once, from which members start."""

from __future__ import annotations

from dataclasses import dataclass

from clusterproof.builds import Build
from clusterproof.lab.builds.product import ProductFacts


@dataclass(frozen=True)
class Image:
    """What members of a build start from.

    ``digest`` is that of the recipe, ``fingerprint`` the host's own name of the image. ``build``
    is what was read from the installed product, as are its API ``extensions``. ``parts`` are what it consists of
    where that has identities of its own, the snaps of a snap: ``core24 1055``.
    """

    build: Build
    facts: ProductFacts
    digest: str
    fingerprint: str
    extensions: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()
