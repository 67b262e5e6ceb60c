"""Reading the metadata of raw objects."""

from mcp_operator.model.base import Object
from mcp_operator.model.servers import ServerName


def name_of(body: Object) -> ServerName:
    """Namespace and name of an object: of a server, or of a child, which bears its server's name."""
    return ServerName(body["metadata"]["namespace"], body["metadata"]["name"])


def uid_of(body: Object) -> str:
    """The UID of an object."""
    uid: str = body["metadata"]["uid"]
    return uid


def version_of(body: Object) -> int:
    """The resourceVersion as a number; of two versions of one object the larger one is the newer.

    That they may be compared so is promised since Kubernetes 1.35 (KEP-5504) and true of every API server on etcd.
    """
    version: str = body["metadata"].get("resourceVersion", "0")
    return int(version) if version.isdecimal() else 0
