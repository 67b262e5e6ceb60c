"""Two clusters on one machine share nothing: what differs derives from name and directory, what is started from a plain table."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.cgroups import hierarchies
from local_cluster.components import components
from local_cluster.errors import ClusterError
from local_cluster.layout import Layout
from local_cluster.plan import Component, Plan
from local_cluster.processes import ProcessId
from local_cluster.record import Options, Record

PORTS = st.integers(0, 65535)
ARGUMENTS = st.lists(st.text(), max_size=3).map(tuple)


def test_clusters_of_one_name_in_two_clones_have_two_identities(tmp_path: Path) -> None:
    first, second = (Layout.of("demo", tmp_path / clone) for clone in ("a", "b"))

    assert first.identity != second.identity
    assert first.identity == Layout.of("demo", tmp_path / "b" / ".." / "a").identity


@pytest.mark.parametrize("name", ["", "Demo", "a" * 21, "-demo", "demo-", "a/b", "..", "a b"])
def test_a_name_that_cannot_be_a_directory_or_a_control_group_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="can't name a cluster: use 1 to 20 lower-case letters, digits and dashes"):
        Layout.of(name, tmp_path)


def test_flags_are_added_to_the_component_they_name() -> None:
    plain = components(cgroup_root="/x", forwards={}, flags={})
    flagged = components(cgroup_root="/x", forwards={}, flags={"kube-apiserver": ["--etcd-compaction-interval=2s"]})

    changed = [(before, after) for before, after in zip(plain, flagged, strict=True) if before != after]
    assert [(before.name, after.argv[len(before.argv) :]) for before, after in changed] == [
        ("kube-apiserver", ("--etcd-compaction-interval=2s",))
    ]


def test_flags_for_an_unknown_component_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ClusterError, match="no component 'apiserver' to give flags to: name one of etcd, containerd, kube-api"):
        components(cgroup_root="/x", forwards={}, flags={"apiserver": ["--v=4"]})


def test_only_the_forwarder_inherits_listening_sockets() -> None:
    node = components(cgroup_root="/x", forwards={7: "127.0.0.1:6443", 9: "172.30.0.1:30080"}, flags={})

    assert {each.name: each.sockets for each in node if each.sockets} == {"forwarder": (7, 9)}
    (forwarder,) = (each for each in node if each.sockets)
    assert forwarder.argv[-2:] == ("7=127.0.0.1:6443", "9=172.30.0.1:30080")


@given(
    st.builds(
        Plan,
        state=st.text(),
        components=st.lists(
            st.builds(Component, name=st.text(), argv=ARGUMENTS, needs_api=st.booleans(), sockets=st.lists(PORTS).map(tuple))
        ).map(tuple),
    )
)
def test_a_node_gets_the_plan_that_was_made(plan: Plan) -> None:
    assert Plan.decode(plan.encode()) == plan


def test_half_a_plan_is_none() -> None:
    data = Plan(state="/state", components=components(cgroup_root="/x", forwards={}, flags={})).encode()

    for length in (0, 1, len(data) // 2, len(data) - 1):
        with pytest.raises(json.JSONDecodeError):
            Plan.decode(data[:length])


FORWARDS = st.dictionaries(PORTS, PORTS, max_size=3)


@given(
    st.builds(
        Record,
        process=st.builds(ProcessId, pid=st.integers(1), started=st.integers(0), boot=st.text()),
        api_port=PORTS,
        forwards=FORWARDS,
        options=st.builds(Options, api_port=PORTS, forwards=FORWARDS, flags=st.dictionaries(st.text(), ARGUMENTS, max_size=3)),
    )
)
def test_a_record_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, record: Record) -> None:
    file = tmp_path_factory.mktemp("record") / "cluster.json"
    record.write(file)
    assert Record.read(file) == record


HYBRID = """\
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
"""
UNIFIED = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n/dev/vda / ext4 rw 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        (HYBRID, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"]),
        (UNIFIED, ["/sys/fs/cgroup"]),
    ],
    ids=["hybrid", "unified"],
)
def test_control_groups_are_made_in_every_hierarchy(mounts: str, found: list[str]) -> None:
    assert [str(each) for each in hierarchies(mounts)] == found
