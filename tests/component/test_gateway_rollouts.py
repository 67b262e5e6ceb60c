"""GET /api/servers/{id}/rollouts: whose records it lists, and what it says when it can't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from mcp_operator.eventlog.memory import MemoryLog
from mcp_operator.gateway.examples import rollout_list
from mcp_operator.model.records import NamedRecord
from mcp_operator.model.statuses import Status
from tests.component.conftest import Loopback, StartGateway, one_engine
from tests.events import status, uid_of

pytestmark = one_engine
WEATHER = "default/weather"


@dataclass
class Archive:
    """Holds records by the server's UID."""

    synced: bool = True
    held: dict[str, Sequence[NamedRecord]] = field(default_factory=dict)

    def of(self, uid: str) -> Sequence[NamedRecord]:
        return self.held.get(uid, ())


def record(name: str) -> NamedRecord:
    return NamedRecord.model_validate({**rollout_list()["items"][0], "name": name})


@pytest.fixture
def archive() -> Archive:
    return Archive(held={uid_of(WEATHER): [record("weather-2"), record("weather-1")]})


@pytest.fixture
async def loopback(start_gateway: StartGateway, archive: Archive) -> Loopback:
    """A gateway that knows a server with two records, and one with none."""
    started = await start_gateway(records=archive)
    await started.tell(status(WEATHER), status("default/quiet"), status("default/gone", Status.DELETED))
    return started


@pytest.mark.parametrize("server_id", ["weather", "default:weather", uid_of(WEATHER)])
async def test_records_are_listed_by_any_name_of_the_server(loopback: Loopback, server_id: str) -> None:
    code, body = await loopback.get(f"/api/servers/{server_id}/rollouts")
    assert code == 200
    assert [item["name"] for item in body["items"]] == ["weather-2", "weather-1"]
    assert body["items"][0] == {**rollout_list()["items"][0], "name": "weather-2"}


async def test_a_server_without_records_has_an_empty_list(loopback: Loopback) -> None:
    assert await loopback.get("/api/servers/quiet/rollouts") == (200, {"items": []})


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/servers/never-was/rollouts", 404),
        ("/api/servers/gone/rollouts", 404),
        ("/api/servers/Not_A_Name/rollouts", 400),
        ("/api/servers/weather/rollouts?limit=3", 400),
    ],
)
async def test_what_can_not_be_answered_is_refused(loopback: Loopback, path: str, code: int) -> None:
    assert (await loopback.get(path))[0] == code


async def test_head_has_no_body_and_nothing_can_be_written(loopback: Loopback) -> None:
    assert await loopback.get("/api/servers/weather/rollouts", method="HEAD") == (200, None)
    assert (await loopback.get("/api/servers/weather/rollouts", method="DELETE"))[0] == 405


@pytest.mark.parametrize("missing", ["cluster", "records"])
async def test_before_all_is_known_nothing_final_is_said(loopback: Loopback, archive: Archive, missing: str) -> None:
    loopback.synced, archive.synced = missing != "cluster", missing != "records"
    for server_id in ("weather", "never-was"):
        code, problem = await loopback.get(f"/api/servers/{server_id}/rollouts")
        assert (code, problem["status"]) == (503, 503)
    if missing == "records":
        assert (await loopback.get("/api/servers/weather"))[0] == 200


async def test_other_pages_may_read_it_where_the_settings_say_so(start_gateway: StartGateway, archive: Archive) -> None:
    origin = "https://dashboard.example"
    loopback = await start_gateway(log=MemoryLog(capacity=10), records=archive, http={"cors_origins": (origin,)})
    await loopback.tell(status(WEATHER))
    url = f"{loopback.url}/api/servers/weather/rollouts"
    async with loopback.session.get(url, headers={"Origin": origin}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert response.headers["Cache-Control"] == "no-store"
