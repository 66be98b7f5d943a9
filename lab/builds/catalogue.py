"""The catalogue: which products there are, and the builds that can be asked for.

Read from ``lab/products/*.toml``, one file per product.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from debian.debian_support import Version

from clusterproof.builds import parse_version
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.product import ProductFacts
from clusterproof.lab.builds.product_file import ProductFile, read, short
from clusterproof.lab.core.errors import UsageError

PRODUCTS = Path(__file__).parents[1] / "products"
LIST_THEM = "list them with clusterproof builds"


@dataclass(frozen=True)
class Catalogue:
    """All products and builds: ``builds`` by product, then in Debian's version order."""

    products: tuple[ProductFacts, ...]
    builds: tuple[CatalogueBuild, ...]

    def with_builds(self, more: Iterable[CatalogueBuild]) -> Catalogue:
        """Return a catalogue that has ``more`` too. Raises UsageError where two have the same name."""
        builds = sorted([*self.builds, *more], key=_order)
        for one, other in pairwise(builds):
            if one.name == other.name:
                raise UsageError(
                    f"{one.name} is there twice: {one.source.label}, {other.source.label}; run one at a time"
                )
        return Catalogue(self.products, tuple(builds))

    def replaced(self, builds: Iterable[CatalogueBuild]) -> Catalogue:
        """Return the catalogue with ``builds`` in place of those of the same names."""
        new = {build.name: build for build in builds}
        return Catalogue(self.products, tuple(new.get(build.name, build) for build in self.builds))

    def select(self, wanted: Iterable[str] = ()) -> list[CatalogueBuild]:
        """Return the builds named by ``wanted`` in the catalogue's order, each once.

        A name is a build's (``incus@7.0.2``) or a product's (``incus``, all its default builds). None means all
        default builds. Channels are not among them: they are asked for by their own names.
        Raises UsageError for a name that is neither.
        """
        names = {name.strip() for name in wanted}
        for name in sorted(names):
            if not self._named(name):
                raise UsageError(self._unknown(name))
        return [
            build
            for build in self.builds
            if build.name in names or (build.default and (not names or build.product in names))
        ]

    def get(self, name: str) -> CatalogueBuild:
        """Return the build called ``name``; UsageError where there is none."""
        for build in self.builds:
            if build.name == name:
                return build
        raise UsageError(self._unknown(name))

    def product(self, name: str) -> ProductFacts:
        """Return the facts of the product called ``name``; UsageError where there is none."""
        for facts in self.products:
            if facts.name == name:
                return facts
        known = ", ".join(facts.name for facts in self.products)
        raise UsageError(f'product "{name}" is not in lab/products (known: {known})')

    def pairs(self) -> list[tuple[CatalogueBuild, CatalogueBuild]]:
        """Return (older, newer) for builds next to each other in the same product.

        Upstream supports upgrades from a channel to a riskier one of its track, and from one track to the next
        between what is stable in both: what is on edge may have a database that no release knows yet.
        """
        by_packaging = sorted(self.builds, key=lambda build: build.packaging)
        tracks = [list(group) for _, group in groupby(by_packaging, key=_line)]
        safest = pairwise(track[0] for track in tracks)
        next_track = [(old, new) for old, new in safest if old.packaging == new.packaging]
        within = [pair for track in tracks for pair in pairwise(track)]
        place = {build.name: number for number, build in enumerate(by_packaging)}
        return sorted([*next_track, *within], key=lambda pair: place[pair[1].name])

    def _named(self, name: str) -> bool:
        return any(name in (build.name, build.product) for build in self.builds)

    def _unknown(self, name: str) -> str:
        nearest = self._nearest(name)
        hint = f" (nearest: {nearest})" if nearest else ""
        return f'build "{name}" is not in lab/products{hint}; {LIST_THEM}'

    def _nearest(self, name: str) -> str | None:
        product, _, version = name.partition("@")
        if "/" in version:
            return self._alike(name)
        same = [build for build in self.builds if build.product == product and build.default]
        if same:
            try:
                asked = parse_version(version)
            except ValueError:
                return same[-1].name
            below = [build for build in same if parse_version(build.version) <= asked]
            return (below[-1] if below else same[0]).name
        return self._alike(name)

    def _alike(self, name: str) -> str | None:
        names = [facts.name for facts in self.products] + [build.name for build in self.builds]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        return close[0] if close else None


def load(folder: Path = PRODUCTS) -> Catalogue:
    """Read every ``*.toml`` of ``folder``.

    Raises UsageError that names file, key and value of what cannot be used.
    """
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise UsageError(
            f"no product in {short(folder)}; it takes one TOML file for each, like incus.toml"
        )
    products: dict[str, ProductFile] = {}
    for file in files:
        product = read(file)
        if product.name in products:
            raise UsageError(
                f'{short(file)}: name = "{product.name}" is taken by another file; rename one'
            )
        products[product.name] = product
    builds = [build for product in products.values() for build in product.catalogue_builds()]
    builds.sort(key=_order)
    return Catalogue(tuple(product.facts() for _, product in sorted(products.items())), tuple(builds))


def _order(build: CatalogueBuild) -> tuple[str, Version, int, str]:
    return build.product, parse_version(build.version), build.source.risk, build.asked


def _line(build: CatalogueBuild) -> tuple[tuple[str, str], Version]:
    """Return what the channels of one track have in common until they are installed; other builds are alone."""
    return build.packaging, parse_version(build.version)
