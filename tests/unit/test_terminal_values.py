"""Values as a person reads them: whatever an event holds, some text comes out that is harmless."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.terminal.values import age, figure, harmless, memory, number_of, short_instance, text_of, time_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("bell\x07 null\x00 del\x7f csi\x9b", r"bell\x07 null\x00 del\x7f csi\x9b"),
        ("one\ntwo\r\u2028three", r"one\x0atwo\x0d\u2028three"),
        ("left\u202eright\u2066", r"left\u202eright\u2066"),
        ("tag\U000e0041 lone\udc80", r"tag\U000e0041 lone\udc80"),
        ("a\tb", "a    b"),
        ("日本語 🎉 👩\u200d🚀 naïve", "日本語 🎉 👩\u200d🚀 naïve"),
        ("[bold]markup[/bold] :smile:", "[bold]markup[/bold] :smile:"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(printed: str, shown: str) -> None:
    assert harmless(printed) == shown


@given(st.text())
def test_nothing_that_a_terminal_obeys_or_that_turns_the_direction_of_text_is_left(printed: str) -> None:
    dangerous = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert {character for character in harmless(printed) if unicodedata.category(character) in dangerous} <= {"\u200d"}


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=2))
)
def test_any_value_of_a_field_has_a_text(value: Any) -> None:
    event = {"field": value}
    assert text_of(event, "field") == harmless(text_of(event, "field"))
    assert number_of(event, "field") is None or abs(number_of(event, "field") or 0) < 1e18
    assert time_of(event, "field") is None or isinstance(value, str)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (3600, "60m"),
        (4 * 3600 + 60, "4h1m"),
        (9 * 3600, "9h"),
        (200_000, "2d"),
    ],
)
def test_ages_are_written_as_kubectl_does(seconds: int, shown: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), now=NOW) == shown


def test_figures_have_a_decimal_only_where_it_says_something() -> None:
    assert [figure(value, "%") for value in (None, 0.0, 0.24, 7, 12.6, 340)] == ["-", "0 %", "0.2 %", "7 %", "13 %", "340 %"]
    assert [memory(value) for value in (None, 48.2, 20480.0)] == ["-", "48 MiB", "20 GiB"]


@pytest.mark.parametrize(
    ("instance", "shown"),
    [("weather-7d4b9-x2x7q", "x2x7q"), ("weather-0", "0"), ("other-pod-abc", "abc"), ("lonely", "lonely"), ("", "")],
)
def test_an_instance_is_named_by_what_tells_it_apart(instance: str, shown: str) -> None:
    assert short_instance(instance, "default/weather") == shown
