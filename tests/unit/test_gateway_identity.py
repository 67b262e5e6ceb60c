"""Whose share of the gateway a request uses."""

import pytest
from aiohttp.test_utils import make_mocked_request

from mcp_operator.gateway.identity import ANONYMOUS, IDENTITY, Identity, client_of


@pytest.mark.parametrize(
    ("remote", "client"),
    [
        ("192.0.2.7", "address 192.0.2.7"),
        ("::ffff:192.0.2.7", "address 192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "address 2001:db8:1:2::/64"),
        ("fe80::1%eth0", "address fe80::/64"),
        ("", "address unknown"),
    ],
)
def test_the_anonymous_are_told_apart_by_address(remote: str, client: str) -> None:
    request = make_mocked_request("GET", "/").clone(remote=remote)
    request[IDENTITY] = ANONYMOUS

    assert client_of(request) == client


def test_an_identity_is_one_client_wherever_it_comes_from() -> None:
    request = make_mocked_request("GET", "/").clone(remote="192.0.2.7")
    request[IDENTITY] = Identity("system:serviceaccount:flows:n8n")

    assert client_of(request) == "identity system:serviceaccount:flows:n8n"
