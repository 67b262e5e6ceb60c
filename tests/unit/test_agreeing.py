"""When a `running` was told too early, and how much later than the truth it came."""

import pytest

from tests.e2e.agreeing import Claim, Judgement, Version, judge


def versions(*agreed: int) -> list[Version]:
    """One version a second; 1 where kubectl and kstatus agree that it is done."""
    return [Version(number, float(number), generation=1, agreed=bool(each)) for number, each in enumerate(agreed, start=1)]


@pytest.mark.parametrize(
    ("versions", "claims", "delays", "premature"),
    [
        pytest.param(versions(0, 1), [Claim(2.5, 2)], [0.5], 0, id="after the truth"),
        pytest.param(versions(0, 1, 1), [Claim(3.5, 3)], [1.5], 0, id="the first version that was done counts"),
        pytest.param(versions(0, 0, 1), [Claim(2.5, 2)], [], 1, id="before it"),
        pytest.param(versions(0), [Claim(2.5, None)], [], 1, id="of what is gone and was never done"),
        pytest.param(
            versions(0, 1, 0), [Claim(3.5, None)], [1.5], 0, id="true when it was sent, and the workload is gone by now"
        ),
        pytest.param(versions(0, 1, 0), [Claim(2.5, 2), Claim(3.5, None)], [0.5], 1, id="again, of what is gone"),
        pytest.param(versions(0, 1, 0), [Claim(2.5, 3)], [0.5], 0, id="true when it was sent, and over by now"),
        pytest.param(versions(0, 1, 0), [Claim(2.5, 2), Claim(3.5, 3)], [0.5], 1, id="again, and what came next has only begun"),
        pytest.param(versions(0, 1, 0, 1), [Claim(2.5, 2), Claim(4.25, 4)], [0.5, 0.25], 0, id="twice"),
        pytest.param(versions(0, 1), [Claim(2.5, 2), Claim(3.5, 2)], [0.5], 0, id="again, and nothing has changed"),
        pytest.param(versions(0, 1, 0, 1, 0), [Claim(4.5, 5)], [0.5], 0, id="one of two was passed over"),
    ],
)
def test_a_claim_is_held_against_the_versions(
    versions: list[Version], claims: list[Claim], delays: list[float], premature: int
) -> None:
    judgement: Judgement = judge(versions, claims)
    assert (list(judgement.delays), len(judgement.premature)) == (delays, premature)
