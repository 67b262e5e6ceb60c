"""Which objects a selection can be about, without looking at all: an index that `retaining` and `knowing` keep of theirs."""

from collections.abc import Collection

from mcp_operator.eventlog.log import Selection
from mcp_operator.model.servers import ServerName


class Objects:
    """UIDs by the name that they have or had."""

    def __init__(self) -> None:
        self._uids: dict[ServerName, str | set[str]] = {}
        """Most names have one object, some have had very many."""

    def add(self, server: ServerName, uid: str) -> None:
        """Take note of an object that isn't in here."""
        match self._uids.get(server):
            case None:
                self._uids[server] = uid
            case str() as other:
                self._uids[server] = {other, uid}
            case uids:
                uids.add(uid)

    def remove(self, server: ServerName, uid: str) -> None:
        """Leave out one that is in here."""
        uids = self._uids[server]
        if isinstance(uids, str):
            del self._uids[server]
            return
        uids.remove(uid)
        if len(uids) == 1:
            [self._uids[server]] = uids

    def selected(self, selection: Selection) -> Collection[str] | None:
        """UIDs outside which the selection covers nothing; None if it names neither objects nor servers."""
        if selection.uid is not None:
            return (selection.uid,)
        if selection.servers is None:
            return None
        uids: set[str] = set()
        for server in selection.servers:
            known = server if isinstance(server, str) else self._uids.get(server, ())
            uids.update((known,) if isinstance(known, str) else known)
        return uids
