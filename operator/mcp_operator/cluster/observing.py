"""Follows every server: takes the reflectors' changes, evaluates the servers that they concern, and tells what came of it.

One run per server at a time: what the API server holds goes through `evaluate`, the new state into the MCPServer's status and,
as events, into the log. The start and the end of an operation are written to the status before they are told, so that a restarted
operator goes on with the same one, and marked there until they were told, so that it tells what a killed one didn't come to tell.
Other changes are told at once and written within a second. A deleted server is followed until its last instance is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from mcp_operator.cluster.grouping import Families, Family
from mcp_operator.cluster.metrics import ClusterMetrics
from mcp_operator.cluster.podlogs.crashing import CrashReader
from mcp_operator.cluster.queueing import WorkQueue
from mcp_operator.cluster.recording import Recorder
from mcp_operator.cluster.records.keeping import RecordKeeper
from mcp_operator.cluster.reporting import Reporter
from mcp_operator.cluster.telling import Teller
from mcp_operator.model.base import LONGEST_WORD, Object
from mcp_operator.model.spec import InvalidSpecError, MCPServer
from mcp_operator.model.statuses import MCPServerStatus, Status
from mcp_operator.rollout.conditions import status_of
from mcp_operator.rollout.estimating import Paces
from mcp_operator.rollout.evaluating import evaluate
from mcp_operator.rollout.observation import Applied, Observation
from mcp_operator.rollout.restoring import restore
from mcp_operator.rollout.state import State
from mcp_operator.rollout.telling import tell
from mcp_operator.workload.naming import endpoint, selector, selector_of

_CONCURRENCY = 16
_LONGEST_BACKOFF = 5.0


class Observer:
    """Evaluates servers that have changed.

    Args:
        applied: what the last reconciliation of a server came to, by UID.
        paces: how fast a server's earlier operations went, by its UID.
        is_known: whether all is reflected that an MCPServer may speak of; one for which it isn't waits for `changed`.
        forbidden: what of it the operator may not read, as a sentence.
        on_deleted: called with the UID once nothing is left of a server.
    """

    def __init__(
        self,
        families: Families,
        *,
        teller: Teller,
        reporter: Reporter,
        recorder: Recorder,
        records: RecordKeeper,
        paces: Callable[[str], Paces],
        crashes: CrashReader,
        applied: Mapping[str, Applied],
        is_known: Callable[[Object], bool],
        forbidden: Callable[[Object], str | None],
        metrics: ClusterMetrics,
        on_deleted: Callable[[str], None],
    ) -> None:
        self._families = families
        self._teller = teller
        self._reporter = reporter
        self._recorder = recorder
        self._records = records
        self._paces = paces
        self._crashes = crashes
        self._applied = applied
        self._is_known = is_known
        self._forbidden = forbidden
        self._metrics = metrics
        self._on_deleted = on_deleted
        self._states: dict[str, State] = {}
        self._observed: dict[str, float] = {}
        """When a watch told of the first change that isn't evaluated yet, by UID."""
        self._first: set[str] | None = None
        """Servers of the first lists that haven't been evaluated yet; None before those are complete."""
        self._queue = WorkQueue(
            "evaluating", self._follow, title=families.title, concurrency=_CONCURRENCY, longest_backoff=_LONGEST_BACKOFF
        )

    @property
    def synced(self) -> bool:
        """Whether the log tells of every server that the first lists held."""
        return self._first is not None and not self._first

    def changed(self, uid: str, *, observed: float | None = None) -> None:
        """Something of this server is new.

        Args:
            observed: when a watch told of it, by the event loop's clock; None if no watch did.
        """
        if observed is not None:
            self._observed.setdefault(uid, observed)
        self._queue.add(uid)

    async def run(self) -> None:
        """Follow until cancelled. To be started when the first lists are complete: half a picture would be told as the truth."""
        self._observed.clear()  # what came before had to wait for the lists
        self._first = self._families.servers()
        for uid in self._first:
            self._queue.add(uid)
        await self._queue.run()

    async def _follow(self, uid: str) -> None:
        observed = self._observed.pop(uid, None)
        try:
            family = self._families.family(uid)
            if family is None:
                return
            if family.server is None and uid not in self._states:
                self._forget(uid)  # gone before it was ever told
                return
            if family.server is not None and not self._is_known(family.server):
                return
            await self._evaluate(family, observed)
        except Exception:
            if observed is not None:
                self._observed[uid] = observed  # it is evaluated again
            raise
        finally:
            if self._first:
                self._first.discard(uid)

    async def _evaluate(self, family: Family, observed: float | None) -> None:
        previous = self._states.get(family.uid)
        if previous is None and family.server is not None:
            previous = restore(family.server)
        with self._metrics.evaluation_seconds.time():
            state = evaluate(self._observation(family), previous)
        await self._report(family, state)
        self._states[family.uid] = state
        for event in tell(previous, state):
            await self._teller.tell(event, observed=observed)
        self._all_told(family, state)
        self._crashes.evaluated(previous, state)
        if family.server is not None:
            self._recorder.record(family.server, previous, state)
            self._records.note(family.server, previous, state)
        else:
            self._records.forget(family.uid)
        if state.due is not None:
            self._queue.add(family.uid, after=max(0.0, (state.due - datetime.now(UTC)).total_seconds()))
        if state.status is Status.DELETED:
            self._forget(family.uid)

    def _observation(self, family: Family) -> Observation:
        return Observation(
            name=family.name,
            uid=family.uid,
            server=family.server,
            labels=self._families.labels(family.uid),
            observes=family.observes,
            forbidden=self._forbidden(family.server) if family.server is not None else None,
            workload=family.workload,
            replica_sets=family.replica_sets,
            pods=family.pods,
            warnings=family.warnings,
            autoscalers=family.autoscalers,
            applied=self._applied.get(family.uid),
            paces=self._paces(family.uid),
            now=datetime.now(UTC),
        )

    async def _report(self, family: Family, state: State) -> None:
        if family.server is None:
            return
        status = _status(family, family.server, state)
        if state.untold:
            await self._reporter.persist(family.server, status)
        else:
            self._reporter.report(family.server, status)

    def _all_told(self, family: Family, state: State) -> None:
        """Starts and ends of operations have been told: have it written with the next status."""
        if not state.untold:
            return
        self._states[family.uid] = replace(state, untold=())
        if family.server is not None:
            self._reporter.report(family.server, _status(family, family.server, self._states[family.uid]))

    def _forget(self, uid: str) -> None:
        self._queue.discard(uid)
        self._states.pop(uid, None)
        self._observed.pop(uid, None)
        self._families.forget(uid)
        self._on_deleted(uid)


def _status(family: Family, server: Object, state: State) -> MCPServerStatus:
    if family.observes is not None:
        chosen = selector_of(family.workload)
        return status_of(state, selector=chosen if len(chosen) <= LONGEST_WORD else "", endpoint=None)
    try:
        parsed = MCPServer.parse(server)
    except InvalidSpecError:
        return status_of(state, selector="", endpoint=None)
    return status_of(state, selector=selector(parsed), endpoint=endpoint(parsed))
