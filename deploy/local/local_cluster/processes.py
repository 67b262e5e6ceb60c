"""Processes of the machine, named so that a process id used again by another process is never mistaken for ours."""

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from local_cluster.errors import ClusterError

END_SECONDS = 60.0
"""How long a killed process may take to end; a node ends with all that runs in it."""


@dataclass(frozen=True)
class ProcessId:
    """A process id with the process's start, in clock ticks since the machine's boot, and that boot's id."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The process that has this id now; None when there is none, or only its exit status is left."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # "pid (command) state ...": the command may hold spaces and parentheses; state is field 3, the start field 22.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return cls(pid=pid, started=int(fields[19]), boot=_boot())

    @property
    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    @property
    def age(self) -> float:
        """Seconds since its start."""
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return uptime - self.started / os.sysconf("SC_CLK_TCK")

    def children(self) -> list[int]:
        """The process ids of its children, as the machine counts them; none once it has ended."""
        if not self.alive:
            return []
        try:
            # A proc file: its size is 0, its content isn't.
            return [int(each) for each in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def kill(self) -> None:
        """End it at once and wait until it is gone; nothing happens when it is gone already.

        Raises:
            ClusterError: It didn't end.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:  # asked after the handle was taken, which keeps meaning the same process
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                if not select.select([handle], [], [], END_SECONDS)[0]:
                    raise ClusterError(f"Process {self.pid} was killed and did not end within {END_SECONDS:.0f} s.")
        finally:
            os.close(handle)
        with contextlib.suppress(ChildProcessError):  # not ours to collect: its parent or process 1 does
            os.waitpid(self.pid, os.WNOHANG)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def local_pid(pid: int) -> int | None:
    """How the process with this id of the machine is called in its own namespace; None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return int(line.split()[-1])
