"""The demo's closing table is right about what a recording tells, and about what it doesn't."""

from datetime import UTC, datetime, timedelta
from typing import Any

from local_stack.story import STORY, chapters

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Recording:
    """Events of a story, one second apart."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def _append(self, **event: Any) -> None:
        time = START + timedelta(seconds=len(self.events))
        self.events.append({"time": time.isoformat().replace("+00:00", "Z"), **event})

    def status(self, status: str, *, desired: int, cause: str | None = None) -> None:
        causes = [{"id": cause, "reason": cause, "message": "no such image", "state": "active"}] if cause else []
        self._append(type="status", status=status, desired=desired, instances=desired, causes=causes)

    def operation(self, kind: str, outcome: str = "succeeded") -> None:
        self._append(type="progress", kind=kind, percent=40, outcome=None)
        self._append(type="progress", kind=kind, percent=100, outcome=outcome)

    def call(self) -> None:
        self._append(type="log", level="info", msg="listening", fields={"port": 8080})
        self._append(type="log", level="info", msg="request", fields={"method": "tools/call", "tool": "add"})

    def metrics(self, cpu: float | None) -> None:
        self._append(type="metrics", cpu=cpu, memory=48.2, requests=1)


def whole_story() -> Recording:
    recording = Recording()
    recording.status("deploying", desired=1)
    recording.operation("rollout")
    recording.status("running", desired=1)
    recording.call()
    recording.metrics(None)
    recording.metrics(0.4)
    recording.operation("scale")
    recording.status("running", desired=3)
    recording.operation("rollout")
    recording.status("running", desired=3)
    recording.status("deploying", desired=3, cause="ImagePullBackOff")
    recording.status("pending", desired=3, cause="ImagePullBackOff")
    recording.operation("rollout", "superseded")
    recording.operation("rollout")
    recording.status("running", desired=3)
    recording.status("deleted", desired=0)
    return recording


def test_every_step_of_the_whole_story_is_found() -> None:
    result = chapters(STORY, whole_story().events)
    assert [(chapter.step.title, chapter.complete) for chapter in result] == [(step.title, True) for step in STORY]
    told = {chapter.step.title: chapter for chapter in result}
    assert told["scale 1 to 3"].seconds == 2
    assert told["scale 1 to 3"].counts == {"progress": 2, "status": 1}
    assert told["new image"].percents == [40, 100]
    assert told["broken image"].cause == "ImagePullBackOff: no such image"
    assert told["repair"].cause is None


def test_a_step_that_the_stream_does_not_tell_is_missing() -> None:
    recording = whole_story()
    recording.events = [event for event in recording.events if event.get("kind") != "scale"]
    result = chapters(STORY, recording.events)
    assert not all(chapter.complete for chapter in result)
    assert next(chapter.step.title for chapter in result if not chapter.complete) != "create"


def test_a_recording_that_was_cut_off_has_no_end() -> None:
    result = chapters(STORY, whole_story().events[:-1])
    assert [chapter.step.title for chapter in result if not chapter.complete] == ["delete"]
    assert chapters(STORY, [])[0].seconds == 0
