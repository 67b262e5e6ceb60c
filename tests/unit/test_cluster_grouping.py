"""Which object belongs to which server, in whatever order the watches bring them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from mcp_operator.apiserver.kinds import AUTOSCALER, DEPLOYMENT, EVENT, MCP_SERVER, POD, REPLICA_SET, SERVICE, Kind
from mcp_operator.cluster.grouping import Families, Family
from mcp_operator.cluster.watching import Change
from mcp_operator.model.labels import NO_LABELS
from mcp_operator.model.servers import ServerName
from tests.builders import (
    autoscaler,
    deployment,
    having,
    kubernetes_event,
    labelled,
    mcpserver,
    owned_by,
    pod,
    replicaset,
    service,
    uid,
)

SERVER = mcpserver()
UID: str = SERVER["metadata"]["uid"]
POD_OBJECT = pod()
OBJECTS: tuple[tuple[Kind, Mapping[str, Any]], ...] = (
    (MCP_SERVER, SERVER),
    (DEPLOYMENT, deployment()),
    (REPLICA_SET, replicaset()),
    (POD, POD_OBJECT),
    (EVENT, kubernetes_event("BackOff", "Back-off pulling image", about=POD_OBJECT)),
)


def added(body: Mapping[str, Any]) -> Change:
    return Change(old=None, new=body)


def removed(body: Mapping[str, Any]) -> Change:
    return Change(old=body, new=None)


def whole(families: Families, uid: str = UID) -> Family:
    family = families.family(uid)
    assert family is not None
    return family


def told(family: Family) -> tuple[bool, bool, int, int, int]:
    return (
        family.server is not None,
        family.workload is not None,
        len(family.replica_sets),
        len(family.pods),
        len(family.warnings),
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(len(OBJECTS)))))
def test_in_any_order_the_family_comes_together_and_its_server_hears_of_the_last_piece(order: tuple[int, ...]) -> None:
    families = Families()
    concerned = [families.take(OBJECTS[index][0], added(OBJECTS[index][1])) for index in order]
    assert told(whole(families)) == (True, True, 1, 1, 1)
    assert concerned[-1] == {UID}


def test_owners_may_go_before_what_they_own() -> None:
    families = Families()
    for kind, body in OBJECTS:
        families.take(kind, added(body))
    for kind, body in OBJECTS[:3]:
        assert families.take(kind, removed(body)) == {UID}
    assert told(whole(families)) == (False, False, 0, 1, 1)
    assert whole(families).name == ServerName("default", "weather")

    assert families.take(POD, removed(POD_OBJECT)) == {UID}
    assert told(whole(families)) == (False, False, 0, 0, 0)
    families.forget(UID)
    assert families.family(UID) is None


def test_pods_of_an_orphaned_deployment_leave_the_family() -> None:
    families = Families()
    for kind, body in OBJECTS:
        families.take(kind, added(body))
    orphan = deployment("weather", having("metadata.ownerReferences", []))
    assert families.take(DEPLOYMENT, Change(old=deployment(), new=orphan)) == {UID}
    assert told(whole(families)) == (True, False, 0, 0, 0)


def test_a_server_created_again_has_a_family_of_its_own_and_hears_of_what_its_namesake_leaves() -> None:
    families = Families()
    for kind, body in OBJECTS:
        families.take(kind, added(body))
    families.take(MCP_SERVER, removed(SERVER))
    again = mcpserver("weather", uid("second"))
    families.take(MCP_SERVER, added(again))

    assert told(whole(families, "second")) == (True, False, 0, 0, 0)
    assert told(whole(families)) == (False, True, 1, 1, 1)
    assert families.named(DEPLOYMENT, ServerName("default", "weather")) == deployment()
    assert families.take(DEPLOYMENT, removed(deployment())) == {UID, "second"}
    assert families.named(DEPLOYMENT, ServerName("default", "weather")) is None


def test_a_late_deletion_does_not_hide_the_newer_object_of_the_name() -> None:
    families = Families()
    families.take(SERVICE, added(service()))
    newer = service("weather", uid("newer"))
    families.take(SERVICE, added(newer))
    families.take(SERVICE, removed(service()))
    assert families.named(SERVICE, ServerName("default", "weather")) == newer


def test_what_belongs_to_nobody_concerns_nobody() -> None:
    families = Families()
    stranger = pod("other-1-x", having("metadata.ownerReferences", []))
    assert families.take(POD, added(stranger)) == set()
    assert families.take(EVENT, added(kubernetes_event("BackOff", "...", about=stranger))) == set()
    assert families.take(POD, added(pod("else-1-x", owned_by(replicaset("else-1"))))) == set()
    assert families.take(POD, removed(pod("never-1-seen"))) == set()


def test_a_deleted_server_has_its_name_until_it_is_forgotten() -> None:
    families = Families()
    families.take(MCP_SERVER, added(mcpserver()))
    families.take(MCP_SERVER, removed(mcpserver()))
    assert families.names() == {UID: ServerName("default", "weather")}
    families.forget(UID)
    assert not families.names()


def test_labels_are_the_newest_and_of_a_deleted_server_the_last() -> None:
    families = Families()
    assert families.labels(UID) == NO_LABELS
    old, new = (mcpserver("weather", labelled(labels)) for labels in ({"tier": "web"}, {"tier": "api", "team": "maps"}))
    families.take(MCP_SERVER, added(old))
    assert families.labels(UID) == (("tier", "web"),)
    families.take(MCP_SERVER, Change(old=old, new=new))
    assert families.labels(UID) == (("team", "maps"), ("tier", "api"))
    for step in (lambda: families.take(MCP_SERVER, removed(new)), lambda: families.forget(UID)):
        step()
        assert families.labels(UID) == (("team", "maps"), ("tier", "api"))


def test_servers_with_equal_labels_share_them() -> None:
    families = Families()
    for number in range(3):
        families.take(
            MCP_SERVER, added(mcpserver(f"weather-{number}", labelled({"tier": "".join(["w", "eb"])}), uid(f"{number}")))
        )
    assert len({id(families.labels(str(number))) for number in range(3)}) == 1


def test_of_forgotten_servers_only_the_newest_labels_are_kept() -> None:
    families = Families()
    for number in range(1500):
        server = mcpserver("weather", labelled({"number": str(number)}), uid(f"life-{number}"))
        for change in (added(server), removed(server)):
            families.take(MCP_SERVER, change)
        families.forget(f"life-{number}")
    known = [number for number in range(1500) if families.labels(f"life-{number}")]
    assert known == list(range(500, 1500))


def test_a_server_that_was_never_known_leaves_nothing_behind() -> None:
    families = Families()
    families.take(MCP_SERVER, removed(mcpserver("weather", labelled({"tier": "web"}))))
    assert families.labels(UID) == NO_LABELS


def test_an_autoscaler_belongs_to_the_server_that_it_scales_even_if_it_comes_first() -> None:
    families = Families()
    assert families.take(AUTOSCALER, added(autoscaler())) == set()
    families.take(MCP_SERVER, added(SERVER))
    assert [each["metadata"]["name"] for each in whole(families).autoscalers] == ["weather"]

    elsewhere = autoscaler("weather", having("spec.scaleTargetRef.name", "traffic"))
    assert families.take(AUTOSCALER, Change(old=autoscaler(), new=elsewhere)) == {UID}
    assert whole(families).autoscalers == ()

    assert families.take(AUTOSCALER, Change(old=elsewhere, new=autoscaler())) == {UID}
    assert families.take(AUTOSCALER, removed(autoscaler())) == {UID}
    assert whole(families).autoscalers == ()


@pytest.mark.parametrize(
    ("api_version", "kind"), [("apps/v1", "Deployment"), ("example.com/v1", "MCPServer"), (None, "MCPServer")]
)
def test_an_autoscaler_of_something_else_of_the_same_name_is_none_of_the_server_s(api_version: str | None, kind: str) -> None:
    families = Families()
    families.take(MCP_SERVER, added(SERVER))

    other = autoscaler("weather", having("spec.scaleTargetRef", {"apiVersion": api_version, "kind": kind, "name": "weather"}))

    assert families.take(AUTOSCALER, added(other)) == set()
    assert whole(families).autoscalers == ()


def test_a_warning_about_an_autoscaler_belongs_to_the_server_that_it_scales() -> None:
    families = Families()
    families.take(MCP_SERVER, added(SERVER))
    warning = kubernetes_event("FailedGetResourceMetric", "no metrics", about=autoscaler())
    assert families.take(EVENT, added(warning)) == set(), "of what it scales nothing is known yet"
    assert families.take(AUTOSCALER, added(autoscaler())) == {UID}
    assert whole(families).warnings == (warning,)
    assert families.take(EVENT, Change(old=warning, new=warning)) == {UID}

    families.take(AUTOSCALER, removed(autoscaler()))
    assert whole(families).warnings == ()
    assert families.take(EVENT, removed(warning)) == set()


def test_nothing_stays_behind_of_autoscalers_that_come_and_go() -> None:
    families = Families()
    warning = kubernetes_event("FailedGetResourceMetric", "no metrics", about=autoscaler())
    for change in (added, removed):
        families.take(AUTOSCALER, change(autoscaler()))
        families.take(EVENT, change(warning))
    assert {name: value for name, value in vars(families).items() if value} == {}
