"""`mcp-operator status` and `rollouts`: what is known about the servers, or about one of them, now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mcp_operator.apiserver.credentials import current_namespace
from mcp_operator.terminal.errors import AwayError, TerminalError, UnknownServerError
from mcp_operator.terminal.following import Following, Told
from mcp_operator.terminal.naming import ServerReference
from mcp_operator.terminal.reaching import Access, Gateway, reach
from mcp_operator.terminal.rollouts import UnclearRolloutError, find, rollout_page, rollouts_table
from mcp_operator.terminal.screen import Style, coloured_text
from mcp_operator.terminal.tables import server_page, servers_table
from mcp_operator.terminal.values import EventJson, items_of, text_of

_PATIENCE_SECONDS = 20.0
"""For a gateway that has just started: it reads the cluster first."""
_AGAIN_SECONDS = 0.5
_TAIL = 10


class Form(StrEnum):
    """How `status` and `rollouts` answer."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"


async def list_servers(access: Access, *, namespace: str | None, form: Form, style: Style) -> str:
    """All servers, or those of one namespace; empty text where there are none.

    Raises:
        TerminalError: the gateway can't be asked.
    """
    async with reach(access) as gateway:
        answer = await _answer(gateway, "/api/servers", {"namespace": namespace} if namespace else {})
    if form is Form.JSON:
        return _json(answer)
    servers = items_of(answer if isinstance(answer, dict) else {}, "items")
    if not servers:
        return ""
    return coloured_text(servers_table(servers, now=datetime.now(UTC), wide=form is Form.WIDE), style=style)


async def describe_server(access: Access, server: ServerReference, *, form: Form, style: Style) -> str:
    """One server.

    Raises:
        UnknownServerError: there is none.
        TerminalError: the gateway can't be asked.
    """
    if access.gateway is None:
        server = server.within(current_namespace(kubeconfig=access.kubeconfig, context=access.context))
    try:
        async with reach(access) as gateway:
            if form is Form.JSON:
                return _json(await _answer(gateway, server.path, {}))
            events = await _snapshot(gateway, server)
    except UnknownServerError:
        raise UnknownServerError(server.unknown) from None
    name = next((text_of(event, "server") for event in events), str(server))
    return coloured_text(server_page(name, events, now=datetime.now(UTC)), style=style)


async def describe_rollouts(
    access: Access, server: ServerReference, rollout: str | None, *, form: Form, style: Style, width: int
) -> str:
    """The records of a server's rollouts and scalings, or one of them; empty text where there are none.

    Args:
        rollout: the id of one record, or the beginning of it.
        width: columns of the terminal.

    Raises:
        UnknownServerError: there is no such server.
        TerminalError: there is no such record, or the gateway can't be asked.
    """
    if access.gateway is None:
        server = server.within(current_namespace(kubeconfig=access.kubeconfig, context=access.context))
    try:
        async with reach(access) as gateway:
            answer = await _answer(gateway, f"{server.path}/rollouts", {})
    except UnknownServerError:
        raise UnknownServerError(server.unknown) from None
    records, now = items_of(answer if isinstance(answer, dict) else {}, "items"), datetime.now(UTC)
    if rollout is None:
        if form is Form.JSON:
            return _json(answer)
        return coloured_text(rollouts_table(records, now=now), style=style) if records else ""
    try:
        record = find(records, rollout)
    except UnclearRolloutError as error:
        raise TerminalError(str(error)) from None
    return _json(record) if form is Form.JSON else coloured_text(rollout_page(record, now=now, width=width), style=style)


def _json(answer: Any) -> str:
    """JSON that no text in it can make a terminal obey."""
    return json.dumps(answer, indent=2) + "\n"


async def _answer(gateway: Gateway, path: str, query: Mapping[str, str]) -> Any:
    """What a URL answers, as soon as the gateway can answer it."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while True:
        try:
            return await gateway.get_json(path, query)
        except AwayError as error:
            if not error.starting or asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)


async def _snapshot(gateway: Gateway, server: ServerReference) -> Sequence[EventJson]:
    """The snapshot that opens the server's stream: unlike the list it has the newest log lines."""
    events: list[EventJson] = []
    following = Following(gateway, f"{server.path}/events", {"tail": str(_TAIL)}, wait_for_server=False)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS), aclosing(following.news()) as portions:
            async for portion in portions:
                for news in portion:
                    if not isinstance(news, Told):
                        continue
                    if news.event.get("type") == "bookmark":
                        return events
                    if news.event.get("snapshot") is True:
                        events.append(news.event)
    except TimeoutError:
        raise TerminalError(f"The gateway doesn't say how {server} is: it isn't ready") from None
    return events
