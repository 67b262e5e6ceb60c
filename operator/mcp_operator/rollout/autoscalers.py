"""What a HorizontalPodAutoscaler (autoscaling/v2) decided by, for the operations that it starts. Called by `attributing`.

The autoscaler changes the number of instances first and says why a moment later: until its status tells of the same number, only
its name and limits are known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mcp_operator.model.authors import Author, AuthorKind, Autoscaler, AutoscalerMetric
from mcp_operator.model.base import Object
from mcp_operator.rollout.instances import conditions_of
from mcp_operator.rollout.wording import tidy

_MOST_METRICS = 16


def decided(by: Author, autoscalers: Sequence[Object]) -> Author:
    """An autoscaler's change with what it decided by, as soon as it has told that; from then on as it is.

    Args:
        autoscalers: of the server. Of several that act against each other none is named.
    """
    if len(autoscalers) != 1 or (by.hpa is not None and by.hpa.desired == by.to):
        return by
    hpa = _read(autoscalers[0], to=by.to)
    kind = AuthorKind.KEDA if hpa.owner and hpa.owner.startswith("ScaledObject/") else AuthorKind.HPA
    return by.model_copy(update={"kind": kind, "hpa": hpa})


def _read(autoscaler: Object, *, to: int | str | None) -> Autoscaler:
    spec, status = autoscaler["spec"], autoscaler.get("status") or {}
    told = status.get("desiredReplicas") == to
    limited = conditions_of(autoscaler).get("ScalingLimited", {}) if told else {}
    is_limited = limited.get("status") == "True"
    current = dict(_values(status.get("currentMetrics") or (), "current")) if told else {}
    targets = dict(_values(spec.get("metrics") or (), "target"))
    owner = next((each for each in autoscaler["metadata"].get("ownerReferences") or () if each.get("controller")), None)
    return Autoscaler(
        name=autoscaler["metadata"]["name"],
        owner=f"{owner['kind']}/{owner['name']}" if owner else None,
        min=spec.get("minReplicas", 1),
        max=spec["maxReplicas"],
        desired=status["desiredReplicas"] if told else None,
        metrics=tuple(
            AutoscalerMetric(name=name, current=current.get(name), target=target)
            for name, target in list(targets.items())[:_MOST_METRICS]
        ),
        limited=limited.get("reason") if is_limited else None,
        message=tidy(limited.get("message") or "") if is_limited else None,
    )


def _values(metrics: Iterable[Object], side: str) -> Iterator[tuple[str, str]]:
    """Each metric's name and its value of one side; the sources have the same shape in spec and status."""
    for metric in metrics:
        source = next((value for value in metric.values() if isinstance(value, Mapping)), {})
        name = source.get("name") or source.get("metric", {}).get("name")
        value = _value(source.get(side) or {})
        if name and value is not None:
            yield str(name)[:1024], value[:1024]


def _value(value: Mapping[str, Any]) -> str | None:
    if value.get("averageUtilization") is not None:
        return f"{value['averageUtilization']}%"
    for field in ("averageValue", "value"):
        if value.get(field) is not None:
            return str(value[field])
    return None
