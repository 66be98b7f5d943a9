"""A refusal is an answer; everything else that goes wrong is none."""

from __future__ import annotations

import pytest

from clusterproof.lab.cluster.member import CommandError
from clusterproof.lab.cluster.refusal import refused
from clusterproof.lab.core.api import ApiError, HostApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.substrates.machine import CommandTimeoutError


def fail(error: Exception):
    raise error


@pytest.mark.parametrize("error", [ApiError("m1: not authorized", 403), CommandError("m1: ended with 1")])
def test_the_products_error_is_returned(error):
    assert refused(fail, error) is error


def test_a_call_that_succeeds_is_not_refused():
    calls = []
    assert refused(lambda *args, **kwargs: calls.append((args, kwargs)), 1, force=2) is None
    assert calls == [((1,), {"force": 2})]


@pytest.mark.parametrize(
    "error",
    [
        HostApiError("the host does not answer"),
        LabError("the member stopped"),
        CommandTimeoutError("still running"),
        AssertionError("no"),
    ],
)
def test_any_other_error_passes(error):
    with pytest.raises(type(error)) as caught:
        refused(fail, error)
    assert caught.value is error
