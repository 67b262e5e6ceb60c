"""A story of one server, told to the evaluator observation by observation, as `cluster` would.

    story = Story()
    story.see(at=0, server=mcpserver(), deployment=deployment())
    assert story.status == "pending"
    story.see(at=1, pods=(pod("weather-7d4b9-x2x7q", ready()),))        # what isn't named is as it was
    assert story.told == ["status deploying", "rollout 14%"]

A server's reconciliation is taken for granted: whenever it is seen, its newest generation is applied, unless the story says
otherwise.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from mcp_operator.cluster.objects import observed_by
from mcp_operator.model.base import Object
from mcp_operator.model.causes import Cause
from mcp_operator.model.events import Event, KubernetesPayload, ProgressPayload, StatusPayload
from mcp_operator.model.servers import ServerName
from mcp_operator.rollout.conditions import status_of
from mcp_operator.rollout.evaluating import evaluate
from mcp_operator.rollout.observation import Applied, Observation
from mcp_operator.rollout.restoring import restore
from mcp_operator.rollout.state import State
from mcp_operator.rollout.telling import tell
from tests.builders import NAMESPACE, START, mcpserver


class Story:
    """What is observed of one server, and what came of it."""

    def __init__(self, name: str = "weather") -> None:
        uid = mcpserver(name)["metadata"]["uid"]
        self.observation = Observation(name=ServerName(NAMESPACE, name), uid=uid, server=None, now=START)
        self.events: list[Event] = []
        """All that was told."""
        self.step: tuple[Event, ...] = ()
        """What the last observation made it tell."""
        self._state: State | None = None
        self._persisted: State | None = None
        """The last one as it was before it was told."""

    @property
    def state(self) -> State:
        assert self._state is not None, "nothing was seen yet"
        return self._state

    @property
    def status(self) -> str:
        """The status in its word."""
        return str(self.state.status)

    @property
    def causes(self) -> dict[str, Cause]:
        """The active causes by their reason."""
        return {active.cause.reason: active.cause for active in self.state.causes}

    @property
    def told(self) -> list[str]:
        """What the last observation made it tell, in a few words each."""
        return [in_words(event) for event in self.step]

    @property
    def percents(self) -> list[int]:
        """All percents that were told."""
        return [event.payload.percent for event in self.events if isinstance(event.payload, ProgressPayload)]

    @property
    def statuses(self) -> list[str]:
        """All statuses that were told, without repeats in a row."""
        told = [str(event.payload.status) for event in self.events if isinstance(event.payload, StatusPayload)]
        return [status for index, status in enumerate(told) if index == 0 or told[index - 1] != status]

    def see(self, *, at: float, **seen: Any) -> State:
        """Observe, so many seconds after START. What isn't named is as it was; `applied=None` is a restarted operator's."""
        now = START + timedelta(seconds=at)
        if "deployment" in seen:
            seen["workload"] = seen.pop("deployment")
        if seen.get("server") is not None:
            seen["observes"] = observed_by(seen["server"])
        if seen.get("server") is not None and "applied" not in seen:
            seen["applied"] = applied(seen["server"], seen.get("workload") or self.observation.workload)
        self.observation = replace(self.observation, now=now, **seen)
        state = evaluate(self.observation, self._state)
        self.step = tell(self._state, state)
        self.events += self.step
        self._persisted, self._state = state, replace(state, untold=())
        return self._state

    def restart(self, *, told: bool = True) -> None:
        """Restart the operator: it knows what stands in the MCPServer's status, and has applied nothing yet.

        Args:
            told: False for one that was killed between writing its last status and telling of it.
        """
        assert self.observation.server is not None
        assert self._persisted is not None
        status = status_of(self.state if told else self._persisted, selector="app=weather", endpoint=None).to_json_object()
        self._state = restore({**self.observation.server, "status": status})
        self.observation = replace(self.observation, applied=None)


def applied(server: Object, deployment: Object | None, **refusal: str) -> Applied:
    """What reconciling came to: all of the server's newest generation is in its Deployment, or is refused."""
    generation = deployment["metadata"]["generation"] if deployment and not refusal else None
    return Applied(server_generation=server["metadata"]["generation"], deployment_generation=generation, **refusal)


def in_words(event: Event) -> str:
    """An event in a few words: `status running`, `rollout 57%`, `scale 100% succeeded`, `kubernetes FailedPreStopHook 1`."""
    payload = event.payload
    if isinstance(payload, StatusPayload):
        return f"status {payload.status}"
    if isinstance(payload, KubernetesPayload):
        return f"kubernetes {payload.reason} {payload.count}"
    assert isinstance(payload, ProgressPayload), "the evaluator tells of nothing else"
    return " ".join([f"{payload.kind} {payload.percent}%", *([str(payload.outcome)] if payload.outcome else [])])


def fields_of(event: Event) -> Mapping[str, Any]:
    """The payload as its JSON."""
    return event.payload.to_json_object()
