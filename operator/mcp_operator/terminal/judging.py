"""Whether a server has come to where somebody waits for it (`watch --until`, `restart --wait`). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mcp_operator.model.events import EventType
from mcp_operator.model.statuses import Status
from mcp_operator.terminal.errors import ExitCode
from mcp_operator.terminal.values import EventJson, items_of, number_of, text_of


class Goal(StrEnum):
    """Statuses that can be waited for."""

    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Edit:
    """The newest edit of a server that whoever waits knows of: what was true before it is no answer."""

    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of the waiting."""

    code: ExitCode
    sentence: str


class Judge:
    """Hears one server's stream.

    Args:
        server: what whoever waits calls it.
        edit: what was read from the cluster; None if the server isn't there yet, or the cluster can't be asked.
        same_cluster: whether the stream is certainly of the cluster that `edit` was read from. If so, another UID is that of an
            object that had the name before.
    """

    def __init__(self, goal: Goal, *, server: str, edit: Edit | None, same_cluster: bool) -> None:
        self._goal = goal
        self._server = server
        self._edit = edit
        self._same_cluster = same_cluster
        self._newest: EventJson | None = None
        self._counting = False
        self._counted = False

    def hear(self, event: EventJson) -> Verdict | None:
        """Take in an event or control frame; the verdict, if it brings one."""
        match event.get("type"):
            case EventType.STATUS:
                self._counted = True
                return self._judge(event)
            case "reset":
                self._counting, self._counted = True, False
            case "bookmark" if self._counting:
                self._counting = False
                if self._newest is not None and not self._counted:
                    return self.gone()
            case _:
                pass
        return None

    def gone(self) -> Verdict:
        """The gateway has no such server any more."""
        code = ExitCode.DONE if self._goal is Goal.DELETED else ExitCode.MISSED
        return Verdict(code, f"{self._server} doesn't exist any more")

    @property
    def expects_a_server(self) -> bool:
        """Whether there certainly was a server a moment ago, so that a gateway without it only lags behind."""
        return self._edit is not None and self._same_cluster

    def out_of_time(self, limit: str) -> str:
        """What to say when the waiting took too long."""
        last = "nothing is known of it"
        if self._newest is not None:
            last = f"it is {text_of(self._newest, 'status')}: {text_of(self._newest, 'message')}"
        return f"{self._server} is not {self._goal} after {limit}; {last}"

    def _judge(self, event: EventJson) -> Verdict | None:
        if not self._counts(event):
            return None
        self._newest = event
        causes = [cause for cause in items_of(event, "causes") if cause.get("state") != "recovered"]
        why = "; ".join(f"{text_of(cause, 'reason')}: {text_of(cause, 'message')}" for cause in causes)
        return self._verdict(text_of(event, "status"), why, text_of(event, "message"))

    def _counts(self, event: EventJson) -> bool:
        """Whether it speaks of the newest edit; no edit leads out of `deleted`."""
        if self._edit is None:
            return True
        if text_of(event, "uid") == self._edit.uid:
            return event.get("status") == Status.DELETED or (number_of(event, "generation") or 0) >= self._edit.generation
        return not self._same_cluster or self._newest is not None

    def _verdict(self, status: str, why: str, message: str) -> Verdict | None:
        if status == self._goal:
            return Verdict(ExitCode.DONE, f"{self._server} is {status}")
        final = {Status.DELETED} | ({Status.FAILED} if self._goal is Goal.RUNNING else set())
        if status in final:
            return Verdict(ExitCode.MISSED, f"{self._server} is {status}, not {self._goal}: {why or message}")
        return None
