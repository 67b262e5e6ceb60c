"""Kubernetes' quantities are read exactly, and nothing else is taken for one."""

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.cluster.podmetrics.quantities import read_quantity

SUFFIXES = {
    "": Decimal(1),
    **{suffix: Decimal(1000) ** -power for power, suffix in enumerate("mun", start=1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1346421n", "0.001346421"),
        ("250u", "0.00025"),
        ("100m", "0.1"),
        ("0.5", "0.5"),
        ("2", "2"),
        ("5k", "5000"),
        ("1e3", "1000"),
        ("12E-1", "1.2"),
        ("1E", "1000000000000000000"),
        ("34212Ki", "35033088"),
        ("256Mi", "268435456"),
        ("1.5Gi", "1610612736"),
        ("129M", "129000000"),
        ("-1", "-1"),
    ],
)
def test_a_quantity_is_the_number_that_kubernetes_takes_it_for(text: str, number: str) -> None:
    assert read_quantity(text) == Decimal(number)


@given(number=st.integers(0, 10**9), places=st.integers(0, 6), suffix=st.sampled_from(sorted(SUFFIXES)))
def test_no_digit_is_lost(number: int, places: int, suffix: str) -> None:
    decimal = Decimal(number).scaleb(-places)
    expected = decimal * SUFFIXES[suffix]
    if expected < 2**63:
        assert read_quantity(f"{decimal:f}{suffix}") == expected


@pytest.mark.parametrize("text", ["", "m", "Mi", "1mi", "1KiB", "0x10", "NaN", "Infinity", "-inf", "1e99", "9999Ei", "one", None])
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_quantity(text)


@given(st.text(max_size=40))
def test_any_text_is_a_bounded_number_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert abs(read_quantity(text)) < 2**63
