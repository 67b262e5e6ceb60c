"""What there is to read of a pod: its containers, and which run of each has left a log. Pure; `following` calls it.

A container that is restarted keeps its name; each run of it has an id and a log of its own. kubelet gives the log of the newest
run, or with `previous` the one before it, and none of any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mcp_operator.model.base import Object

_STATUSES: Mapping[str, str] = {
    "initContainers": "initContainerStatuses",
    "containers": "containerStatuses",
    "ephemeralContainers": "ephemeralContainerStatuses",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a container."""

    id: str
    number: int
    """How often the container had been restarted before it."""
    ended: str | None
    """How it ended, as a sentence without a full stop; None while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What the pod's status says of a container."""

    name: str
    run: Run | None = None
    """The newest run; None before the first."""
    previous: Run | None = None
    """The one before it, as far as its log may still be there."""


def containers_of(pod: Object) -> Sequence[Container]:
    """All containers of a pod: init containers, sidecars, main and ephemeral ones, whether they have begun or not."""
    return tuple(_containers(pod))


def _containers(pod: Object) -> Iterator[Container]:
    status = pod.get("status") or {}
    for listed, statuses in _STATUSES.items():
        by_name = {each["name"]: each for each in status.get(statuses) or ()}
        for container in pod["spec"].get(listed) or ():
            yield _container(container["name"], by_name.get(container["name"]) or {})


def _container(name: str, status: Object) -> Container:
    state, last = status.get("state") or {}, status.get("lastState") or {}
    ended = state.get("terminated") or {}
    before = last.get("terminated") or {}
    number = status.get("restartCount") or 0
    newest = ended.get("containerID") or status.get("containerID")
    if not newest:
        newest, ended, before = before.get("containerID"), before, {}
    if not newest:
        return Container(name=name)
    if before.get("containerID") == newest:  # it waits to be restarted
        ended, before = before, {}
    previous_id = before.get("containerID")
    return Container(
        name=name,
        run=Run(id=newest, number=number, ended=None if "running" in state else _end(name, ended)),
        previous=Run(id=previous_id, number=max(number - 1, 0), ended=_end(name, before)) if previous_id else None,
    )


def _end(name: str, terminated: Object) -> str:
    if "exitCode" not in terminated:
        return f"Container {name} has ended"
    reason = terminated.get("reason")
    signal = f" by signal {terminated['signal']}" if terminated.get("signal") else ""
    return f"Container {name} ended{signal} with exit code {terminated['exitCode']}" + (f" ({reason})" if reason else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What is to be read next of a container."""

    run: Run
    previous: bool = False
    """Whether it has to be asked for as the run before the newest."""
    gone: bool = False
    """Whether the pod isn't there any more."""

    @property
    def over(self) -> bool:
        """Whether nothing will be added to the run's log, as far as is known now."""
        return self.gone or self.previous or self.run.ended is not None


def next_read(container: Container | None, reading: Run | None, *, done: bool, whole: bool) -> Read | None:
    """What is to be read now: the runs in their order, none left out that still has a log.

    Args:
        container: None once its pod is gone.
        reading: the run that was read last, None before the first.
        done: whether that one was read to its end.
        whole: whether everything that the container has printed is wanted, so that a run before the first one counts.
    """
    if container is None:
        return Read(run=reading, gone=True) if reading is not None and not done else None
    runs = [Read(run=run, previous=run is container.previous) for run in (container.previous, container.run) if run is not None]
    if reading is None:
        return next(iter(runs if whole else runs[-1:]), None)
    known = next((read for read in runs if read.run.id == reading.id), None)
    if known is not None and not done:
        return known
    later = [read for read in runs if read.run.id != reading.id and (not read.previous or read.run.number > reading.number)]
    return next(iter(later), None)
