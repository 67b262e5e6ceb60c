"""`mcp-operator watch`: a stream on the terminal, or as lines of JSON in a pipe, until somebody has enough."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mcp_operator.apiserver.credentials import current_namespace
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MCP_SERVER
from mcp_operator.model.events import EventType
from mcp_operator.terminal.errors import ExitCode, ReaderGoneError, TerminalError, UnknownServerError
from mcp_operator.terminal.following import Away, Back, Following, Missing, News, Told
from mcp_operator.terminal.judging import Edit, Goal, Judge, Verdict
from mcp_operator.terminal.lines import Line
from mcp_operator.terminal.naming import ServerReference
from mcp_operator.terminal.narrating import Narrator
from mcp_operator.terminal.output import Output
from mcp_operator.terminal.reaching import Access, Gateway, reach
from mcp_operator.terminal.screen import Screen

logger = logging.getLogger(__name__)

_EDIT_SECONDS = 10.0
_CLOSE_SECONDS = 1.0
_STREAM_ONLY = frozenset({"hello", "bookmark", "bye"})
"""Control frames that announce no gap: they are no part of the output."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to watch, and until when."""

    server: ServerReference | None = None
    namespace: str | None = None
    """Without a server: only servers of this namespace."""
    types: Sequence[str] = ()
    """Empty for all."""
    level: str | None = None
    grep: str | None = None
    tail: int = 10
    until: Goal | None = None
    edit: Edit | None = None
    """What has to be in a status that `until` accepts; None: it is read from the cluster."""
    timeout: float | None = None
    """Seconds."""

    @property
    def query(self) -> Mapping[str, str]:
        """Of the stream's URL."""
        logs = not self.types or "log" in self.types
        types = self.types if self.until is None or not self.types else dict.fromkeys((*self.types, EventType.STATUS))
        given = {
            "namespace": None if self.server else self.namespace,
            "types": ",".join(types),
            "level": self.level,
            "grep": self.grep,
            "tail": str(self.tail) if logs and self.tail else None,
        }
        return {name: value for name, value in given.items() if value}

    def shows(self, news: News) -> bool:
        """Whether it is wanted, and not only heard for the sake of `until`."""
        return not (self.types and isinstance(news, Told) and news.event.get("type") == EventType.STATUS) or (
            EventType.STATUS in self.types
        )


class View(Protocol):
    """Where the news go."""

    async def show(self, news: Sequence[News]) -> None: ...

    async def close(self) -> None:
        """Leave the terminal as it was."""


class StoryView:
    """For people: lines, and bars where there is a terminal."""

    def __init__(self, screen: Screen, *, several: bool) -> None:
        self._screen = screen
        self._narrator = Narrator(several=several, bars=screen.style.live, today=datetime.now().astimezone().date())

    async def show(self, news: Sequence[News]) -> None:
        lines: list[Line] = []
        for each in news:
            if isinstance(each, Told):
                lines += self._narrator.tell(each.event)
            else:
                lines.append(self._narrator.say(_said(each), now=datetime.now().astimezone()))
        await self._screen.show(lines, list(self._narrator.operations.values()))

    async def close(self) -> None:
        await self._screen.close()


class JsonView:
    """For programs: each event as it was sent, one a line. What is said about the stream itself goes to `note`."""

    def __init__(self, output: Output, *, note: Callable[[str], None]) -> None:
        self._output = output
        self._note = note

    async def show(self, news: Sequence[News]) -> None:
        for each in news:
            if not isinstance(each, Told):
                self._note(_said(each))
        told = [each.data for each in news if isinstance(each, Told) and each.event.get("type") not in _STREAM_ONLY]
        await self._output.write("".join(f"{data}\n" for data in told).encode("utf-8", "replace"))

    async def close(self) -> None:
        pass


def _said(news: Away | Back | Missing) -> str:
    match news:
        case Away(reason):
            return f"away: {reason}; trying again until it is back"
        case Back():
            return "back"
        case Missing():
            return "there is no such server yet: waiting for it"


async def watch(access: Access, wish: Wish, *, output: Output, view: View, note: Callable[[str], None]) -> ExitCode:
    """Show what is wished for until it ends.

    Args:
        output: what the view writes to.
        note: takes sentences about the command itself, for standard error.

    Raises:
        TerminalError: it can't be done.
    """
    server = wish.server
    if server is not None and access.gateway is None:
        server = server.within(current_namespace(kubeconfig=access.kubeconfig, context=access.context))
    judge = None
    try:
        async with _limited(wish.timeout, output), reach(access) as gateway:
            judge = await _judge(access, wish, server, note)
            verdict = await _follow(gateway, server, wish, judge, view)
    except _EndedError as ended:
        late = judge if ended.code is ExitCode.TIMED_OUT else None
        verdict = Verdict(ended.code, late.out_of_time(f"{wish.timeout:g} s") if late else "")
    finally:
        with suppress(ReaderGoneError, TerminalError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await view.close()
    if verdict is None:
        return ExitCode.DONE
    if verdict.code is not ExitCode.DONE and verdict.sentence:
        note(verdict.sentence)
    return verdict.code


async def _follow(
    gateway: Gateway, server: ServerReference | None, wish: Wish, judge: Judge | None, view: View
) -> Verdict | None:
    """Show the stream until the judge has a verdict or the stream has come to its end."""
    path = "/api/events" if server is None else f"{server.path}/events"
    by_name = server is not None and server.uid is None
    following = Following(gateway, path, wish.query, wait_for_server=judge is not None and by_name)
    try:
        async with aclosing(following.news()) as portions:
            async for portion in portions:
                shown: list[News] = []
                verdict = None
                for news in portion:
                    if wish.shows(news):
                        shown.append(news)
                    if verdict := _heard(judge, news, wish):
                        break
                await view.show(shown)
                if verdict is not None:
                    return verdict
    except UnknownServerError:
        if judge is None and server is not None:
            raise UnknownServerError(server.unknown) from None
        return judge.gone() if judge is not None else None
    return judge.gone() if judge is not None else None


def _heard(judge: Judge | None, news: News, wish: Wish) -> Verdict | None:
    match news:
        case _ if judge is None:
            return None
        case Told(event):
            return judge.hear(event)
        case Missing() if wish.until is Goal.DELETED and not judge.expects_a_server:
            return judge.gone()
        case _:
            return None


async def _judge(access: Access, wish: Wish, server: ServerReference | None, note: Callable[[str], None]) -> Judge | None:
    if wish.until is None or server is None:
        return None
    edit = wish.edit or await _newest_edit(access, server, note)
    return Judge(wish.until, server=str(server), edit=edit, same_cluster=access.gateway is None)


async def _newest_edit(access: Access, server: ServerReference, note: Callable[[str], None]) -> Edit | None:
    """What the cluster has now. The gateway may not have seen it yet: `kubectl apply` returns before anybody has."""
    name = server.within(current_namespace(kubeconfig=access.kubeconfig, context=access.context)).server_name
    if name is None:
        return None
    try:
        async with asyncio.timeout(_EDIT_SECONDS), access.api() as api:
            metadata = (await api.get(MCP_SERVER, name.namespace, name.name))["metadata"]
        return Edit(uid=metadata["uid"], generation=metadata["generation"])
    except (ApiError, TimeoutError) as error:
        logger.debug("The newest edit of %s can't be read: %s", name, error)
        if access.gateway is None and isinstance(error, ApiError) and error.status == 403:
            note(
                f"You may not get mcpservers in {name.namespace}: a state from before the newest edit may be taken for the answer"
            )
    return None


class _EndedError(Exception):
    """The watching was ended from outside."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code.name)
        self.code = code


@asynccontextmanager
async def _limited(seconds: float | None, output: Output) -> AsyncIterator[None]:
    """Let the block run for so long at most, and only as long as there is a reader and no SIGTERM.

    Raises:
        _EndedError: it was ended.
    """
    loop = asyncio.get_running_loop()
    patience = asyncio.timeout(seconds)
    code = ExitCode.TIMED_OUT

    def end(why: ExitCode) -> None:
        nonlocal code
        if not patience.expired():
            code = why
            patience.reschedule(loop.time())

    try:
        async with patience:
            forget = output.when_abandoned(lambda: end(ExitCode.READER_GONE))
            loop.add_signal_handler(signal.SIGTERM, end, ExitCode.TERMINATED)
            try:
                yield
            finally:
                forget()
                loop.remove_signal_handler(signal.SIGTERM)
    except TimeoutError:
        if not patience.expired():
            raise
        raise _EndedError(code) from None
    except ReaderGoneError:
        raise _EndedError(ExitCode.READER_GONE) from None
