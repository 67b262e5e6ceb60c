"""Reading the metadata of raw objects."""

from functools import lru_cache

from pydantic import ValidationError

from mcp_operator.model.base import Object
from mcp_operator.model.labels import Labels
from mcp_operator.model.servers import ServerName
from mcp_operator.model.workload_ref import WorkloadRef


def name_of(body: Object) -> ServerName:
    """Namespace and name of an object: of a server, or of a child, which bears its server's name."""
    return ServerName(body["metadata"]["namespace"], body["metadata"]["name"])


def uid_of(body: Object) -> str:
    """The UID of an object."""
    uid: str = body["metadata"]["uid"]
    return uid


def labels_of(body: Object) -> Labels:
    """The labels of an object; equal ones are one object, because many servers share them and every event bears them."""
    return _shared(tuple(sorted((body["metadata"].get("labels") or {}).items())))


@lru_cache(4096)
def _shared(labels: Labels) -> Labels:
    return labels


def observed_by(server: Object | None) -> WorkloadRef | None:
    """What an MCPServer names instead of an image; None where it has none, is deleted, or names it in a way unknown here."""
    reference = (server.get("spec") or {}).get("workloadRef") if server is not None else None
    try:
        return WorkloadRef.model_validate(reference) if reference is not None else None
    except ValidationError:
        return None


def version_of(body: Object) -> int:
    """The resourceVersion as a number; of two versions of one object the larger one is the newer.

    That they may be compared so is promised since Kubernetes 1.35 (KEP-5504) and true of every API server on etcd.
    """
    version: str = body["metadata"].get("resourceVersion", "0")
    return int(version) if version.isdecimal() else 0
