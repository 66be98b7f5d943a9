"""Getting what is on the network, with patience for a server that fails for a moment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import requests
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from clusterproof.lab.core.errors import LabError

TIMEOUT = 30.0
ATTEMPTS = 5
# Seconds between attempts: they double, and differ between those who ask at the same time.
PAUSE = wait_exponential_jitter(multiplier=0.5, max=20, jitter=1)
_SERVER_ERRORS = range(500, 600)
_TOO_MANY = 429


def get(
    url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return what is at ``url``. Raises requests.RequestException once no attempt has helped."""
    for attempt in _attempts():
        with attempt:
            answer = requests.get(url, params=params, headers=headers, timeout=TIMEOUT)
            answer.raise_for_status()
            return answer.content
    raise AssertionError


def what_is_wrong(error: ValidationError) -> str:
    """Return where an answer is not of its form first, and how: ``products.noble.arch: Field required``."""
    what = error.errors()[0]
    where = ".".join(str(part) for part in what["loc"]) or "the whole"
    return f"{where}: {what['msg']}"


def download(url: str, into: Path, sha256: str) -> None:
    """Write what is at ``url`` to the file ``into``, which is whole or not there.

    Raises LabError where it is not what ``sha256`` says, and requests.RequestException as ``get`` does.
    """
    partial = into.with_name(f"{into.name}.part")
    try:
        for attempt in _attempts():
            with attempt:
                found = _stream(url, partial)
        if found != sha256:
            raise LabError(f"{url} has the SHA-256 {found}, and its index says {sha256}; try again later")
        partial.replace(into)
    finally:
        partial.unlink(missing_ok=True)


def _stream(url: str, into: Path) -> str:
    digest = hashlib.sha256()
    with requests.get(url, timeout=TIMEOUT, stream=True) as answer, into.open("wb") as file:
        answer.raise_for_status()
        for block in answer.iter_content(1 << 20):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _attempts() -> Retrying:
    return Retrying(
        retry=retry_if_exception(_may_pass), stop=stop_after_attempt(ATTEMPTS), wait=PAUSE, reraise=True
    )


def _may_pass(error: BaseException) -> bool:
    """Say whether the server or the way to it failed, and not what was asked for."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in _SERVER_ERRORS or error.response.status_code == _TOO_MANY
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, broken)
