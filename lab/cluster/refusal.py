"""What a product answers to a call that it does not carry out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from clusterproof.lab.cluster.member import CommandError
from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError

P = ParamSpec("P")


def refused(
    call: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> ApiError | CommandError | None:
    """Call ``call`` and return the error with which the product refuses it, None where it does not.

    For scenarios that ask what a refusal leaves behind: ``refused(cluster.evacuate, member)``. Every other
    error passes, a LabError too: that the host refuses a call says nothing of the product.
    """
    try:
        call(*args, **kwargs)
    except LabError:
        raise
    except (ApiError, CommandError) as refusal:
        return refusal
    return None
