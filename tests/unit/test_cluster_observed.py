"""Which objects belong to a server that observes a workload of somebody else, and what two watches of one kind come to."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from mcp_operator.apiserver.kinds import DEPLOYMENT, EVENT, MCP_SERVER, POD, REPLICA_SET, STATEFUL_SET, Kind
from mcp_operator.cluster.grouping import Families, Family
from mcp_operator.cluster.targeting import Joint
from mcp_operator.cluster.watching import Change
from tests.builders import (
    Object,
    deployment,
    having,
    kubernetes_event,
    mcpserver,
    observer,
    owned_by,
    pod,
    replicaset,
    stateful_pod,
    statefulset,
    uid,
)

SET = statefulset("maps")
INSTANCE = stateful_pod("maps-0", "maps-7d4b9")
OBSERVER = observer("watcher", of=SET)
UID: str = OBSERVER["metadata"]["uid"]
WARNING = kubernetes_event("FailedCreate", "refused", about=SET)
OBJECTS: tuple[tuple[Kind, Object], ...] = (
    (MCP_SERVER, OBSERVER),
    (STATEFUL_SET, SET),
    (POD, INSTANCE),
    (EVENT, WARNING),
)


def added(body: Object) -> Change:
    return Change(old=None, new=body)


def removed(body: Object) -> Change:
    return Change(old=body, new=None)


def families_of(*objects: tuple[Kind, Object]) -> Families:
    families = Families()
    for kind, body in objects:
        families.take(kind, added(body))
    return families


def whole(families: Families, server: str = UID) -> Family:
    family = families.family(server)
    assert family is not None
    return family


@pytest.mark.parametrize("order", list(itertools.permutations(range(len(OBJECTS)))))
def test_in_any_order_an_observed_family_comes_together(order: tuple[int, ...]) -> None:
    families = Families()
    concerned = [families.take(OBJECTS[index][0], added(OBJECTS[index][1])) for index in order]
    family = whole(families)
    assert (family.workload, family.pods, family.warnings) == (SET, (INSTANCE,), (WARNING,))
    assert concerned[-1] == {UID}


def test_several_servers_may_observe_one_workload_also_one_that_another_server_owns() -> None:
    one, two = observer("one", of=deployment()), observer("two", of=deployment())
    families = families_of((MCP_SERVER, mcpserver()), (MCP_SERVER, one), (MCP_SERVER, two), (DEPLOYMENT, deployment()))
    families.take(REPLICA_SET, added(replicaset()))
    everyone = {each["metadata"]["uid"] for each in (mcpserver(), one, two)}
    assert families.take(POD, added(pod())) == everyone
    assert all(whole(families, server).pods == (pod(),) for server in everyone)

    families.take(MCP_SERVER, removed(one))
    assert whole(families, one["metadata"]["uid"]).observes is not None, "so that nobody takes the pods for going"
    assert families.take(POD, Change(old=pod(), new=pod())) == everyone - {one["metadata"]["uid"]}
    assert whole(families, one["metadata"]["uid"]).pods == ()


def test_an_object_of_another_kind_or_namespace_is_not_the_one_that_is_named() -> None:
    elsewhere = statefulset("maps", having("metadata.namespace", "elsewhere"), uid("elsewhere"))
    families = families_of((MCP_SERVER, OBSERVER), (DEPLOYMENT, deployment("maps")), (STATEFUL_SET, elsewhere))
    assert whole(families).workload is None


def test_pods_of_a_deleted_workload_stay_until_another_takes_its_name() -> None:
    families = families_of(*OBJECTS)
    assert families.take(STATEFUL_SET, removed(SET)) == {UID}
    assert (whole(families).workload, whole(families).pods) == (None, (INSTANCE,))

    again = statefulset("maps", uid("again"))
    assert families.take(STATEFUL_SET, added(again)) == {UID}
    assert (whole(families).workload, whole(families).pods) == (again, ())
    families.take(POD, added(stateful_pod("maps-0", "maps-5c6f8", owned_by(again))))
    assert len(whole(families).pods) == 1


def test_a_server_may_observe_another_workload_later() -> None:
    families = families_of(*OBJECTS, (DEPLOYMENT, deployment("other")))
    edited = observer("watcher", of=deployment("other"))
    families.take(MCP_SERVER, Change(old=OBSERVER, new=edited))
    assert (whole(families).workload, whole(families).pods) == (deployment("other"), ())
    assert families.take(POD, Change(old=INSTANCE, new=INSTANCE)) == set()


def test_nothing_stays_behind_of_servers_and_workloads_that_come_and_go() -> None:
    families = Families()
    for number in range(10):
        names = having("metadata.uid", f"uid-{number}")
        workload = statefulset("maps", names)
        instance = stateful_pod("maps-0", f"maps-{number}", owned_by(workload))
        lives = ((MCP_SERVER, observer("watcher", uid(f"server-{number}"), of=SET)), (STATEFUL_SET, workload), (POD, instance))
        for kind, body in lives:
            families.take(kind, added(body))
        for kind, body in lives:
            families.take(kind, removed(body))
        families.forget(f"server-{number}")
    left: dict[str, Any] = {name: value for name, value in vars(families).items() if value}
    assert left == {}


def versioned(version: int) -> Object:
    return pod("maps-1-x", having("metadata.resourceVersion", str(version)))


OURS, OTHERS = True, False
PASSED_ON: dict[str, tuple[list[tuple[bool, int | None, int | None]], list[bool]]] = {
    "one watch alone": ([(OURS, 1, 2), (OURS, 2, None)], [True, True]),
    "it loses our label, and the other watch is first": (
        [(OURS, None, 1), (OTHERS, None, 2), (OURS, 1, None)],
        [True, True, False],
    ),
    "it loses our label, and the other watch is last": (
        [(OURS, None, 1), (OURS, 1, None), (OTHERS, None, 2)],
        [True, True, True],
    ),
    "an older version comes late": ([(OTHERS, None, 5), (OURS, None, 3)], [True, False]),
    "both tell its end": ([(OURS, None, 1), (OTHERS, None, 1), (OTHERS, 1, None), (OURS, 1, None)], [True, True, False, True]),
}


@pytest.mark.parametrize("case", PASSED_ON)
def test_two_watches_of_a_kind_make_one_story(case: str) -> None:
    changes, expected = PASSED_ON[case]
    joint = Joint()
    passed = []
    for ours, old, new in changes:
        change = Change(
            old=versioned(old) if old is not None else None,
            new=versioned(new) if new is not None else None,
        )
        passed.append(joint.take(change, ours=ours) is not None)
    assert passed == expected
