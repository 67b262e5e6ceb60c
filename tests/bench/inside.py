"""What a probe inside the node works with: the API server as its administrator sees it, and the streams of the gateway."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp

from mcp_operator.apiserver.credentials import authorization, load_configuration, open_session

_REQUEST_SECONDS = 10.0
_PAGE = 500
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Arrival:
    """Bytes, and when they were read."""

    at: float
    data: bytes


class ApiServer:
    """A few bare requests: what the operator is measured against must not share its code."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str) -> Any:
        return json.loads(await self.text(path))

    async def items(self, path: str, *, selector: str = "") -> AsyncIterator[Any]:
        """The objects of a collection, read in pages: ten thousand of them are more than one answer should hold."""
        query = {"limit": _PAGE, **({"labelSelector": selector} if selector else {})}
        token = ""
        while True:
            page = await self.get(f"{path}?{urlencode({**query, 'continue': token} if token else query)}")
            for item in page["items"]:
                yield item
            if not (token := page["metadata"].get("continue", "")):
                return

    async def text(self, path: str) -> str:
        """An answer that isn't JSON, such as a pod's through the API server's proxy."""
        return await self._request("GET", path)

    async def create(self, path: str, what: Mapping[str, Any]) -> Any:
        """Add an object to the collection at `path`."""
        return json.loads(await self._request("POST", path, data=json.dumps(what), headers={"Content-Type": "application/json"}))

    async def delete(self, path: str) -> None:
        await self._request("DELETE", path)

    async def patch_status(self, path: str, status: Mapping[str, Any]) -> Any:
        """Merge into the status subresource of the object at `path`; the object as it is then."""
        headers = {"Content-Type": _MERGE}
        return json.loads(await self._request("PATCH", f"{path}/status", data=json.dumps({"status": status}), headers=headers))

    async def watch(self, path: str, *, selector: str, version: str, into: Callable[[Arrival], None]) -> None:
        """Follow a collection until cancelled; `into` gets each piece of the answer with the time at which it came."""
        query = {"watch": "true", "labelSelector": selector, "resourceVersion": version}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_REQUEST_SECONDS)
        async with self._session.get(f"{self._url}{path}", params=query, timeout=timeout) as answer:
            answer.raise_for_status()
            try:
                async for piece in answer.content.iter_any():
                    into(Arrival(time.perf_counter(), piece))
            finally:
                # Closed in good order, TLS keeps the socket open until the API server has answered: longer than a loop may last.
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()
        raise ConnectionError(f"the watch of {path} ended")

    async def _request(self, method: str, path: str, **options: Any) -> str:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        async with self._session.request(method, f"{self._url}{path}", timeout=timeout, **options) as answer:
            answer.raise_for_status()
            return await answer.text()


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    """The API server that KUBECONFIG names."""
    configuration = await load_configuration()
    async with open_session(configuration, await authorization(configuration)) as session:
        yield ApiServer(session, configuration.host.rstrip("/"))
