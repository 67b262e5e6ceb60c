"""The connection to the API server: one HTTP session, and the few requests that are made.

Everything is plain JSON over one aiohttp session: the generated client would parse each object into models (ten times the time,
and an error where an object has a field that it doesn't expect) and can't give a watch a limit on silence. Every request has a
time limit, and every failure is an `ApiError`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import aiohttp
import yarl
from kubernetes.aio.client import Configuration

from mcp_operator.apiserver.credentials import authorization, load_configuration, open_session
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MANAGER, POD, Kind
from mcp_operator.apiserver.parsing import parse_json
from mcp_operator.model.base import Object

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
_REQUEST_SECONDS = 15.0
_PAGE_SECONDS = 60.0
_WEBSOCKET_TIMEOUT = aiohttp.ClientWSTimeout(ws_close=1.0)
"""Only saying goodbye has a limit: whoever reads knows how long silence is normal."""
_LOGIN_AGAIN_SECONDS = 10.0
"""A connection younger than this isn't replaced on a 401: the credentials are wrong, not old."""


@dataclass(frozen=True)
class _Connection:
    """One session under one set of credentials."""

    configuration: Configuration
    session: aiohttp.ClientSession
    since: float


class Api:
    """The API server, as an async context manager that owns the session.

    Args:
        load: reads the credentials.
        request_seconds: longest time for a request, but for lists and watches.
    """

    def __init__(
        self, *, load: Callable[[], Awaitable[Configuration]] = load_configuration, request_seconds: float = _REQUEST_SECONDS
    ) -> None:
        self._load = load
        self._request_seconds = request_seconds
        self._connection: _Connection | None = None
        self._logging_in = asyncio.Lock()

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._disconnect()

    async def log_in(self) -> None:
        """Read the credentials now instead of with the first request.

        Raises:
            ApiError: there are none.
        """
        await self._connect()

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Read one object."""
        return await self._json("GET", kind.path(namespace, name))

    async def list_page(
        self, kind: Kind, namespace: str | None, *, selectors: Mapping[str, str], limit: int, token: str | None
    ) -> Object:
        """Read one page of a list.

        Args:
            namespace: None for all of the cluster.
            selectors: query parameters `labelSelector` and `fieldSelector`.
            limit: objects on a page.
            token: `metadata.continue` of the page before, None for the first.
        """
        query = {**selectors, "limit": str(limit), **({"continue": token} if token else {})}
        return await self._json("GET", kind.path(namespace), query=query, seconds=_PAGE_SECONDS)

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        selectors: Mapping[str, str],
        resource_version: str,
        seconds: float,
        silence: float,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Follow a collection from a resourceVersion on.

        The block begins once the API server has agreed; inside, chunks of lines come as they arrive, until the API server ends
        the watch, which it is asked to do after `seconds`.

        Raises:
            ApiError: refused (410 Expired, too), cut off (Unreachable), or not a byte for `silence` seconds (TimedOut).
        """
        query = {
            **selectors,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(seconds)),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        async with self._answer("GET", kind.path(namespace), query=query, timeout=timeout) as answer:
            yield answer.content.iter_any()

    async def apply(self, kind: Kind, manifest: Object, *, force: bool) -> Object:
        """Server-side apply under our field manager; creates the object if it isn't there.

        Fields that the object's schema doesn't know are refused instead of dropped.

        Args:
            manifest: the fields that we own; a `metadata.uid` in it makes it fail on another object of the name.
            force: take over fields that other managers own.
        """
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": MANAGER, "force": "true" if force else "false", "fieldValidation": "Strict"}
        try:
            return await self._json("PATCH", path, query=query, body=manifest, content_type="application/apply-patch+yaml")
        except ApiError as error:
            raise error.of_apply() from error

    async def patch_status(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        """Merge a patch into the status subresource."""
        path = kind.path(namespace, name, "status")
        query = {"fieldManager": MANAGER}
        return await self._json("PATCH", path, query=query, body=patch, content_type="application/merge-patch+json")

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Object, *, manager: str) -> Object:
        """Merge a patch into an object, in the name of a field manager; fields that its schema doesn't know are refused."""
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        path = kind.path(namespace, name)
        return await self._json("PATCH", path, query=query, body=patch, content_type="application/merge-patch+json")

    @asynccontextmanager
    async def pod_log(
        self, namespace: str, pod: str, *, query: Mapping[str, str], silence: float | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read what a container has printed, as chunks of bytes that end where the API server ends the answer.

        Args:
            query: of the request, as the API documents them: container, follow, previous, timestamps, sinceTime, tailLines.
            silence: seconds without a byte after which it is given up (TimedOut); None where silence is normal.

        Raises:
            ApiError: refused (400 while the container has printed nothing yet, 404 for a pod that is gone), or cut off.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        async with self._answer("GET", POD.path(namespace, pod, "log"), query=query, timeout=timeout) as answer:
            yield answer.content.iter_any()

    async def open_websocket(self, path: str, *, query: Mapping[str, str], protocol: str) -> aiohttp.ClientWebSocketResponse:
        """Begin a WebSocket connection that speaks a subprotocol; the caller closes it.

        Raises:
            ApiError: refused (the API server's sentence is lost then: the status alone says why), or cut off.
        """
        connection = await self._connect()
        configuration = connection.configuration
        url = yarl.URL(configuration.host.rstrip("/") + path, encoded=True).with_query(query)
        try:
            async with asyncio.timeout(self._request_seconds):
                return await connection.session.ws_connect(
                    url,
                    protocols=(protocol,),
                    headers=await authorization(configuration),
                    server_hostname=configuration.tls_server_name or None,
                    timeout=_WEBSOCKET_TIMEOUT,
                )
        except TimeoutError:
            raise ApiError(status=None, reason="TimedOut", message=f"{path}: no answer in time") from None
        except aiohttp.WSServerHandshakeError as error:
            refused = ApiError(status=error.status, reason="Refused", message=f"{path}: no WebSocket here")
            if refused.unauthorized:
                await self._renew(connection)
            raise refused from error
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(status=None, reason="Unreachable", message=f"{path}: {str(error) or type(error).__name__}") from error

    async def create(self, kind: Kind, namespace: str, manifest: Object) -> Object:
        """Create one object."""
        return await self._json("POST", kind.path(namespace), query={"fieldManager": MANAGER}, body=manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete one object, unless another one bears its name by now (409)."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        await self._json("DELETE", kind.path(namespace, name), body=options)

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        seconds: float | None = None,
    ) -> Object:
        timeout = aiohttp.ClientTimeout(total=seconds or self._request_seconds, sock_connect=_CONNECT_SECONDS)
        data = None if body is None else json.dumps(body).encode()
        async with self._answer(method, path, query=query, timeout=timeout, data=data, content_type=content_type) as answer:
            content = await answer.read()
        try:
            return cast("dict[str, Any]", parse_json(content))
        except ValueError:
            raise ApiError(status=answer.status, reason="Malformed", message=f"{method} {path}: not JSON") from None

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own limits, one each for connecting, reading and all
        data: bytes | None = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one request; an error while its answer is read inside the block is translated as well."""
        connection = await self._connect()
        configuration = connection.configuration
        url = yarl.URL(configuration.host.rstrip("/") + path, encoded=True).with_query(query)
        headers = {**await authorization(configuration), **({"Content-Type": content_type} if data is not None else {})}
        try:
            async with connection.session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=timeout,
                server_hostname=configuration.tls_server_name or None,
                allow_redirects=False,
            ) as answer:
                if answer.status >= 300:
                    raise await _error(answer)
                yield answer
        except TimeoutError:
            raise ApiError(status=None, reason="TimedOut", message=f"{method} {path}: no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(
                status=None, reason="Unreachable", message=f"{method} {path}: {str(error) or type(error).__name__}"
            ) from error
        except RuntimeError as error:
            if not connection.session.closed:
                raise
            raise ApiError(status=None, reason="Unreachable", message=f"{method} {path}: logging in again") from error
        except ApiError as error:
            if error.unauthorized:
                await self._renew(connection)
            raise

    async def _connect(self) -> _Connection:
        async with self._logging_in:
            if self._connection is None:
                configuration = await self._load()
                self._connection = _Connection(configuration, open_session(configuration), time.monotonic())
            return self._connection

    async def _renew(self, refused: _Connection) -> None:
        """Log in again with the next request: a 401 means that the credentials were rotated, or revoked."""
        if self._connection is refused and time.monotonic() - refused.since > _LOGIN_AGAIN_SECONDS:
            logger.info("The API server no longer accepts the credentials: reading them again.")
            await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.session.close()


async def _error(answer: aiohttp.ClientResponse) -> ApiError:
    content = await answer.read()
    try:
        body = parse_json(content)
    except ValueError:
        body = None
    return ApiError.from_status(body, status=answer.status, reason=answer.reason or "Error")
