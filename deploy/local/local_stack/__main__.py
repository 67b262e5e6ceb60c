"""`python -m local_stack up|down|demo|clean`: what the Makefile calls."""

import argparse
import os
import shutil
import sys
from pathlib import Path

import click

from local_cluster import Cluster, ClusterError
from local_images import BuildError
from local_stack.demo import tell
from local_stack.stack import REPOSITORY, SAMPLE, StackError, start

LOCAL = REPOSITORY / ".local"
CLUSTERS = LOCAL / "clusters"
NAME = "local"


def main() -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local_stack", description="A local cluster with the operator in it.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="leave cluster, operator and a sample server running")
    up.add_argument("--port", type=int, default=8080, help="port of the gateway on 127.0.0.1 (default: %(default)s)")
    commands.add_parser("down", help="stop what up started")
    commands.add_parser("demo", help="tell the story of one server on a cluster of its own")
    commands.add_parser("clean", help="stop every cluster of this clone")
    options = parser.parse_args()
    try:
        match options.command:
            case "up":
                _up(options.port)
            case "down":
                _down()
            case "demo":
                return 0 if tell(directory=CLUSTERS, recording=LOCAL / "demo" / "events.sse") else 1
            case "clean":
                _clean()
    except (StackError, ClusterError, BuildError) as error:
        click.secho(str(error), fg="red", err=True, color=False if os.environ.get("NO_COLOR") else None)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _up(port: int) -> None:
    stack = start(name=NAME, directory=CLUSTERS, port=port)
    _link(LOCAL / "bin" / "kubectl", stack.cluster.kubectl)
    _link(LOCAL / "bin" / "mcp-operator", Path(sys.executable).with_name("mcp-operator"))
    _link(LOCAL / "kubeconfig", stack.cluster.kubeconfig)
    stack.apply_sample()
    stack.kubectl("wait", "--namespace=default", "--for=condition=Ready", f"mcpserver/{SAMPLE}", "--timeout=120s")
    local = os.path.relpath(LOCAL)
    click.echo(
        f"\nThe gateway is at {stack.gateway}; follow the sample server, and act on it from a second terminal:\n\n"
        f"  export KUBECONFIG=$PWD/{local}/kubeconfig PATH=$PWD/{local}/bin:$PATH\n"
        f"  mcp-operator watch {SAMPLE}    (or: curl -N {stack.gateway}/api/servers/default:{SAMPLE}/events)\n\n"
        f"  kubectl scale mcpserver {SAMPLE} --replicas=3\n"
    )


def _down() -> None:
    Cluster.at(NAME, CLUSTERS).stop()
    for made in ("kubeconfig", "bin/kubectl", "bin/mcp-operator"):
        (LOCAL / made).unlink(missing_ok=True)


def _clean() -> None:
    """Stop every cluster that has state in this clone, whoever started it."""
    for state in sorted(CLUSTERS.iterdir()) if CLUSTERS.is_dir() else ():
        Cluster.at(state.name, CLUSTERS).stop()
    shutil.rmtree(CLUSTERS, ignore_errors=True)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


if __name__ == "__main__":
    sys.exit(main())
