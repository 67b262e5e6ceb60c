"""Which server a command is about: `SERVER` as people write it, and as the gateway's URLs do. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mcp_operator.model.servers import ServerName

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ServerReference:
    """A server by its UID, or by its name and, where that was said, its namespace."""

    text: str
    """As it was written; for messages."""
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None

    @classmethod
    def parse(cls, text: str, *, namespace: str | None) -> ServerReference:
        """Read `name`, `namespace/name` or a UID.

        Args:
            namespace: of a name without one, if it was said elsewhere.

        Raises:
            ValueError: it is none of these, or names another namespace than the one that was said.
        """
        if _UID.fullmatch(text):
            return cls(text, uid=text)
        given, slash, name = text.rpartition("/")
        if not (is_label(name) and (is_label(given) or not slash)):
            raise ValueError(f"{text!r} is no server: write it as NAME, NAMESPACE/NAME or a UID")
        if slash and namespace not in {None, given}:
            raise ValueError(f"{text!r} is not in the namespace {namespace!r}: say the namespace once")
        return cls(text, name=name, namespace=given or namespace)

    def within(self, namespace: str) -> ServerReference:
        """The same; a name without a namespace is in this one."""
        if self.name is None or self.namespace is not None:
            return self
        return ServerReference(self.text, name=self.name, namespace=namespace)

    @property
    def server_name(self) -> ServerName | None:
        """Its full name, if that is known."""
        return ServerName(self.namespace, self.name) if self.namespace and self.name else None

    @property
    def path(self) -> str:
        """Of its URLs on the gateway, which takes a bare name to be in its default namespace."""
        named = self.server_name
        return f"/api/servers/{self.uid or (f'{named.namespace}:{named.name}' if named else self.name)}"

    @property
    def unknown(self) -> str:
        """What to say when the gateway or the cluster has no such server."""
        return f"There is no server {self}: `mcp-operator status` lists those that exist"

    def __str__(self) -> str:
        return str(self.server_name or self.text)


def is_label(text: str) -> bool:
    """Whether it can be the name of a namespace or of a server: a DNS label."""
    return _LABEL.fullmatch(text) is not None
