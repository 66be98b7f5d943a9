"""The REST API that LXD and Incus share: raw calls over pylxd's session, recorded as steps.

pylxd's objects are those of LXD. What they lack (evacuate, join tokens, rebuild, ...) and what behaves
differently on Incus needs raw calls, so raw calls are used throughout.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pylxd
import requests
from pylxd.client import get_session_for_url
from requests_toolbelt import MultipartEncoder

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.redaction import redact
from clusterproof.lab.core.transcript import Transcript, shorten

TIMEOUT = 30.0
# Characters of an answer that the transcript keeps.
ANSWER = 2000

# pylxd keeps one connection per socket; that threads open more for a moment is not worth a warning.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


class ApiError(Exception):
    """The server refused a call or did not answer.

    ``status`` is the HTTP status or the operation's status code, 0 where there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class HostApiError(ApiError, LabError):
    """The lab host refused a call or did not answer: the lab's fault, never the product's."""


class Api:
    """An LXD or Incus server's API, by path below ``/1.0``.

    ``endpoint`` is a unix socket's path or an https URL. Calls return the answer's metadata, and wait for the
    operation that they start. Every call has a time limit (seconds) and is a step in ``transcript``. Raises
    ``error``, by default ApiError.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        name: str,
        transcript: Transcript,
        cert: tuple[Path, Path] | None = None,
        server_cert: Path | None = None,
        project: str | None = None,
        timeout: float = TIMEOUT,
        error: type[ApiError] = ApiError,
    ) -> None:
        self.error = error
        self.endpoint = endpoint
        self.name = name
        self.transcript = transcript
        self.timeout = timeout
        pair = (str(cert[0]), str(cert[1])) if cert else None
        if endpoint.startswith("https://"):
            session = get_session_for_url(
                endpoint, verify=str(server_cert) if server_cert else True, cert=pair
            )
            # A CA bundle named in the environment would otherwise override ``verify``.
            session.trust_env = False
            extra = {"session": session, "cert": pair}
        else:
            extra = {}
        try:
            self._client = pylxd.Client(endpoint=endpoint, project=project, timeout=timeout, **extra)
        except (pylxd.exceptions.ClientConnectionFailed, requests.RequestException, OSError) as failure:
            raise error(f"{name} does not answer at {endpoint}: {_short(failure)}") from failure
        except (TypeError, LookupError, ValueError) as failure:
            raise error(f"{name} at {endpoint} is neither LXD nor Incus") from failure
        except pylxd.exceptions.LXDAPIException as failure:
            raise error(f"{name} at {endpoint}: {failure}") from failure
        self.session = self._client.api.session

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def get(self, path: str, /, **params: str | int) -> Any:  # noqa: ANN401
        """Return the metadata of ``GET path``."""
        return self._call("GET", path, None, params, self.timeout)

    def post(
        self, path: str, body: object = None, /, *, timeout: float | None = None, **params: str | int
    ) -> Any:  # noqa: ANN401
        """Return the metadata of ``POST path``, of the finished operation where it starts one."""
        return self._call("POST", path, body, params, timeout or self.timeout)

    def begin(self, path: str, body: object = None, /) -> Any:  # noqa: ANN401
        """Start the operation of ``POST path`` and return its metadata without waiting for it.

        For operations that somebody else completes, such as a join token.
        """
        return self._call("POST", path, body, {}, self.timeout, wait=False)

    def put(
        self, path: str, body: object = None, /, *, timeout: float | None = None, **params: str | int
    ) -> Any:  # noqa: ANN401
        """Return the metadata of ``PUT path``, of the finished operation where it starts one."""
        return self._call("PUT", path, body, params, timeout or self.timeout)

    def patch(self, path: str, body: object = None, /, **params: str | int) -> Any:  # noqa: ANN401
        """Return the metadata of ``PATCH path``."""
        return self._call("PATCH", path, body, params, self.timeout)

    def delete(self, path: str, /, *, timeout: float | None = None, **params: str | int) -> Any:  # noqa: ANN401
        """Return the metadata of ``DELETE path``, of the finished operation where it starts one."""
        return self._call("DELETE", path, None, params, timeout or self.timeout)

    def raw(self, path: str, /, **params: str | int) -> bytes:
        """Return the body of ``GET path`` where it is a file instead of JSON."""
        self._permit("GET", path, None, params)
        try:
            response = self._node(path).get(
                is_api=False, timeout=self.timeout, **({"params": params} if params else {})
            )
        except (pylxd.exceptions.LXDAPIException, requests.RequestException, OSError) as error:
            raise self._error("GET", path, error) from error
        return bytes(response.content)

    def download(self, path: str, to: Path) -> None:
        """Write the body of ``GET path``, which may be larger than the memory, to the file ``to``."""
        self._permit("GET", path, None, {})
        try:
            response = self._node(path).get(is_api=False, stream=True, timeout=self.timeout)
            with to.open("wb") as file:
                for block in response.iter_content(1 << 20):
                    file.write(block)
        except (pylxd.exceptions.LXDAPIException, requests.RequestException, OSError) as error:
            raise self._error("GET", path, error) from error

    def upload(
        self,
        path: str,
        content: bytes | MultipartEncoder,
        headers: dict[str, str],
        /,
        *,
        timeout: float | None = None,
        **params: str | int,
    ) -> Any:  # noqa: ANN401
        """Return the metadata of ``POST path`` with ``content`` as its body."""
        return self._call("POST", path, content, params, timeout or self.timeout, headers=headers)

    def _permit(
        self, method: str, path: str, body: object, params: Mapping[str, str | int]
    ) -> None:
        """Called before each request; by raising an error a subclass prevents that it is sent."""

    def _call(
        self,
        method: str,
        path: str,
        body: object,
        params: dict[str, str | int],
        timeout: float,
        headers: dict[str, str] | None = None,
        *,
        wait: bool = True,
    ) -> Any:  # noqa: ANN401
        self._permit(method, path, body, params)
        query = "?" + "&".join(f"{k}={v}" for k, v in params.items()) if params else ""
        with self.transcript.step("api", self.name, f"{method} /1.0/{path}{query}") as step:
            extra: dict[str, Any] = {"timeout": timeout}
            if params:
                extra["params"] = dict(params)
            if isinstance(body, bytes | MultipartEncoder):
                extra |= {"data": body, "headers": headers}
                step["body"] = f"[{len(body) if isinstance(body, bytes) else body.len} bytes]"
            elif method not in {"GET", "DELETE"}:
                extra["json"] = body if body is not None else {}
                step["body"] = json.dumps(body, ensure_ascii=False, default=str)
            try:
                answer = getattr(self._node(path), method.lower())(**extra).json()
                step["status"] = answer.get("status_code", 0)
                if wait and answer.get("type") == "async":
                    answer = self._finish(answer["operation"], timeout)
                    step["status"] = answer["metadata"]["status_code"]
                metadata = answer["metadata"]
            except ApiError:
                raise
            # Before the next clause: requests' error for invalid JSON belongs to both.
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                what = f"{self.name}: {method} /1.0/{path}"
                raise self.error(f"{what}: the answer is not JSON of this API") from error
            except (pylxd.exceptions.LXDAPIException, requests.RequestException, OSError) as error:
                raised = self._error(method, path, error)
                step["status"] = raised.status
                raise raised from error
            # Redacted first: of a secret that is cut in two, the rest would not be recognized.
            step["answer"] = shorten(redact(json.dumps(metadata, ensure_ascii=False)), ANSWER)
            return metadata

    def _node(self, path: str) -> Any:  # noqa: ANN401
        return self._client.api[path] if path else self._client.api

    def _finish(self, operation: str, timeout: float) -> Any:  # noqa: ANN401
        path = operation.partition("?")[0].removeprefix("/1.0/")
        limit = max(1, int(timeout))
        answer = (
            self._node(path)["wait"].get(params={"timeout": limit}, timeout=limit + 10).json()
        )
        done = answer["metadata"]
        if done["status_code"] == requests.codes.ok:
            return answer
        if done["status_code"] < requests.codes.ok:
            raise self.error(f'{self.name}: operation "{done["description"]}" is not done after {limit} s')
        raise self.error(f'{self.name}: {done["description"]}: {done["err"]}', done["status_code"])

    def _error(self, method: str, path: str, error: Exception) -> ApiError:
        response = getattr(error, "response", None)
        status = response.status_code if isinstance(response, requests.Response) else 0
        return self.error(f"{self.name}: {method} /1.0/{path}: {_short(error)}", status)


def _short(error: Exception) -> str:
    """Return the innermost reason of a nested error, in one line."""
    reason = getattr(error, "reason", None) or (error.args[0] if error.args else error)
    inner = getattr(reason, "reason", None)
    return " ".join(str(inner or reason or error).split())
