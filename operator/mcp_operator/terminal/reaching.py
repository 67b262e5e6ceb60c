"""The way to the gateway: by its URL, or through the API server to the operator's pod. Every failure is a sentence.

A gateway that can't be reached now may be back soon (the operator was upgraded, say): that is an `AwayError`, so that `following`
can tell it from what will never work.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import yarl

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.credentials import load_configuration
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.forwarding import ForwardingConnector
from mcp_operator.terminal.errors import AwayError, TerminalError, UnknownServerError
from mcp_operator.terminal.locating import find
from mcp_operator.terminal.values import harmless

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 15.0
_MOST_BYTES = 64 * 1024 * 1024
_DETAIL_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Access:
    """How to get to the gateway and to the cluster, as the command line and the environment say it."""

    gateway: str | None = None
    """Its URL; None: it is found through the cluster."""
    kubeconfig: str | None = None
    context: str | None = None
    operator_namespace: str | None = None

    def api(self) -> Api:
        """The API server of the cluster."""
        return Api(load=partial(load_configuration, kubeconfig=self.kubeconfig, context=self.context))


class Gateway:
    """Asks one gateway.

    Args:
        place: where it is, for messages.
        trouble: why the last connection ended, where the way to it knows more than the connection itself.
    """

    def __init__(
        self, session: aiohttp.ClientSession, url: yarl.URL, *, place: str, trouble: Callable[[], str | None] = lambda: None
    ) -> None:
        self._session = session
        self._url = url
        self._place = place
        self._trouble = trouble

    async def get_json(self, path: str, query: Mapping[str, str]) -> Any:
        """Read an answer that isn't a stream.

        Raises:
            UnknownServerError: 404.
            AwayError: no answer, or one that may be another later.
            TerminalError: refused.
        """
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS)
        async with self._get(path, query, headers={"Accept": "application/json"}, timeout=timeout) as response:
            content = await response.content.read(_MOST_BYTES)
        try:
            return json.loads(content)
        except ValueError:
            raise self._no_gateway("its answer is not JSON") from None

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, last_event_id: str
    ) -> AsyncIterator[aiohttp.StreamReader | None]:
        """Open an event stream; None if the gateway has said all that there is to say.

        What breaks while it is read is raised as an AwayError.

        Raises:
            UnknownServerError: 404.
            AwayError: no answer, or one that may be another later.
            TerminalError: refused.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_event_id} if last_event_id else {})}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        async with self._get(path, query, headers=headers, timeout=timeout) as response:
            if response.status == 204:
                yield None
                return
            if response.content_type != "text/event-stream":
                raise self._no_gateway(f"its answer is {response.content_type}")
            yield response.content

    @asynccontextmanager
    async def _get(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own limits, one each for connecting, reading and all
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = self._url.with_path(self._url.path.rstrip("/") + path, encoded=True).with_query(query)
        try:
            # The time limit ends with the answer's head: how long a stream may be silent, its reader knows.
            async with asyncio.timeout(_ANSWER_SECONDS) as patience:
                response = await self._session.get(url, headers=headers, timeout=timeout, allow_redirects=False)
                patience.reschedule(None)
                async with response:
                    if response.status not in {200, 204}:
                        raise await self._refusal(response)
                    yield response
        except ApiError as error:
            raise explained(error, "reach the gateway") from error
        except TimeoutError:
            raise AwayError(f"{self._place} doesn't answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise AwayError(f"{self._place} can't be reached: {self._trouble() or _words(error)}") from error

    async def _refusal(self, response: aiohttp.ClientResponse) -> TerminalError:
        """What an error answer says, as far as it can be read."""
        try:
            detail = json.loads(await response.content.read(_MOST_BYTES)).get("detail")
        except (ValueError, AttributeError):
            detail = None
        if not isinstance(detail, str):
            return self._no_gateway(f"it answers {response.status} {harmless(response.reason or '')}", status=response.status)
        sentence = harmless(detail[:_DETAIL_SHOWN])
        match response.status:
            case 404:
                return UnknownServerError(sentence)
            case 408 | 429 | 500 | 502 | 503 | 504:
                return AwayError(f"{self._place} doesn't serve now: {sentence}", starting=response.status == 503)
            case _:
                return TerminalError(f"{self._place} refuses: {sentence}")

    def _no_gateway(self, seen: str, *, status: int = 200) -> TerminalError:
        if status in {408, 429, 500, 502, 503, 504}:
            return AwayError(f"{self._place} doesn't serve now: {seen}")
        return TerminalError(f"{self._place} is not the gateway of an mcp-operator: {seen}. Check --gateway")


@asynccontextmanager
async def reach(access: Access) -> AsyncIterator[Gateway]:
    """The gateway, for the duration of the block.

    Raises:
        TerminalError: the URL is none. All else shows with the first request.
    """
    if access.gateway is not None:
        url = _gateway_url(access.gateway)
        async with aiohttp.ClientSession(trust_env=True) as session:
            yield Gateway(session, url, place=f"The gateway at {url.with_user(None)}")
        return
    async with access.api() as api:
        connector = ForwardingConnector(api, partial(find, api, namespace=access.operator_namespace))
        try:
            async with aiohttp.ClientSession(connector=connector, connector_owner=False) as session:
                place = "The gateway (through the API server)"
                yield Gateway(session, yarl.URL("http://gateway"), place=place, trouble=lambda: connector.trouble)
        finally:
            await connector.stop()


def explained(error: ApiError, doing: str) -> TerminalError:
    """An API server's failure as a sentence.

    Args:
        doing: what was tried, as in "You may not ...".
    """
    said = harmless(error.message)
    match error.status:
        case None if error.reason == "NoCredentials":
            return TerminalError(
                f"There is no way to a cluster: {said}. Say which kubeconfig by --kubeconfig or $KUBECONFIG, or give the "
                "gateway's URL by --gateway"
            )
        case None:
            return AwayError(f"The API server can't be reached: {said}")
        case 401:
            return TerminalError(f"The API server doesn't accept your credentials: {said}")
        case 403:
            return TerminalError(f"You may not {doing}: {said}. docs/terminal.md names the rights that it takes")
        case _:
            return AwayError(f"The API server can't {doing} now: {error.status} {harmless(error.reason)}: {said}")


def _gateway_url(text: str) -> yarl.URL:
    try:
        url = yarl.URL(text)
    except ValueError:
        url = yarl.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise TerminalError(f"{harmless(text)!r} is no gateway's URL: write it as http://HOST:PORT")
    return url.with_query(None).with_fragment(None)


def _words(error: Exception) -> str:
    """What went wrong, without what aiohttp says of its own parameters."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return harmless(str(error) or type(error).__name__)
