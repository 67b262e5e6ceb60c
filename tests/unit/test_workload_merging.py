"""What people write in podTemplate is merged over the pod as Kubernetes' strategic merge patch does (the table: merging.yaml)."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.workload.merging import POD_SPEC, InvalidPodTemplateError, merge

TABLE = yaml.safe_load(Path(__file__).with_name("merging.yaml").read_text())
POD = TABLE["pod"]
PATH = "spec.podTemplate.spec"


def expected(case: dict[str, Any]) -> dict[str, Any]:
    """The pod of the table with what the case says is different; of the container it may say so alone."""
    pod: dict[str, Any] = {**copy.deepcopy(POD), **case.get("merged", {})}
    pod["containers"][0].update(case.get("container", {}))
    for field in case.get("without", ()):
        del pod["containers"][0][field]
    return pod


@pytest.mark.parametrize("case", [case for case in TABLE["cases"] if "refused" not in case], ids=lambda case: case["name"])
def test_a_patch_is_merged(case: dict[str, Any]) -> None:
    assert merge(POD, case["patch"], POD_SPEC, path=PATH) == expected(case)


@pytest.mark.parametrize("case", [case for case in TABLE["cases"] if "refused" in case], ids=lambda case: case["name"])
def test_a_patch_that_cannot_be_merged_is_refused_with_its_path(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidPodTemplateError) as refused:
        merge(POD, case["patch"], POD_SPEC, path=PATH)

    assert str(refused.value) == case["refused"]
    assert refused.value.reason == "InvalidPodTemplate"


def test_what_is_nested_deeper_than_any_pod_is_refused() -> None:
    patch: dict[str, Any] = {}
    for _ in range(500):
        patch = {"affinity": patch}

    with pytest.raises(InvalidPodTemplateError, match="nested more than 32 levels deep"):
        merge(POD, patch, POD_SPEC, path=PATH)


names = st.sampled_from(["mcp", "log", "LEVEL", "TOKEN", "data"])
leaves = st.one_of(st.integers(0, 9), st.sampled_from(["a", "b"]), st.none())
directives = st.sampled_from([{}, {}, {}, {"$patch": "merge"}, {"$patch": "replace"}, {"$patch": "delete"}])


def objects(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda given, directive: {**given, **directive}, st.fixed_dictionaries({}, optional=fields), directives)


def named(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[Any]]:
    items = st.builds(lambda name, item: {**item, "name": name}, names, objects(fields))
    return st.lists(items, max_size=3, unique_by=lambda item: item["name"])


PROBE = {kind: st.fixed_dictionaries({}, optional={"port": leaves}) for kind in ("httpGet", "tcpSocket", "exec")}
CONTAINER = {
    "image": st.sampled_from(["a", "b"]),
    "env": named({"value": st.sampled_from(["x", ""]), "valueFrom": st.fixed_dictionaries({})}),
    "readinessProbe": objects(PROBE),
}
patches = st.fixed_dictionaries(
    {},
    optional={
        "containers": named(CONTAINER),
        "initContainers": named(CONTAINER),
        "volumes": named({"emptyDir": objects({})}),
        "securityContext": objects({"runAsUser": st.integers(0, 9), "runAsNonRoot": st.none()}),
        "tolerations": st.lists(st.fixed_dictionaries({"key": names}), max_size=2),
        "priorityClassName": st.one_of(st.none(), st.just("high")),
    },
)


@given(patches)
def test_merging_again_changes_nothing(patch: dict[str, Any]) -> None:
    once = merge(POD, patch, POD_SPEC, path=PATH)

    assert merge(once, patch, POD_SPEC, path=PATH) == once


@given(patches, st.randoms(use_true_random=False))
def test_the_order_in_which_named_things_are_written_does_not_matter(patch: dict[str, Any], random: Any) -> None:
    shuffled = {name: patch[name] for name in random.sample(sorted(patch), len(patch))}
    for name in ("containers", "initContainers", "volumes"):
        if name in shuffled:
            shuffled[name] = random.sample(shuffled[name], len(shuffled[name]))

    def by_name(pod: dict[str, Any]) -> dict[str, Any]:
        return {
            field: {item["name"]: item for item in value} if field in {"containers", "initContainers", "volumes"} else value
            for field, value in pod.items()
        }

    assert by_name(merge(POD, shuffled, POD_SPEC, path=PATH)) == by_name(merge(POD, patch, POD_SPEC, path=PATH))


@given(patches)
def test_merging_changes_neither_the_pod_nor_the_patch(patch: dict[str, Any]) -> None:
    pod_before, patch_before = copy.deepcopy(POD), copy.deepcopy(patch)

    merge(POD, patch, POD_SPEC, path=PATH)

    assert (pod_before, patch_before) == (POD, patch)


@given(patches)
def test_no_directive_and_no_null_reaches_kubernetes(patch: dict[str, Any]) -> None:
    def check(value: Any) -> None:
        assert value is not None
        if isinstance(value, dict):
            assert not [name for name in value if name.startswith("$")]
        if isinstance(value, dict | list):
            for below in value.values() if isinstance(value, dict) else value:
                check(below)

    check(merge(POD, patch, POD_SPEC, path=PATH))


@given(patches)
def test_of_fields_that_exclude_each_other_a_patch_that_names_one_leaves_one(patch: dict[str, Any]) -> None:
    def handlers(pod: dict[str, Any]) -> set[str]:
        probes = [item.get("readinessProbe", {}) for item in pod.get("containers", ()) if item["name"] == "mcp"]
        return {kind for probe in probes for kind in PROBE if kind in probe}

    assert len(handlers(merge(POD, patch, POD_SPEC, path=PATH))) <= max(1, len(handlers(patch)))
