"""Merging what people write in podTemplate over the pod that the operator makes: Kubernetes' strategic merge patch, without I/O.

Objects are merged field by field, lists of named things item by item, all else is replaced; null takes a field away. `$patch:
delete` takes an object or a list's item away and `$patch: replace` puts it in place of what was there. Two things differ from
Kubernetes, both so that a natural patch does what its writer means: items are told apart by the keys of server-side apply (a
TCP and a UDP port of one number are two), and a field that excludes others (httpGet beside tcpSocket) replaces them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from mcp_operator.model.base import Object
from mcp_operator.model.spec import InvalidSpecError

Identity: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How one part of a pod's spec is merged."""

    keys: tuple[str, ...] = ()
    """The fields that tell the items of a list apart; none: this isn't such a list."""
    fields: "Mapping[str, Shape]" = field(default_factory=dict)
    """How the fields of the object, or of each item, are merged; for those not named, by what they hold."""
    only_one_of: frozenset[str] = frozenset()
    """Fields of which the object has at most one."""

    @property
    def kind(self) -> str | None:
        """What must stand there; None: anything."""
        if self.keys:
            return "a list"
        return "an object" if self.fields or self.only_one_of else None


# The keys are the +listMapKey markers of k8s.io/api/core/v1/types.go, version 1.36.
_ANY: Final = Shape()
_HANDLER: Final = Shape(only_one_of=frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"}))
_CONTAINERS: Final = Shape(
    keys=("name",),
    fields={
        "env": Shape(keys=("name",), only_one_of=frozenset({"value", "valueFrom"})),
        "lifecycle": Shape(fields={"postStart": _HANDLER, "preStop": _HANDLER}),
        "livenessProbe": _HANDLER,
        "ports": Shape(keys=("containerPort", "protocol")),
        "readinessProbe": _HANDLER,
        "resources": Shape(fields={"claims": Shape(keys=("name",))}),
        "startupProbe": _HANDLER,
        "volumeDevices": Shape(keys=("devicePath",)),
        "volumeMounts": Shape(keys=("mountPath",)),
    },
)
POD_SPEC: Final = Shape(
    fields={
        "containers": _CONTAINERS,
        "hostAliases": Shape(keys=("ip",)),
        "imagePullSecrets": Shape(keys=("name",)),
        "initContainers": _CONTAINERS,
        "resourceClaims": Shape(keys=("name",)),
        "schedulingGates": Shape(keys=("name",)),
        "topologySpreadConstraints": Shape(keys=("topologyKey", "whenUnsatisfiable")),
        "volumes": Shape(keys=("name",)),
    },
)

_KEY_DEFAULTS: Final = {"protocol": "TCP"}
_DEEPEST: Final = 32
"""No pod is nested as deep; what is would exhaust the stack."""


class InvalidPodTemplateError(InvalidSpecError):
    """A podTemplate that can't be merged."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem, reason="InvalidPodTemplate")


def merge(base: Object, patch: Object, shape: Shape, *, path: str) -> dict[str, Any]:
    """The object `base` with `patch` merged over it; neither is changed. `path` is where the patch stands, for errors.

    Raises:
        InvalidPodTemplateError: the patch has an object where a list must be or the like, an item without its key or given
            twice, or a directive that isn't known.
    """
    return _merge_object(base, patch, shape, path, depth=0) or {}


def _merge(base: Any, patch: Any, shape: Shape, path: str, *, depth: int) -> Any:
    """One field merged; None: it is taken away."""
    if patch is None:
        return None
    expected = shape.kind or (None if base is None else _kind(base))
    if expected not in {None, _kind(patch)}:
        raise InvalidPodTemplateError(path, f"must be {expected}, not {_kind(patch)}")
    if depth > _DEEPEST:
        raise InvalidPodTemplateError(path, f"is nested more than {_DEEPEST} levels deep")
    if isinstance(patch, Mapping):
        return _merge_object(base or {}, patch, shape, path, depth=depth)
    return _merge_list(base or [], patch, shape, path, depth=depth) if shape.keys else patch


def _merge_object(base: Object, patch: Object, shape: Shape, path: str, *, depth: int) -> dict[str, Any] | None:
    """Two objects merged; None: it is taken away."""
    directive = _directive(patch, path)
    if directive == "delete":
        return None
    given = {name: value for name, value in patch.items() if name != "$patch"}
    chosen = {name for name in given.keys() & shape.only_one_of if not _takes_away(given[name])}
    excluded = shape.only_one_of - chosen if chosen else frozenset()
    merged = {} if directive == "replace" else {name: value for name, value in base.items() if name not in excluded}
    for name, value in given.items():
        result = _merge(merged.get(name), value, shape.fields.get(name, _ANY), f"{path}.{name}", depth=depth + 1)
        if result is None:
            merged.pop(name, None)
        else:
            merged[name] = result
    return merged


def _merge_list(base: Sequence[Object], patch: Sequence[Any], shape: Shape, path: str, *, depth: int) -> list[Any]:
    """Two lists of things told apart by keys merged; what is new comes last, in the patch's order."""
    replaced = {"$patch": "replace"} in patch
    merged = {} if replaced else {_identity(item, shape, path): item for item in base}
    seen: set[Identity] = set()
    for index, item in enumerate(patch):
        if _kind(item) != "an object":
            raise InvalidPodTemplateError(f"{path}[{index}]", f"must be an object, not {_kind(item)}")
        if item == {"$patch": "replace"}:
            continue
        identity = _identity(item, shape, f"{path}[{index}]")
        item_path = f"{path}[{identity[0]}]"
        if identity in seen:
            raise InvalidPodTemplateError(item_path, "is given twice")
        seen.add(identity)
        result = _merge_object(merged.get(identity, {}), item, shape, item_path, depth=depth + 1)
        if result is None:
            merged.pop(identity, None)
        else:
            merged[identity] = result
    return list(merged.values())


def _identity(item: Object, shape: Shape, path: str) -> Identity:
    values = [item.get(key, _KEY_DEFAULTS.get(key, "")) for key in shape.keys]
    if shape.keys[0] not in item or not all(isinstance(value, str | int) for value in values):
        raise InvalidPodTemplateError(path, f"must have a {shape.keys[0]} by which it is merged")
    return tuple(values)


def _directive(patch: Object, path: str) -> str | None:
    for name in patch:
        if name.startswith("$") and name != "$patch":
            raise InvalidPodTemplateError(f"{path}.{name}", "is not known here: $patch is the only directive")
    directive = patch.get("$patch")
    if directive not in {None, "delete", "merge", "replace"}:
        raise InvalidPodTemplateError(f"{path}.$patch", f"must be delete, merge or replace, not {directive!r:.50}")
    return directive


def _takes_away(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and value.get("$patch") == "delete")


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, Sequence) and not isinstance(value, str) else "a single value"
