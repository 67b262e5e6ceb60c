"""What settings may hold, beyond their types."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from mcp_operator.settings import Settings


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("", ()),
        ("https://a.example", ("https://a.example",)),
        ("https://A.Example:443, http://b.example:80", ("https://a.example", "http://b.example")),
        ("http://localhost:5173,https://b.example:8443", ("http://localhost:5173", "https://b.example:8443")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
    ],
)
def test_origins_are_kept_as_browsers_write_them(given: str, origins: tuple[str, ...]) -> None:
    assert Settings(cors_origins=given).cors_origins == origins


@pytest.mark.parametrize(
    "wrong",
    ["*", "null", "a.example", "https://", "https://a.example/", "https://a.example/x", "https://a.example?", "ftp://a.example",
     "https://*.example", "https://me@a.example", "https://a.example:99999", "https://a.example:", "https://ä.example",
     "https://a b", "https://-a.example"],
)  # fmt: skip
def test_what_is_no_origin_is_named(wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(cors_origins=f"https://good.example,{wrong}")

    [problem] = refused.value.errors()
    assert problem["loc"] == ("cors_origins",)
    assert repr(wrong) in problem["msg"]
    assert "scheme://host" in problem["msg"]


def test_a_key_needs_a_certificate() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(tls_key=Path("/tls/tls.key"))

    [problem] = refused.value.errors()
    assert (problem["loc"], "tls_certificate" in problem["msg"]) == (("tls_key",), True)
    assert Settings(tls_certificate=Path("/tls/both.pem")).tls_key is None
