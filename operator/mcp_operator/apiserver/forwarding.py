"""HTTP to a port inside a pod, through the API server: what `kubectl port-forward` does, without a port on this machine.

`terminal` reaches the gateway by it. Each HTTP connection is a WebSocket of its own to the pod's `portforward` subresource, so
nobody else on the machine gets to the pod with the rights of whoever runs the command.

The protocol (`v4.channel.k8s.io`; kubernetes/pkg/kubelet, `portforward/websocket.go`): every message begins with a byte that
names the channel, 0 for data and 1 for an error that ends the connection; the first message on each channel is the number of
the port.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import POD

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

logger = logging.getLogger(__name__)

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_PIECE_BYTES = 32 * 1024
_OPEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PodPort:
    """A port inside a pod."""

    namespace: str
    pod: str
    port: int

    def __str__(self) -> str:
        return f"port {self.port} of pod {self.namespace}/{self.pod}"


class ForwardingConnector(aiohttp.BaseConnector):
    """The connections of an aiohttp session whose every URL means one port of one pod, found anew for each connection.

    Args:
        api: the API server; it must live longer than the connector.
        find: says where to connect to; what it raises, a request of the session raises.
    """

    allowed_protocol_schema_set = frozenset({"http"})

    def __init__(self, api: Api, find: Callable[[], Awaitable[PodPort]]) -> None:
        super().__init__()
        self._api = api
        self._find = find
        self._pumps: set[asyncio.Task[None]] = set()
        self.trouble: str | None = None
        """Why the pod's side ended the newest connection, in the words of the node; None if it didn't."""

    async def stop(self) -> None:
        """Close all connections, and wait until they are closed."""
        await self.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: Sequence[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature that aiohttp calls
    ) -> ResponseHandler:
        """Called by aiohttp where its own connectors would connect a socket.

        Raises:
            ApiError: the API server or the node refuses, or can't be reached.
        """
        target = await self._find()
        logger.debug("Connecting to %s through the API server.", target)
        self.trouble = None
        websocket = await self._open(target)
        ours, theirs = socket.socketpair()
        pump = asyncio.create_task(self._pump(websocket, theirs), name=f"forward {target}")
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        _, protocol = await asyncio.get_running_loop().create_connection(self._factory, sock=ours)
        return protocol

    async def _open(self, target: PodPort) -> aiohttp.ClientWebSocketResponse:
        path = POD.path(target.namespace, target.pod, "portforward")
        try:
            websocket = await self._api.open_websocket(path, query={"ports": str(target.port)}, protocol=_PROTOCOL)
        except ApiError as error:
            if error.status != 403:
                raise
            needed = f"forwarding ports takes the verbs get and create on pods/portforward in the namespace {target.namespace}"
            raise ApiError(status=403, reason="Forbidden", message=needed) from error
        number = target.port.to_bytes(2, "little")
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                first = [await websocket.receive() for _ in (_DATA, _ERROR)]
        except TimeoutError:
            await websocket.close()
            raise ApiError(status=None, reason="TimedOut", message=f"{path}: the node doesn't answer") from None
        if {message.data for message in first} != {bytes((_DATA,)) + number, bytes((_ERROR,)) + number}:
            await websocket.close()
            raise ApiError(status=None, reason="Malformed", message=f"{path}: not {_PROTOCOL}")
        return websocket

    async def _pump(self, websocket: aiohttp.ClientWebSocketResponse, theirs: socket.socket) -> None:
        """Carry bytes both ways until one side ends; then end the other."""
        with closing(theirs):
            theirs.setblocking(False)
            try:
                async with asyncio.TaskGroup() as ways:
                    up = ways.create_task(_upward(theirs, websocket))
                    await self._downward(websocket, theirs)
                    up.cancel()
            except* (OSError, aiohttp.ClientError) as errors:
                logger.debug("A forwarded connection broke: %s", errors.exceptions[0])
            finally:
                await websocket.close()

    async def _downward(self, websocket: aiohttp.ClientWebSocketResponse, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async for message in websocket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == _ERROR:
                self.trouble = data.decode("utf-8", "replace").strip()
                logger.debug("The node ends a forwarded connection: %s", self.trouble)
                return
            await loop.sock_sendall(theirs, data)


async def _upward(theirs: socket.socket, websocket: aiohttp.ClientWebSocketResponse) -> None:
    """Send what the HTTP client sends; when it closes its end, close the WebSocket, which ends the other way."""
    loop = asyncio.get_running_loop()
    while piece := await loop.sock_recv(theirs, _PIECE_BYTES):
        await websocket.send_bytes(bytes((_DATA,)) + piece)
    await websocket.close()
