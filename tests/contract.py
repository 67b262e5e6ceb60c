"""The contract that every event, frame and answer in a test is held to: that of the OpenAPI document which a gateway serves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

from local_stack.contract import Contract
from local_stack.sse import Message
from mcp_operator.eventlog.log import Record
from mcp_operator.gateway.describing import document

_REMEMBERED = 65536
"""Events that are known to be right: tests look at the same ones again and again while they wait for more."""


@cache
def contract() -> Contract:
    """The promises of the code under test."""
    return Contract(document())


def event_of(record: Record) -> dict[str, Any]:
    """The JSON of an event in a log, as promised.

    Raises:
        ContractError: it isn't.
    """
    _check_once(record.data)
    body: dict[str, Any] = json.loads(record.data)
    return body


@lru_cache(_REMEMBERED)
def _check_once(data: bytes) -> None:
    contract().check_event(json.loads(data))


def kept(messages: Iterable[Message]) -> list[Message]:
    """The messages, each of them as promised.

    Raises:
        ContractError: one isn't.
    """
    received = list(messages)
    for message in received:
        contract().check_message(message)
    return received
