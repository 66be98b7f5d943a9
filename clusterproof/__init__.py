"""A conformance suite that reproduces documented LXD and Incus cluster bugs on real clusters.

The names that scenarios use are imported from here: ``from clusterproof import Cluster, SymptomWatch``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterproof.fixtures.shown import Shown
    from clusterproof.fixtures.symptoms import SymptomWatch
    from clusterproof.lab.cluster.ceph import Ceph
    from clusterproof.lab.cluster.certificates import cluster_certificate, renewed_certificate
    from clusterproof.lab.cluster.cluster import Cluster, Instance
    from clusterproof.lab.cluster.held_request import HeldRequest
    from clusterproof.lab.cluster.idle_connection import idle_connection
    from clusterproof.lab.cluster.member import CommandError, Member
    from clusterproof.lab.cluster.refusal import refused
    from clusterproof.lab.cluster.tenant import Tenant
    from clusterproof.lab.core.api import Api, ApiError
    from clusterproof.lab.core.waiting import NotObservedError, eventually
    from clusterproof.lab.images.image import Image
    from clusterproof.lab.substrates.machine import PORT, CommandTimeoutError

__all__ = [
    "PORT",
    "Api",
    "ApiError",
    "Ceph",
    "Cluster",
    "CommandError",
    "CommandTimeoutError",
    "HeldRequest",
    "Image",
    "Instance",
    "Member",
    "NotObservedError",
    "Shown",
    "SymptomWatch",
    "Tenant",
    "cluster_certificate",
    "eventually",
    "idle_connection",
    "refused",
    "renewed_certificate",
]

PACKAGE = Path(__file__).parent
# In a checkout the package holds a link to the suites, and pytest knows them by their real path.
SUITES = (PACKAGE / "suites").resolve()

_HOMES = {
    "fixtures.shown": ("Shown",),
    "fixtures.symptoms": ("SymptomWatch",),
    "lab.cluster.ceph": ("Ceph",),
    "lab.cluster.certificates": ("cluster_certificate", "renewed_certificate"),
    "lab.cluster.cluster": ("Cluster", "Instance"),
    "lab.cluster.held_request": ("HeldRequest",),
    "lab.cluster.idle_connection": ("idle_connection",),
    "lab.cluster.member": ("CommandError", "Member"),
    "lab.cluster.refusal": ("refused",),
    "lab.cluster.tenant": ("Tenant",),
    "lab.core.api": ("Api", "ApiError"),
    "lab.core.waiting": ("NotObservedError", "eventually"),
    "lab.images.image": ("Image",),
    "lab.substrates.machine": ("PORT", "CommandTimeoutError"),
}


def __getattr__(name: str) -> object:
    """Import one of the names above when it is first used: the package itself imports nothing."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
