"""The command line: `python -m local_cluster up|down|status|exec|tools`, called by the Makefile and by people."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from local_cluster.certifying import write_secret
from local_cluster.cluster import Cluster
from local_cluster.errors import ClusterError
from local_cluster.machine import check_platform
from local_cluster.tools import kubernetes_version, provide_tools


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 with one sentence on standard error where something can't work."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130  # as a shell says it; what was begun has been undone


def _up(options: argparse.Namespace) -> None:
    flags: dict[str, list[str]] = {}
    for component, flag in options.flag:
        flags.setdefault(component, []).append(flag)
    cluster = Cluster.start(
        options.name,
        directory=options.directory,
        api_port=options.api_port,
        forwards=dict(options.forward),
        flags=flags,
    )
    if options.kubeconfig:
        options.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        write_secret(options.kubeconfig, cluster.kubeconfig.read_text())
    if options.kubectl:
        options.kubectl.parent.mkdir(parents=True, exist_ok=True)
        options.kubectl.unlink(missing_ok=True)
        options.kubectl.symlink_to(cluster.kubectl)
    _say(f"Kubernetes {kubernetes_version()} runs on https://127.0.0.1:{cluster.api_port}")
    for node_port, port in cluster.forwards.items():
        _say(f"127.0.0.1:{port} leads to node port {node_port}")
    _say(f"KUBECONFIG={options.kubeconfig or cluster.kubeconfig}")


def _down(options: argparse.Namespace) -> None:
    _cluster(options).stop()


def _status(options: argparse.Namespace) -> int:
    cluster = _cluster(options)
    if not cluster.running:
        _say(f"Cluster {cluster.name} doesn't run.")
        return 1
    _say(f"{'COMPONENT':<26}{'PID':>8}{'RESTARTS':>10}")
    for each in cluster.status():
        _say(f"{each.name:<26}{each.pid or '-':>8}{each.restarts:>10}")
    return 0


def _exec(options: argparse.Namespace) -> None:
    argv = _cluster(options).nsenter(options.command)
    os.execvp(argv[0], argv)  # noqa: S606 - the command's terminal, signals and exit code are the caller's


def _tools(_: argparse.Namespace) -> None:
    check_platform()
    _say(str(provide_tools()))


def _cluster(options: argparse.Namespace) -> Cluster:
    return Cluster.at(options.name, options.directory)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="local_cluster", description="A real Kubernetes cluster without Docker.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="local", help="the cluster's name (default: %(default)s)")
    named.add_argument(
        "--directory", type=Path, default=Path(".local/clusters"), help="where clusters keep their state (default: %(default)s)"
    )

    up = commands.add_parser("up", parents=[named], help="start the cluster unless it runs, and wait until it is ready")
    up.add_argument("--api-port", type=_port, default=0, help="the API server's port on 127.0.0.1 (default: a free one)")
    up.add_argument(
        "--forward",
        type=_forward,
        action="append",
        default=[],
        metavar="PORT:NODEPORT",
        help="lead a port of 127.0.0.1 (0: a free one) to a NodePort; may be repeated",
    )
    up.add_argument(
        "--flag",
        type=_flag,
        action="append",
        default=[],
        metavar="COMPONENT=FLAG",
        help="a further flag for a component, as in kube-apiserver=--v=4; may be repeated",
    )
    up.add_argument("--kubeconfig", type=Path, help="write the administrator's kubeconfig here too")
    up.add_argument("--kubectl", type=Path, help="make this a link to kubectl of the cluster's version")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[named], help="stop the cluster and remove all that it made")
    down.set_defaults(run=_down)

    status = commands.add_parser("status", parents=[named], help="show components, process ids and restarts")
    status.set_defaults(run=_status)

    run = commands.add_parser("exec", parents=[named], help="run a command inside the node: exec -- COMMAND ...")
    run.add_argument("command", nargs="+")
    run.set_defaults(run=_exec)

    tools = commands.add_parser("tools", help="build the cluster's binaries unless they are there, and print their folder")
    tools.set_defaults(run=_tools)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


def _forward(text: str) -> tuple[int, int]:
    """A NodePort and the port of 127.0.0.1 that leads to it."""
    host, separator, node = text.partition(":")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} has no colon: give PORT:NODEPORT, as in 8080:30080")
    return _port(node), _port(host)


def _flag(text: str) -> tuple[str, str]:
    component, separator, flag = text.partition("=")
    if not separator or not flag.startswith("-"):
        raise argparse.ArgumentTypeError(f"{text!r} names no flag: give COMPONENT=FLAG, as in kube-apiserver=--v=4")
    return component, flag


if __name__ == "__main__":
    sys.exit(main())
