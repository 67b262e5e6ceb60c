"""`make demo` tells the whole story, beside whatever cluster runs already, and leaves nothing running."""

import os
import subprocess
import sys

from local_cluster import Cluster
from local_stack.__main__ import CLUSTERS
from local_stack.recording import read
from local_stack.stack import REPOSITORY
from local_stack.story import STORY, chapters
from tests.contract import contract
from tests.e2e.side_by_side import side_by_side

RECORDING = REPOSITORY / ".local" / "demo" / "events.sse"


@side_by_side
def test_the_demo_shows_every_step_in_the_stream_that_it_recorded() -> None:
    RECORDING.unlink(missing_ok=True)
    demo = [sys.executable, "-m", "local_stack", "demo"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(demo, check=False, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    told = chapters(STORY, read(RECORDING, contract=contract()))
    assert all(chapter.complete for chapter in told)
    assert [bool(chapter.cause) for chapter in told] == [chapter.step.title == "broken image" for chapter in told]
    for chapter in told:
        assert chapter.step.title in done.stdout
    assert {event["type"] for event in read(RECORDING, contract=contract())} == {"status", "progress", "metrics", "log"}
    assert "\x1b" not in done.stdout, "colours turn off where the output is no terminal"
    assert not Cluster.at("demo", CLUSTERS).running
