"""Followed logs on bad days: cut off, refused, restarted, deleted, flooded. No line is lost or told twice, or it is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_operator.cluster.podlogs import reading
from mcp_operator.eventlog.log import EventId
from mcp_operator.model.events import Event
from tests.component.fake_api import until
from tests.component.fake_kubelet import INSTANCE, Cut
from tests.component.log_stage import Stage, stage
from tests.kubelet import PrintedLog

OTHER = "weather-7d4b9-1"
HOUR = 3600 * 10**9
"""Later than all that a test prints otherwise."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once: how long is waited is not what these tests are about."""
    monkeypatch.setattr(reading, "_FIRST_BACKOFF", 0.001)
    monkeypatch.setattr(reading, "_LONGEST_BACKOFF", 0.01)
    monkeypatch.setattr(reading, "_STATUS_LAG_SECONDS", 0.05)


@asynccontextmanager
async def followed() -> AsyncIterator[Stage]:
    """A stage with a container that has printed a line, which was told."""
    async with stage() as scene:
        scene.kubelet.start()
        scene.kubelet.print("one")
        scene.see()
        with scene.listening():
            await scene.tells("<started>", "one")
            yield scene


@pytest.mark.parametrize("clean", [pytest.param(False, id="reset"), pytest.param(True, id="as if it were whole")])
async def test_a_log_that_is_cut_anywhere_goes_on_where_it_was_cut(clean: bool) -> None:
    lines = ["é", "", "three"]
    printed = PrintedLog()
    printed.print(*lines)
    async with stage() as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
            instances = {f"weather-7d4b9-{after}": after for after in range(1, len(printed.answer()) + 1)}
            for instance, after in instances.items():
                scene.kubelet.start(instance=instance)
                scene.kubelet.print(*lines, instance=instance)
                scene.kubelet.cuts[instance] = [Cut(after, clean)]
                scene.see(instance)
            for instance in instances:
                await scene.tells("<started>", *lines, instance=instance)
            assert not any(scene.kubelet.cuts.values())
        assert scene.figure("reconnects_total") == len(instances)


async def test_a_dead_containers_log_that_ends_as_if_it_were_whole_is_read_on() -> None:
    async with stage() as scene:
        scene.kubelet.start(instance=OTHER)
        scene.see(OTHER)
        with scene.listening():
            await scene.tells("<started>", instance=OTHER)
            scene.kubelet.start()
            scene.kubelet.print("one", "two", "three")
            scene.kubelet.end(unfinished=True)
            scene.kubelet.cuts[INSTANCE] = [Cut(50, clean=True), Cut(90, clean=True)]
            scene.see()
            await scene.tells("<started>", "one", "two", "three", "<ended>")


async def test_a_container_that_is_still_being_created_is_followed_once_it_is() -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.see()
        runs, scene.kubelet.runs[INSTANCE, "mcp"] = scene.kubelet.runs[INSTANCE, "mcp"], []
        with scene.listening():
            await until(lambda: len(scene.asked()) >= 3)
            scene.kubelet.runs[INSTANCE, "mcp"] = runs
            scene.kubelet.print("hello")
            await scene.tells("<started>", "hello")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(500, "InternalError"), (404, "NotFound"), (403, "Forbidden"), (429, "TooManyRequests"), (502, "BadGateway")],
)
async def test_a_refusal_is_borne_until_it_is_over(status: int, reason: str) -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
            await until(lambda: scene.kubelet.open == 1)
            fault = scene.api.fail(status, reason, times=5, subresource="log")
            await scene.api.down()
            await scene.api.up()
            scene.kubelet.print("hello")
            await scene.tells("<started>", "hello")
            assert fault.times == 0


async def test_an_outage_of_the_api_server_is_told_once_and_costs_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with stage() as scene:
        for instance in (INSTANCE, OTHER):
            scene.kubelet.start(instance=instance)
            scene.see(instance)
        with scene.listening():
            for instance in (INSTANCE, OTHER):
                await scene.tells("<started>", instance=instance)
            await scene.api.down()
            for instance in (INSTANCE, OTHER):
                scene.kubelet.print("meanwhile", instance=instance)
            await until(lambda: scene.figure("reconnects_total") >= 10)
            await scene.api.up()
            for instance in (INSTANCE, OTHER):
                await scene.tells("<started>", "meanwhile", instance=instance)
            await until(lambda: "Following the logs of pods works again" in caplog.text)
    assert caplog.text.count("Following the logs of pods fails") == 1


async def test_a_connection_that_has_long_been_silent_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "_FOLLOW_SILENCE_SECONDS", 0.05)
    async with stage() as scene:
        scene.kubelet.start()
        scene.kubelet.print("one")
        scene.see()
        with scene.listening():
            await until(lambda: scene.figure("reconnects_total") >= 3)
            scene.kubelet.print("two")
            await scene.tells("<started>", "one", "two")
    assert "fails" not in caplog.text, "it is nothing to worry about"


async def test_a_container_that_ends_tells_its_last_line_even_without_a_line_feed() -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
            scene.kubelet.print("one", "last words")
            scene.kubelet.end(3, unfinished=True)
            await until(lambda: scene.kubelet.open == 0)
            scene.see()
            await scene.tells("<started>", "one", "last words", "<ended>")
            assert (await scene.events())[-1]["msg"] == "Container mcp ended with exit code 3 (Error)"


async def test_a_restarted_container_tells_its_new_log_from_the_beginning() -> None:
    async with stage(logs={"tailLines": 0}) as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
            await until(lambda: scene.kubelet.open == 1)
            scene.kubelet.print("first life")
            scene.kubelet.start()
            scene.kubelet.print("second life", "goes on")
            scene.see()
            await scene.tells("<started>", "first life", "<ended>", "<started>", "second life", "goes on")
            assert "restarted once" in [event["msg"] for event in await scene.events() if event["follow"] == "started"][-1]


async def test_what_a_dead_container_had_left_to_say_is_told_before_its_successor_speaks() -> None:
    async with followed() as scene:
        await scene.api.down()
        scene.kubelet.print("two", "three")
        scene.kubelet.start()
        scene.kubelet.print("second life")
        scene.see()
        await scene.api.up()
        await scene.tells("<started>", "one", "two", "three", "<ended>", "<started>", "second life")


async def test_a_restart_that_the_status_does_not_know_yet_is_noticed_by_the_log_itself() -> None:
    async with followed() as scene:
        await scene.api.down()
        scene.kubelet.print("two")
        scene.kubelet.start()
        scene.kubelet.print("second life")
        await scene.api.up()
        await scene.tells("<started>", "one", "two", "<ended>")
        scene.see()
        await scene.tells("<started>", "one", "two", "<ended>", "<started>", "second life")


async def test_every_life_of_a_container_that_dies_at_once_is_told() -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
            told = []
            for number in range(3):
                scene.kubelet.start(instance=OTHER)
                scene.kubelet.print(f"life {number}", instance=OTHER)
                if number:  # the API server never heard of the first one while it lived
                    scene.see(OTHER)
                    told += ["<started>", f"life {number - 1}", "<ended>"]
                    await scene.tells(*told, "<started>", f"life {number}", instance=OTHER)


@pytest.mark.parametrize("late", [False, True], ids=["the status is known", "the status comes late"])
async def test_lives_that_nobody_has_a_log_of_any_more_are_said_to_be_missing(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_STATUS_LAG_SECONDS", 60)
    async with stage() as scene:
        scene.kubelet.start()
        scene.kubelet.print("life 0")
        scene.see()
        with scene.listening():
            await scene.tells("<started>", "life 0")
            await scene.api.down()
            for number in range(1, 4):
                scene.kubelet.start()
                scene.kubelet.print(f"life {number}")
            if not late:
                scene.see()
            await scene.api.up()
            if late:
                await until(lambda: bool(scene.asked(previous="true")))
                scene.see()
            lost = ["<started>", "life 0", "<ended, dropped>"]
            await scene.tells(*lost, "<started, dropped>", "life 2", "<ended>", "<started>", "life 3")


async def test_a_log_rotated_while_it_was_cut_off_goes_on_and_says_what_is_missing() -> None:
    async with followed() as scene:
        await scene.api.down()
        scene.kubelet.print("two", "three", "four")
        scene.kubelet.runs[INSTANCE, "mcp"][-1].log.rotate(keep=2)
        await scene.api.up()
        await scene.tells("<started>", "one", "<started, dropped>", "three", "four")


async def test_a_clock_that_is_set_back_while_a_log_is_cut_off_costs_no_line() -> None:
    async with followed() as scene:
        scene.kubelet.print("two", at_ns=HOUR)
        await scene.tells("<started>", "one", "two")
        await scene.api.down()
        scene.kubelet.print("three", "four")
        await scene.api.up()
        await scene.tells("<started>", "one", "two", "three", "four")
        scene.kubelet.print("five", at_ns=HOUR + 1)
        await scene.tells("<started>", "one", "two", "three", "four", "five")


async def test_a_clock_that_is_set_back_while_a_log_is_followed_costs_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_FOLLOW_SILENCE_SECONDS", 0.05)
    async with stage() as scene:
        scene.kubelet.start()
        scene.kubelet.print("one", at_ns=HOUR)
        scene.see()
        with scene.listening():
            await until(lambda: bool(scene.asked(follow="true")))
            scene.kubelet.print("two")  # kubelet leaves it out: it is earlier than what is asked for
            await scene.tells("<started>", "one", "two")
            scene.kubelet.print("three")
            await scene.tells("<started>", "one", "two", "three")


async def test_a_log_rotated_while_a_clock_was_set_back_says_what_is_missing() -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.kubelet.print("one", at_ns=HOUR)
        scene.see()
        with scene.listening():
            await until(lambda: bool(scene.asked(follow="true")))
            await scene.tells("<started>", "one")
            await scene.api.down()
            scene.kubelet.print("two", "three", "four")
            scene.kubelet.runs[INSTANCE, "mcp"][-1].log.rotate(keep=2)
            await scene.api.up()
            await scene.tells("<started>", "one", "<started, dropped>", "three", "four")


async def test_a_container_restarted_while_a_clock_was_set_back_tells_both_lives() -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.kubelet.print("one", at_ns=HOUR)
        scene.see()
        with scene.listening():
            await until(lambda: bool(scene.asked(follow="true")))
            await scene.tells("<started>", "one")
            await scene.api.down()
            scene.kubelet.print("last words", at_ns=HOUR + 1)
            scene.kubelet.start()
            scene.kubelet.print("second life")
            scene.see()
            await scene.api.up()
            await scene.tells("<started>", "one", "last words", "<ended>", "<started>", "second life")


async def test_a_deleted_pod_is_followed_to_its_last_line() -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
            await until(lambda: scene.kubelet.open == 1)
            scene.kubelet.gone.add(INSTANCE)
            scene.forget()
            scene.kubelet.print("still", "shutting down")
            scene.kubelet.end(unfinished=True)
            await scene.tells("<started>", "still", "shutting down", "<ended>")
            assert (await scene.events())[-1]["msg"] == "Instance weather-7d4b9-0 is gone"
            await until(lambda: not scene.following._servers or all(s.logs.empty for s in scene.following._servers.values()))


async def test_a_pod_that_goes_while_its_log_is_cut_off_may_have_said_more() -> None:
    async with followed() as scene:
        await scene.api.down()
        scene.kubelet.print("unheard")
        scene.kubelet.delete()
        scene.forget()
        await scene.api.up()
        await scene.tells("<started>", "one", "<ended, dropped>")


async def test_the_log_of_a_later_pod_of_the_same_name_is_not_taken_for_that_of_the_one_that_is_gone() -> None:
    async with followed() as scene:
        await scene.api.down()
        scene.kubelet.print("unheard")
        scene.kubelet.runs.clear()
        scene.kubelet.start()
        scene.kubelet.print("said by the next one")
        scene.forget()
        await scene.api.up()
        await scene.tells("<started>", "one", "<ended, dropped>")


async def test_what_kubelet_remarks_is_no_line_and_the_log_goes_on() -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.kubelet.print("one")
        scene.kubelet.remarks = ["failed to create fsnotify watcher: too many open files"] * 3
        scene.see()
        with scene.listening():
            await until(lambda: not scene.kubelet.remarks)
            scene.kubelet.print("two")
            await scene.tells("<started>", "one", "two")


async def test_a_dead_container_whose_log_is_gone_is_given_up() -> None:
    async with stage() as scene:
        scene.kubelet.start()
        scene.kubelet.remarks = ["unable to retrieve container logs for containerd://7d97b9dfc6c5"] * 3
        scene.kubelet.end(1)
        scene.see()
        with scene.listening():
            await scene.tells("<started>", "<ended, dropped>")
        assert len(scene.asked()) == 3


async def test_a_flood_gives_way_to_all_else_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_TURN_SECONDS", 0)  # a turn is a single line
    async with stage() as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
            await until(lambda: scene.kubelet.open == 1)
            flood = [f"line {number}" for number in range(3000)]
            scene.kubelet.print(*flood)
            told, most_in_a_row = 0.0, 0.0
            while told < len(flood):
                await asyncio.sleep(0)
                before, told = told, scene.figure("lines_total")
                most_in_a_row = max(most_in_a_row, told - before)
        assert most_in_a_row == 1
        assert await scene.told() == ["<started>", *flood]


async def test_a_log_that_cannot_take_lines_holds_the_reader_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as scene:
        room = asyncio.Semaphore(3)
        append = scene.log.append

        async def slowly(event: Event) -> EventId:
            await room.acquire()
            return await append(event)

        monkeypatch.setattr(scene.log, "append", slowly)
        scene.kubelet.start()
        scene.kubelet.print(*("x" * 10_000 for _ in range(500)))
        scene.see()
        with scene.listening(tail=500):
            await until(lambda: scene.figure("lines_total") == 2)
            for _ in range(500):
                room.release()
            await until(lambda: scene.figure("lines_total") == 500)
