"""How a server is named."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class ServerName:
    """The name of an MCPServer object. A later object of the same name is another server: the UID tells them apart."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ServerName:
        """Read "namespace/name".

        Raises:
            ValueError: the text is not two non-empty parts around one slash.
        """
        namespace, slash, name = text.partition("/")
        if not (slash and namespace and name) or "/" in name:
            raise ValueError(f"{text!r} is not a server's name: write it as namespace/name")
        return cls(namespace, name)
