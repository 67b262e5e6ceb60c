"""Label selectors: what they say, what they match, and what is said about those that can't be read."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.model.labels import MAX_REQUIREMENTS, MAX_SELECTOR_CHARACTERS, NO_LABELS, Selector

GOLD = (("env", "prod"), ("team.example.com/owner", "maps"), ("tier", "gold"))
EMPTY = (("tier", ""),)


@pytest.mark.parametrize(
    ("text", "gold", "empty", "unlabelled"),
    [
        ("", True, True, True),
        ("tier=gold", True, False, False),
        ("tier==gold", True, False, False),
        ("tier = gold", True, False, False),
        ("tier!=gold", False, True, True),
        ("tier=", False, True, False),
        ("tier!=", True, False, True),
        ("tier in (silver,gold)", True, False, False),
        ("tier in(silver,\tgold )", True, False, False),
        ("tier in (silver,)", False, True, False),
        ("tier in (,)", False, True, False),
        ("tier notin (silver,gold)", False, True, True),
        ("tier notin (silver)", True, True, True),
        ("tier", True, True, False),
        ("!tier", False, False, True),
        ("! tier", False, False, True),
        ("tier=gold,env=prod", True, False, False),
        ("tier=gold,env=dev", False, False, False),
        ("tier,env!=dev", True, True, False),
        ("tier=gold,tier=silver", False, False, False),
        ("team.example.com/owner=maps", True, False, False),
        ("owner=maps", False, False, False),
        ("Tier=gold", False, False, False),
        ("tier=Gold", False, False, False),
        ("in", False, False, False),
        ("notin!=in", True, True, True),
        ("tier in (in,notin,gold)", True, False, False),
    ],
)
def test_it_matches_as_in_kubernetes(text: str, *, gold: bool, empty: bool, unlabelled: bool) -> None:
    selector = Selector.parse(text)

    assert [selector.matches(labels) for labels in (GOLD, EMPTY, NO_LABELS)] == [gold, empty, unlabelled]


@pytest.mark.parametrize(
    ("text", "part", "advice"),
    [
        ("tier=gold,", "after the last comma", "requirement is missing"),
        (",tier", "','", "key is expected"),
        ("=gold", "'='", "key is expected"),
        ("!", "the end", "key is expected"),
        ("!tier=gold", "'='", "!key"),
        ("tier gold", "'gold'", "key=value"),
        ("tier=gold env=prod", "'env'", "separated by commas"),
        ("tier=gold=silver", "'='", "separated by commas"),
        ("tier>1", "'>'", "key in (a,b)"),
        ("tier in gold", "'gold'", "'(' is expected"),
        ("tier in (gold", "the end", "')' is expected"),
        ("tier in (gold))", "')'", "separated by commas"),
        ("tier in ()", "between the parentheses", "values stand there"),
        ("tier in (a b)", "'b'", "')' is expected"),
        ("(tier)", "'('", "key is expected"),
        ("tier=-gold", "'-gold'", "letter or a digit"),
        ("tier=gold;env", "'gold;env'", "at most 63 letters"),
        ("tier=göld", "'göld'", "letters, digits"),
        ("tier=go\x00ld", "'go\\x00ld'", "letters, digits"),
        ("tier=" + "x" * 64, "xxx", "at most 63"),
        ("_tier", "'_tier'", "not a label's key"),
        ("x" * 64, "xxx", "at most 63"),
        ("/tier", "nothing", "DNS name"),
        ("Example.com/tier", "'Example.com'", "lower-case"),
        ("a/b/tier", "'a/b'", "DNS name"),
        ("example.com/", "nothing", "not a label's key"),
        (f"{'x' * 254}/tier", "xxx", "at most 253"),
        ("a" + " " * MAX_SELECTOR_CHARACTERS, f"{MAX_SELECTOR_CHARACTERS + 1} characters", f"at most {MAX_SELECTOR_CHARACTERS}"),
        (
            ",".join(f"key{number}" for number in range(MAX_REQUIREMENTS + 1)),
            f"{MAX_REQUIREMENTS + 1} requirements",
            f"at most {MAX_REQUIREMENTS}",
        ),
    ],
)
def test_what_is_wrong_and_what_would_be_right_is_said(text: str, part: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(part)) as refused:
        Selector.parse(text)

    assert advice in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tier=gold", "tier==gold"),
        ("tier=gold", "tier in (gold)"),
        ("tier!=gold", "tier notin (gold,gold)"),
        ("tier=gold,env", "env , tier=gold"),
        ("tier in (a,b)", "tier in (b,a,b)"),
        ("env,env", "env"),
        ("", "  "),
    ],
)
def test_those_that_require_the_same_are_equal(one: str, other: str) -> None:
    assert Selector.parse(one) == Selector.parse(other)
    assert len({Selector.parse(one), Selector.parse(other)}) == 1
    assert Selector.parse(one) != Selector.parse("something-else")


KEYS = ("tier", "env", "in", "example.com/a.b_c-d")
VALUES = ("", "gold", "in", "A-1.b_c")

requirements = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(KEYS), st.sampled_from(["=", "==", "!="]), st.sampled_from(VALUES)),
    st.builds("{}{}".format, st.sampled_from(["", "!"]), st.sampled_from(KEYS)),
    st.builds(
        "{} {} ({})".format,
        st.sampled_from(KEYS),
        st.sampled_from(["in", "notin"]),
        st.lists(st.sampled_from(VALUES), min_size=2, max_size=4).map(",".join),
    ),
)


@given(st.lists(requirements, max_size=4), st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)))
def test_its_text_reads_back_as_the_same_and_all_requirements_are_asked_for(parts: list[str], labels: dict[str, str]) -> None:
    selector = Selector.parse(",".join(parts))
    of_a_server = tuple(sorted(labels.items()))

    assert Selector.parse(selector.text) == selector
    assert selector.matches(of_a_server) == all(Selector.parse(part).matches(of_a_server) for part in parts)


@given(st.text(st.sampled_from("ab=!(), \tin/.-1ü\x00<"), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        selector = Selector.parse(text)
        assert Selector.parse(selector.text) == selector
