"""What is known on the machine about a cluster that was started: its process, its ports, the choices it was started with."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from local_cluster.processes import ProcessId


@dataclass(frozen=True)
class Options:
    """What can be chosen for a cluster.

    Attributes:
        api_port: The API server's port on 127.0.0.1; 0 takes a free one.
        forwards: Further ports of 127.0.0.1, each to a port of the node's address (a NodePort); 0 takes a free one, so a NodePort
            is the key.
        flags: A component's name to arguments appended to its own.
    """

    api_port: int
    forwards: Mapping[int, int]
    flags: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Record:
    """A started cluster: `process` is the unshare whose only child is the node; `forwards` has the ports really taken."""

    process: ProcessId
    api_port: int
    forwards: Mapping[int, int]
    options: Options

    def write(self, file: Path) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.rename(file)

    @classmethod
    def read(cls, file: Path) -> "Record | None":
        """The record in `file`, None if there is none."""
        try:
            record = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        options = record["options"]
        return cls(
            process=ProcessId(**record["process"]),
            api_port=record["api_port"],
            forwards=_ports(record["forwards"]),
            options=Options(
                api_port=options["api_port"],
                forwards=_ports(options["forwards"]),
                flags={name: tuple(values) for name, values in options["flags"].items()},
            ),
        )


def _ports(ports: Mapping[str, int]) -> dict[int, int]:
    return {int(node): host for node, host in ports.items()}
