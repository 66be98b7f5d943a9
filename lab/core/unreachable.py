"""Why a server that is not a product under test did not answer, in words for a person."""

from __future__ import annotations

import socket
import ssl

import requests


def why_unreachable(error: BaseException) -> str:
    """Return the innermost reason of ``error``, without the names of the libraries that it came through."""
    found: BaseException | None = error
    innermost = error
    known: set[int] = set()
    while found is not None and id(found) not in known:
        known.add(id(found))
        innermost = found
        if isinstance(found, ssl.SSLError):
            return f"its certificate is not accepted ({getattr(found, 'verify_message', '') or found.reason})"
        if isinstance(found, socket.gaierror):
            return "its name is not known"
        if isinstance(found, TimeoutError | requests.Timeout):
            return "no answer in time"
        if isinstance(found, OSError) and found.strerror and not isinstance(found, requests.RequestException):
            return found.strerror
        nested = getattr(found, "reason", None) or (found.args[0] if found.args else None)
        found = nested if isinstance(nested, BaseException) else found.__cause__ or found.__context__
    return " ".join(str(innermost).split())
