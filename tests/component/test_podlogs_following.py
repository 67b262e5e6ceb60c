"""Followed logs: whose, from where, until when; and each line once, whatever happens in between."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mcp_operator.cluster.podlogs import following
from tests.component.fake_api import until
from tests.component.fake_kubelet import INSTANCE, Cut
from tests.component.log_stage import stage

OTHER = "weather-7d4b9-1"


async def test_of_a_server_that_nobody_listens_to_nothing_is_asked() -> None:
    async with stage() as scene:
        scene.apply("other")
        for instance in (INSTANCE, "other-7d4b9-0"):
            scene.kubelet.start(instance=instance)
            scene.kubelet.print("hello", instance=instance)
            scene.see(instance)
        with scene.listening("other"):
            await scene.tells("<started>", "hello", instance="other-7d4b9-0")
        assert {asked["instance"] for asked in scene.asked()} == {"other-7d4b9-0"}
        assert scene.figure("follows_begun_total") == 1


async def test_a_container_that_has_printed_before_tells_its_last_lines_and_goes_on() -> None:
    async with stage(logs={"tailLines": 2}) as scene:
        scene.kubelet.start()
        scene.kubelet.print("one", "two", "three")
        scene.see()
        with scene.listening():
            await scene.tells("<started>", "two", "three")
            scene.kubelet.print("four")
            await scene.tells("<started>", "two", "three", "four")
            assert scene.figure("follows") == 1


@pytest.mark.parametrize(
    ("wanted", "told"), [(1, ["two", "three"]), (3, ["one", "two", "three"]), (100, ["one", "two", "three"])]
)
async def test_a_listener_may_want_more_of_the_past(wanted: int, told: list[str]) -> None:
    async with stage(logs={"tailLines": 2}) as scene:
        scene.kubelet.start()
        scene.kubelet.print("one", "two", "three")
        scene.see()
        with scene.listening(tail=wanted):
            await scene.tells("<started>", *told)


async def test_without_a_past_the_next_line_is_the_first_one_told() -> None:
    async with stage(logs={"tailLines": 0}) as scene:
        scene.kubelet.start()
        scene.kubelet.print("one", "two")
        scene.see()
        scene.kubelet.cuts[INSTANCE] = [Cut(1000, clean=True), Cut(40)]
        with scene.listening():
            await until(lambda: len(scene.asked(follow="true")) >= 2)
            scene.kubelet.print("three")
            await scene.tells("<started>", "three")


async def test_a_container_that_starts_while_it_is_listened_to_tells_all_from_its_first_line() -> None:
    async with stage(logs={"tailLines": 1}) as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
            scene.kubelet.start(instance=OTHER)
            scene.kubelet.print("one", "two", "three", instance=OTHER)
            scene.see(OTHER)
            await scene.tells("<started>", "one", "two", "three", instance=OTHER)


async def test_all_containers_of_all_instances_are_followed_once_however_many_listen() -> None:
    async with stage() as scene:
        for instance in (INSTANCE, OTHER):
            for container in ("mcp", "helper"):
                scene.kubelet.start(container, instance=instance)
                scene.kubelet.print(f"{container} speaks", container=container, instance=instance)
            scene.see(instance)
        with scene.listening(), scene.listening(), scene.listening():
            for instance in (INSTANCE, OTHER):
                for container in ("mcp", "helper"):
                    await scene.tells("<started>", f"{container} speaks", container=container, instance=instance)
            await until(lambda: scene.figure("follows") == 4)
        assert scene.figure("follows_begun_total") == 4
        assert scene.figure("lines_total") == 4


async def test_it_goes_on_after_the_last_listener_for_a_while_and_then_says_that_it_ends() -> None:
    async with stage(linger=60) as scene:
        scene.kubelet.start()
        scene.kubelet.print("one")
        scene.see()
        with scene.listening():
            await scene.tells("<started>", "one")
        ((uid, server),) = scene.following._servers.items()
        await until(lambda: server.ends is not None)
        scene.kubelet.print("two")
        await scene.tells("<started>", "one", "two")
        server.ends = 0.0  # the time is up
        scene.following.changed(uid)
        await scene.tells("<started>", "one", "two", "<ended>")
        await until(lambda: scene.kubelet.open == 0)
        assert scene.figure("follows") == 0


async def test_a_listener_who_comes_back_in_time_is_followed_on() -> None:
    async with stage(linger=60) as scene:
        scene.kubelet.start()
        scene.kubelet.print("one")
        scene.see()
        for text in ("two", "three"):
            with scene.listening():
                scene.kubelet.print(text)
                await until(lambda: scene.figure("follows") == 1)
        with scene.listening():
            await scene.tells("<started>", "one", "two", "three")
        assert scene.figure("follows_begun_total") == 1
        assert scene.figure("reconnects_total") == 0


async def test_the_while_begins_anew_with_each_last_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: clock.now))
    async with stage(linger=100) as scene:
        scene.kubelet.start()
        scene.see()
        for clock.now in (0.0, 90.0):
            with scene.listening():
                await until(lambda: scene.kubelet.open == 1 and not scene.lingering)
            await until(lambda: scene.lingering)
        clock.now = 189.0
        scene.kubelet.start(instance=OTHER)
        scene.see(OTHER)
        await scene.tells("<started>", instance=OTHER)
        clock.now = 191.0
        scene.see(OTHER)
        await scene.tells("<started>", "<ended>", instance=OTHER)


async def test_who_comes_back_later_gets_what_was_printed_meanwhile() -> None:
    async with stage(linger=0.05, logs={"tailLines": 1}) as scene:
        scene.kubelet.start()
        scene.kubelet.print("zero", "one")
        scene.see()
        with scene.listening():
            await scene.tells("<started>", "one")
        await scene.tells("<started>", "one", "<ended>")
        scene.kubelet.print("two", "three", "four")
        with scene.listening():
            await scene.tells("<started>", "one", "<ended>", "<started>", "two", "three", "four")


async def test_what_was_rotated_away_meanwhile_is_said_to_be_missing() -> None:
    async with stage(linger=0.05) as scene:
        scene.kubelet.start()
        scene.kubelet.print("one")
        scene.see()
        with scene.listening():
            await scene.tells("<started>", "one")
        await scene.tells("<started>", "one", "<ended>")
        scene.kubelet.print("two", "three")
        scene.kubelet.runs[INSTANCE, "mcp"][-1].log.rotate(keep=1)
        with scene.listening():
            await scene.tells("<started>", "one", "<ended>", "<started, dropped>", "three")


async def test_a_server_that_wants_it_is_followed_though_nobody_listens() -> None:
    async with stage(logs={"follow": "always", "tailLines": 1}) as scene:
        await until(lambda: bool(scene.following._servers))
        scene.kubelet.start()
        scene.kubelet.print("one", "two")
        scene.see()
        await scene.tells("<started>", "one", "two")
        for container in ("mcp", "helper"):
            scene.kubelet.start(container, instance=OTHER)
            scene.kubelet.print(f"{container} speaks", container=container, instance=OTHER)
        scene.see(OTHER)
        for container in ("mcp", "helper"):
            await scene.tells("<started>", f"{container} speaks", container=container, instance=OTHER)
        assert not scene.lingering


async def test_a_server_that_had_printed_before_it_is_always_followed_tells_its_last_lines() -> None:
    async with stage(logs={"tailLines": 1}) as scene:
        scene.kubelet.start()
        scene.kubelet.print("one", "two")
        scene.see()
        scene.apply(logs={"tailLines": 1, "follow": "always"})
        await scene.tells("<started>", "two")


async def test_who_comes_and_goes_makes_no_difference_to_a_server_that_is_always_followed() -> None:
    async with stage(linger=0.05, logs={"follow": "always"}) as scene:
        scene.kubelet.start()
        scene.see()
        for text in ("one", "two"):
            with scene.listening(tail=10):
                scene.kubelet.print(text)
                await until(lambda: scene.figure("lines_total") >= 1)
        scene.kubelet.print("three")
        await scene.tells("<started>", "one", "two", "three")
        assert not scene.lingering
        assert scene.figure("follows_begun_total") == 1


async def test_following_always_can_be_switched_on_and_off_while_nobody_listens() -> None:
    async with stage(linger=0.05) as scene:
        scene.kubelet.start()
        scene.kubelet.print("one")
        scene.see()
        scene.apply(logs={"follow": "always"})
        await scene.tells("<started>", "one")
        scene.apply(logs={"follow": "onDemand"})
        await scene.tells("<started>", "one", "<ended>")
        assert (await scene.events())[-1]["msg"] == "Nobody listens any more"
        scene.kubelet.print("two")
        scene.apply(logs={"follow": "always"})
        await scene.tells("<started>", "one", "<ended>", "<started>", "two")


async def test_a_deleted_server_that_was_always_followed_tells_its_last_words() -> None:
    async with stage(logs={"follow": "always"}) as scene:
        scene.kubelet.start()
        scene.see()
        await scene.tells("<started>")
        await until(lambda: scene.kubelet.open == 1)
        scene.delete()
        await until(lambda: scene.lingering)
        scene.kubelet.print("last words")
        scene.kubelet.end(0)
        scene.kubelet.gone.add(INSTANCE)
        scene.forget()
        await scene.tells("<started>", "last words", "<ended>")


async def test_whether_secrets_are_told_can_be_changed_while_a_log_is_followed() -> None:
    async with stage(logs={"follow": "always"}) as scene:
        scene.kubelet.start()
        scene.see()
        scene.kubelet.print("password=one")
        await scene.tells("<started>", "password=[redacted]")
        scene.apply(logs={"follow": "always", "redact": False})
        scene.see()
        scene.kubelet.print("password=two")
        await scene.tells("<started>", "password=[redacted]", "password=two")


async def test_no_more_logs_are_read_at_a_time_than_may_be(caplog: pytest.LogCaptureFixture) -> None:
    async with stage(most=2) as scene:
        for number in range(5):
            scene.kubelet.start(instance=f"weather-7d4b9-{number}")
            scene.kubelet.print("hello", instance=f"weather-7d4b9-{number}")
            scene.see(f"weather-7d4b9-{number}")
        with scene.listening():
            for number in range(5):
                await until(lambda: scene.kubelet.open == 2)
                (instance, *_) = {asked["instance"] for asked in scene.asked()} - scene.kubelet.gone
                await scene.tells("<started>", "hello", instance=instance)
                scene.kubelet.delete(instance)
                scene.forget(instance)
                await scene.tells("<started>", "hello", "<ended>", instance=instance)
                if number == 2:
                    break
            assert scene.kubelet.most_open == 2
        assert scene.figure("follows_refused_total") == 3
    assert caplog.text.count("2 logs are followed, as many as may be") == 1


async def test_a_server_that_is_gone_leaves_nothing_behind() -> None:
    async with stage(linger=0.05) as scene:
        scene.kubelet.start()
        scene.see()
        with scene.listening():
            await scene.tells("<started>")
        await scene.tells("<started>", "<ended>")
        scene.kubelet.delete()
        scene.forget()
        await until(lambda: not scene.following._servers)
