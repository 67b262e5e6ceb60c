"""`running` comes when `kubectl rollout status` would end well and kstatus says Current, whichever is later: never before."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_cluster.pause import ARCHIVE, build_image
from tests.bench.figures import percentile
from tests.e2e.acting import User
from tests.e2e.agreeing import Judgement, Listener, Watch, judge, watching
from tests.e2e.improvising import IMAGES, Actor, Plan, plan
from tests.e2e.installation import Installation
from tests.e2e.subscribing import Subscriber
from tests.kstatus import Kstatus, kstatus
from tests.waiting import until

_SIDE_BY_SIDE = 15
_HANDS = 4
"""So many kubectl run at a time: more would delay what is measured, not only each other."""


@dataclass(frozen=True)
class Stage:
    """What the stories of one namespace share."""

    user: User
    hands: Executor
    installed: Installation
    watch: Watch
    seed: str

    async def play_all(self, numbers: Sequence[int]) -> Sequence[float]:
        """Have stories happen side by side; the delays of all.

        Raises:
            ExceptionGroup: some failed; the others went on to their end.
        """
        results = await asyncio.gather(*(self.play(number) for number in numbers), return_exceptions=True)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise ExceptionGroup("stories failed", failures)
        return [delay for result in results if isinstance(result, Judgement) for delay in result.delays]

    async def play(self, number: int) -> Judgement:
        """Have one story happen, and judge what was told of it."""
        story, name = plan(self.seed, number), f"story-{number}"
        kind = "Deployment" if story.kind == "MCPServer" else story.kind
        url = f"{self.installed.gateway}/api/events?servers={self.user.namespace}:{name}&types=status"
        try:
            async with Listener(Subscriber(url), self.watch, kind, name) as listener:
                actor = Actor(
                    story,
                    name,
                    user=self.user,
                    hands=self.hands,
                    installed=self.installed,
                    listener=listener,
                    watch=self.watch,
                )
                await actor.act()
                if story.steps[-1].action != "delete":
                    await self._end(actor, story, name)
                claims = await listener.claims()
                reads = [claim.read for claim in claims if claim.read is not None]
                await until(lambda: self._seen(kind, name, max(reads, default=0)), "the watch has brought what was read")
                judgement = judge(self.watch.versions[kind, name], claims)
        except AssertionError as error:
            raise AssertionError(f"{self._title(number, story)}: {error}") from error
        versions = self.watch.versions[kind, name]
        assert not judgement.premature, f"{self._title(number, story)}: told too early: {judgement.premature} of {versions}"
        assert judgement.delays, f"{self._title(number, story)}: it never ran"
        return judgement

    def _title(self, number: int, story: Plan) -> str:
        return f"story {number} of seed {self.seed} ({story})"

    def _seen(self, kind: str, name: str, number: int) -> bool:
        newest = self.watch.newest(kind, name)
        return newest is not None and newest.number >= number

    async def _end(self, actor: Actor, story: Plan, name: str) -> None:
        """The real kubectl has nothing left to wait for, and kstatus thinks so of the MCPServer too."""
        said = await actor.by_hand(self.user.run, "rollout", "status", actor.workload, "--timeout=120s")
        assert "successfully rolled out" in said or "complete" in said, f"kubectl rollout status says {said}"

        async def current() -> bool:
            return kstatus(await actor.by_hand(self.user.get, "mcpserver", name)) is Kstatus.CURRENT

        await until(current, "kstatus says of the MCPServer that it is current")


@pytest.fixture(scope="module")
def greeters(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The images of the stories' servers, in the cluster."""
    for image in IMAGES:
        folder = tmp_path_factory.mktemp("greeter")
        build_image(Path(__file__).with_name("greeter.c"), image, folder)
        installed.cluster.load_image(folder / ARCHIVE)


@pytest.mark.usefixtures("greeters")
async def test_running_is_told_when_kubectl_and_kstatus_agree_and_never_before(
    user: User, installed: Installation, pytestconfig: pytest.Config, measured: list[str]
) -> None:
    seed, stories = pytestconfig.getoption("seed"), pytestconfig.getoption("stories")
    delays: list[float] = []
    with ThreadPoolExecutor(_HANDS) as hands:
        async with watching(installed.cluster, user.namespace) as watch:
            stage = Stage(user, hands, installed, watch, seed)
            for first in range(0, stories, _SIDE_BY_SIDE):
                delays += await stage.play_all(range(first, min(first + _SIDE_BY_SIDE, stories)))
                await asyncio.to_thread(user.run, "delete", "mcpservers,deployments,statefulsets", "--all", "--wait=false")
    measured.append(f"agreement, seed {seed}: {stories} stories, {_summary(delays)}")


def _summary(delays: Sequence[float]) -> str:
    shown = [1000 * delay for delay in delays]
    after = "after the bare watch had brought what kubectl and kstatus agree on"
    median, latest = statistics.median(shown), percentile(shown, 99)
    return (
        f"{len(shown)} times running, {after}: median {median:.0f} ms, 99th percentile {latest:.0f} ms, least {min(shown):.0f} ms"
    )
