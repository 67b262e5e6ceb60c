"""What a node runs: made by `components`, handed to the node as JSON, followed by its supervisor. Pure."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Component:
    """One supervised process.

    `needs_api` holds it back until the API server answers: controller-manager and scheduler exit or sulk when they start before
    the RBAC bootstrap roles exist. `sockets` are file descriptors that it inherits.
    """

    name: str
    argv: tuple[str, ...]
    needs_api: bool = True
    sockets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A node: the state directory as the machine sees it, and the components in the order of their start."""

    state: str
    components: tuple[Component, ...]

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Plan":
        plan = json.loads(data)
        components = (
            Component(**{**each, "argv": tuple(each["argv"]), "sockets": tuple(each["sockets"])}) for each in plan["components"]
        )
        return cls(state=plan["state"], components=tuple(components))
