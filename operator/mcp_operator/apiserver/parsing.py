"""JSON as the API server sends it, however deep it is nested.

The API server takes objects that are thousands of levels deep (in a podTemplate, for instance, whose schema is open); Python's
parser gives up at about a thousand. One such object must not keep a whole list from being read, so it is cut where it is deeper
than anything that Kubernetes defines; `workload` refuses what it then finds of it, as too deep.
"""

import json
import re
from typing import Any

_DEEPEST = 100
"""Levels that are kept. Kubernetes' own objects have some twenty."""
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def parse_json(content: bytes) -> Any:
    """Read JSON; what is nested too deep to be read is cut to null.

    Raises:
        ValueError: it isn't JSON.
    """
    try:
        return json.loads(content)
    except RecursionError:
        return json.loads(_cut(content))


def _cut(content: bytes) -> bytes:
    """Put null in the place of everything below the deepest level that is kept."""
    kept: list[bytes] = []
    depth = position = 0
    for token in _TOKEN.finditer(content):
        if token[0] in b"[{":
            depth += 1
            if depth == _DEEPEST + 1:
                kept += [content[position : token.start()], b"null"]
        elif token[0] in b"]}":
            if depth == _DEEPEST + 1:
                position = token.end()
            depth -= 1
    kept.append(content[position:])
    return b"".join(kept)
