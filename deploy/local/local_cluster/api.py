"""A few plain reads of the API server, for waiting until the cluster is ready; everything else is kubectl's."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 2.0


class Api:
    """The API server at 127.0.0.1:`port`, trusted by its authority's certificate."""

    def __init__(self, port: int, *, authority: Path, token: str | None = None) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ready(self) -> bool:
        return self._get("/readyz") is not None

    def read(self, path: str) -> Any:
        """The JSON at `path`, or None while the server doesn't answer with one."""
        body = self._get(path)
        return None if body is None else json.loads(body)

    def _get(self, path: str) -> bytes | None:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS, context=self._tls)
        try:
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            return response.read() if response.status == http.client.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
