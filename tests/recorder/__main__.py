"""`python -m tests.recorder [STORY ...]`: start a cluster of its own, act the stories, write their tables, stop the cluster.

`--retell` needs no cluster: it tells the recorded moments anew, for a change of the evaluator that is meant to change that.
"""

import argparse
import json
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local_cluster import Cluster
from local_cluster.progress import step
from local_images import build
from tests.failures import FAILURES, HASTY
from tests.recorder import cases, observing, stories
from tests.recorder.stage import Kubectl, Stage
from tests.recorder.tables import DIRECTORY, Replay, Table

ROOT = Path(__file__).parents[2]
STORIES = {**stories.STORIES, **observing.STORIES}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recorder", description=__doc__)
    parser.add_argument("stories", nargs="*", metavar="STORY", help=f"which ones, all by default: {', '.join(STORIES)}")
    parser.add_argument("--cases", action="store_true", help="record the causes' cases instead; STORY is then a failure's name")
    parser.add_argument("--retell", action="store_true", help="keep the recorded moments, and tell them anew")
    arguments = parser.parse_args()
    known = [*FAILURES, cases.LOST_NODE] if arguments.cases else list(STORIES)
    chosen = arguments.stories or known
    if unknown := set(chosen) - set(known):
        parser.error(f"no story is called {', '.join(sorted(unknown))}")
    if arguments.cases:
        return _record_cases(chosen)
    if arguments.retell:
        for name in chosen:
            _retell(DIRECTORY / f"{name}.yaml")
        return 0
    with _cluster() as (_, kubectl, images):
        failures = [name for name in chosen if not _record(name, kubectl, *images)]
    return 1 if failures else 0


@contextmanager
def _cluster(**options: Any) -> Iterator[tuple[Cluster, Kubectl, Sequence[str]]]:
    """A cluster with two versions of the sample server's image, and with the CustomResourceDefinition."""
    with Cluster.start("recorder", directory=ROOT / ".local" / "clusters", api_port=0, **options) as cluster:
        kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig)
        images = [build("sample", environment={"VERSION": version}) for version in ("1.0.0", "2.0.0")]
        for image in images:
            cluster.load_image(image.archive)
        kubectl("apply", "--server-side", f"--filename={ROOT / 'deploy' / 'crds' / 'mcpservers.yaml'}")
        kubectl("wait", "--for=condition=Established", "crd/mcpservers.mcp-operator.dev", "--timeout=30s")
        yield cluster, kubectl, [image.reference for image in images]


def _record_cases(names: Sequence[str]) -> int:
    with _cluster(flags=HASTY) as (cluster, kubectl, (sample, _)):
        version = _server_version(kubectl("version", "--output=json"))
        failures = cases.record(names, cluster, kubectl, sample=sample, version=version)
    for failure in failures:
        print(failure, file=sys.stderr)  # noqa: T201 - a command's output
    return 1 if failures else 0


def _record(name: str, kubectl: Kubectl, sample: str, sample_next: str) -> bool:
    """Act one story in a namespace of its own; on failure say so and leave the table as it was."""
    namespace = f"{name}-{secrets.token_hex(2)}"
    kubectl("create", "namespace", namespace)
    stage = Stage(kubectl, namespace, sample=sample, sample_next=sample_next)
    act = STORIES[name]
    try:
        with step(f"story {name}"), stage.watching():
            act(stage)
    except (TimeoutError, RuntimeError) as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return False
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
    version = kubectl("version", "--output=json")
    stage.table((act.__doc__ or name).strip(), _server_version(version)).write(DIRECTORY / f"{name}.yaml")
    return True


def _retell(path: Path) -> None:
    table = Table.read(path)
    replay = Replay(table.began)
    for moment in table.moments:
        moment["told"] = replay.take(moment)
    table.write(path)


def _server_version(answer: str) -> str:
    return f"Kubernetes {json.loads(answer)['serverVersion']['gitVersion']}"


if __name__ == "__main__":
    sys.exit(main())
