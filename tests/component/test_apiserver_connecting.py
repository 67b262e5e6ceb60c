"""The connection to the API server: credentials, and each failure as one kind of error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from mcp_operator.apiserver import connecting
from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.credentials import load_configuration
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import POD
from tests.component.fake_api import FakeApi, serving


@pytest.fixture
async def server() -> AsyncIterator[FakeApi]:
    async with serving() as server:
        yield server


@asynccontextmanager
async def answering(body: str, *, status: int = 200) -> AsyncIterator[Api]:
    """A connection to something that always gives the same answer."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, status=status)

    async with _listening(answer) as api:
        yield api


@asynccontextmanager
async def _listening(
    answer: Callable[[web.Request], Awaitable[web.Response]], *, request_seconds: float = 60
) -> AsyncIterator[Api]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    async def load() -> Configuration:
        return Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")

    try:
        async with Api(load=load, request_seconds=request_seconds) as api:
            yield api
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(502, "<html>bad gateway</html>", (502, "Bad Gateway"), id="a proxy's answer"),
        pytest.param(200, "<html>hello</html>", (200, "Malformed"), id="a web site"),
        pytest.param(302, "", (302, "Found"), id="a login page"),
        pytest.param(404, '{"kind": "Status", "code": 404, "reason": "NotFound"}', (404, "NotFound"), id="not found"),
        pytest.param(429, '{"kind": "Status", "code": 429, "reason": "TooManyRequests"}', (429, "TooManyRequests"), id="busy"),
    ],
)
async def test_what_is_no_answer_is_an_error(status: int, body: str, expected: tuple[int, str]) -> None:
    async with answering(body, status=status) as api:
        with pytest.raises(ApiError) as caught:
            await api.get(POD, "default", "weather")
    assert (caught.value.status, caught.value.reason) == expected
    assert len(str(caught.value)) < 3000


async def test_an_answer_that_does_not_come_is_an_error() -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with _listening(never, request_seconds=0.05) as api:
        with pytest.raises(ApiError, match="TimedOut"):
            await api.get(POD, "default", "weather")


async def test_credentials_that_are_no_longer_accepted_are_read_again(server: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "_LOGIN_AGAIN_SECONDS", 0)
    logins = 0

    async def load() -> Configuration:
        nonlocal logins
        logins += 1
        return await server.configuration()

    async with Api(load=load) as api:
        server.fail(401, "Unauthorized", times=1)
        with pytest.raises(ApiError, match="401"):
            await api.get(POD, "default", "weather")
        with pytest.raises(ApiError, match="404"):
            await api.get(POD, "default", "weather")
    assert logins == 2


async def test_wrong_credentials_do_not_lead_to_a_login_with_each_request(
    server: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "_LOGIN_AGAIN_SECONDS", 3600)
    logins = 0

    async def load() -> Configuration:
        nonlocal logins
        logins += 1
        return await server.configuration()

    async with Api(load=load) as api:
        server.fail(401, "Unauthorized", times=20)
        for _ in range(20):
            with pytest.raises(ApiError, match="401"):
                await api.get(POD, "default", "weather")
    assert logins == 1


async def test_a_token_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.Response(status=401)

    async with _listening(answer) as api:
        await api.log_in()
        assert api._connection is not None
        api._connection.configuration.api_key["BearerToken"] = "Bearer s3cret"
        with pytest.raises(ApiError) as caught:
            await api.get(POD, "default", "weather")
    assert seen == ["Bearer s3cret"]
    assert "s3cret" not in str(caught.value) + caplog.text


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(ApiError, match="NoCredentials") as caught:
        await load_configuration()
    assert "missing" in str(caught.value)


async def test_in_a_pod_without_a_token_there_are_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ApiError, match="NoCredentials"):
        await load_configuration()
