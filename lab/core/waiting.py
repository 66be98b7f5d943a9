"""Waiting for a condition: the only way to wait in this project."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, retry_if_not_result
from tenacity.stop import stop_after_delay
from tenacity.wait import wait_fixed

from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError

T = TypeVar("T")


class NotObservedError(AssertionError):
    """The condition did not become true in time; the message has the last observation.

    ``last`` is what the probe returned last, None where it failed.
    """

    def __init__(self, message: str, last: object = None) -> None:
        super().__init__(message)
        self.last = last


def eventually(
    probe: Callable[[], T],
    until: Callable[[T], object] = bool,
    *,
    within: float = 10.0,
    every: float = 0.1,
    what: str = "",
) -> T:
    """Call ``probe`` until ``until`` is true of its result, and return that.

    Calls it every ``every`` seconds for at most ``within`` seconds. An AssertionError or ApiError of the probe
    counts as not yet; a LabError is raised at once. Raises NotObservedError (an AssertionError) with the last
    observation.
    """
    began = time.monotonic()

    def give_up(state: RetryCallState) -> T:
        outcome = state.outcome
        failure = outcome.exception() if outcome else None
        seen = outcome.result() if outcome and not failure else None
        last = f"{type(failure).__name__}: {failure}" if failure else repr(seen)
        raise NotObservedError(
            f"not within {within:g} s ({state.attempt_number} attempts in "
            f"{time.monotonic() - began:.1f} s): {what or _name(probe)}; last observation: {last}",
            seen,
        ) from failure

    return Retrying(
        stop=stop_after_delay(within),
        wait=wait_fixed(every),
        retry=retry_if_exception(_may_pass)
        | retry_if_not_result(lambda seen: bool(until(seen))),
        retry_error_callback=give_up,
    )(probe)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, AssertionError | ApiError) and not isinstance(error, LabError)


def _name(probe: Callable[..., object]) -> str:
    return getattr(probe, "__qualname__", repr(probe)).rpartition(".")[2].strip("<>")
