"""What every event log knows about each server at a position."""

from __future__ import annotations

import json

import pytest

from mcp_operator.eventlog.log import EVERYTHING, Selection
from mcp_operator.model.labels import Selector
from mcp_operator.model.operations import Outcome
from mcp_operator.model.statuses import Status
from tests.events import labelled, line, metrics, progress, status, uid_of
from tests.logs import LOGS, MakeLog, fill

pytestmark = pytest.mark.parametrize("make_log", LOGS)


async def test_a_snapshot_has_progress_only_while_an_operation_is_open(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [status("default/a", Status.DEPLOYING), progress("default/a", 10), progress("default/a", 40)])
    during = await log.snapshot(EVERYTHING)
    await fill(log, [progress("default/a", 100, outcome=Outcome.SUCCEEDED), status("default/a")])
    after = await log.snapshot(EVERYTHING)

    assert during.servers[0].progress is not None
    assert json.loads(during.servers[0].progress.data)["percent"] == 40
    assert after.servers[0].progress is None
    assert after.position == log.head


async def test_a_snapshot_has_the_newest_metrics(make_log: MakeLog) -> None:
    log = make_log(100)
    await fill(log, [status("default/a"), status("default/b"), metrics("default/a", 1), metrics("default/a", 2)])

    measured, unmeasured = (await log.snapshot(EVERYTHING)).servers

    assert measured.metrics is not None
    assert json.loads(measured.metrics.data)["cpu"] == 2
    assert unmeasured.metrics is None


async def test_a_line_alone_makes_no_server_known(make_log: MakeLog) -> None:
    log = make_log(100)
    await log.append(line("default/a"))

    assert (await log.snapshot(EVERYTHING, tail=10)).servers == ()


@pytest.mark.parametrize(
    ("selection", "servers"),
    [
        (EVERYTHING, ["default/a", "default/a", "default/b", "team/c"]),
        (Selection(uid=uid_of("default/a", life=2)), ["default/a"]),
        (Selection(uid=uid_of("default/nobody")), []),
        (Selection(servers=frozenset({status("default/a").server, uid_of("team/c")})), ["default/a", "default/a", "team/c"]),
        (Selection(namespaces=frozenset({"team"})), ["team/c"]),
        (Selection(selector=Selector.parse("tier=gold")), ["default/b"]),
        (Selection(selector=Selector.parse("tier!=gold"), namespaces=frozenset({"default"})), ["default/a", "default/a"]),
    ],
)
async def test_a_snapshot_is_of_the_selected_servers_as_they_are_labelled_now(
    make_log: MakeLog, selection: Selection, servers: list[str]
) -> None:
    log = make_log(100)
    await fill(log, [labelled(status("team/c"), tier="gold"), status("default/b"), status("default/a", Status.DELETED)])
    await fill(log, [labelled(progress("default/b", 10), tier="gold"), labelled(metrics("team/c"), tier="silver")])
    await log.append(status("default/a", life=2))

    assert [str(known.server) for known in (await log.snapshot(selection)).servers] == servers
