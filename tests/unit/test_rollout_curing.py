"""The lines of podTemplate that cure what a pod's rights forbid, from the very words of the API server and of programs."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mcp_operator.rollout.curing import cure_of_crash, explain_refusal
from tests.failures import lines_in

TEMPLATE = {"spec": {"containers": [{"name": "mcp"}, {"name": "proxy"}], "initContainers": [{"name": "fetch"}]}}
FORBIDDEN = 'pods are forbidden: violates PodSecurity "restricted:latest": '


CONTEXT = "securityContext"
REFUSALS: Mapping[str, tuple[str, Any, Sequence[str]]] = {
    "a sidecar without anything": (
        (
            'allowPrivilegeEscalation != false (container "proxy" must set securityContext.allowPrivilegeEscalation=false), '
            'unrestricted capabilities (container "proxy" must set securityContext.capabilities.drop=["ALL"])'
        ),
        {"containers": [{"name": "proxy", CONTEXT: {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}]},
        (),
    ),
    "two containers of two kinds": (
        'allowPrivilegeEscalation != false (containers "fetch", "proxy" must set securityContext.allowPrivilegeEscalation=false)',
        {
            "containers": [{"name": "proxy", CONTEXT: {"allowPrivilegeEscalation": False}}],
            "initContainers": [{"name": "fetch", CONTEXT: {"allowPrivilegeEscalation": False}}],
        },
        (),
    ),
    "root": (
        (
            'runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), runAsUser=0 (container "mcp" must not '
            "set runAsUser=0)"
        ),
        {CONTEXT: {"runAsNonRoot": True}, "containers": [{"name": "mcp", CONTEXT: {"runAsUser": 1000}}]},
        (),
    ),
    "seccomp": (
        'seccompProfile (pod or container "mcp" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
        {CONTEXT: {"seccompProfile": {"type": "RuntimeDefault"}}},
        (),
    ),
    "privileged": (
        'privileged (container "mcp" must not set securityContext.privileged=true)',
        {"containers": [{"name": "mcp", CONTEXT: {"privileged": False}}]},
        (),
    ),
    "added capabilities": (
        (
            'unrestricted capabilities (container "proxy" must set securityContext.capabilities.drop=["ALL"]; container "mcp" '
            'must not include "NET_ADMIN", "SYS_TIME" in securityContext.capabilities.add)'
        ),
        {"containers": [{"name": "proxy", CONTEXT: {"capabilities": {"drop": ["ALL"]}}}]},
        ('take out capabilities.add "NET_ADMIN", "SYS_TIME" of container "mcp"',),
    ),
    "the node's own": (
        (
            'host namespaces (hostNetwork=true), hostPort (container "mcp" uses hostPort 8080), restricted volume types (volume '
            '"h" uses restricted volume type "hostPath")'
        ),
        None,
        ('take out hostNetwork=true, hostPort 8080 of container "mcp", restricted volume type "hostPath" of volume "h"',),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_by_pod_security_carries_what_cures_each_violation(name: str) -> None:
    violations, lines, words = REFUSALS[name]
    message = explain_refusal(FORBIDDEN + violations, TEMPLATE)
    assert message.startswith(FORBIDDEN[:-2])
    assert lines_in(message) == lines
    assert all(word in message for word in words)
    assert message.endswith("or label the namespace pod-security.kubernetes.io/enforce with less than restricted")
    assert all(violation in message for violation in re.findall(r"(?:^|, )([\w !=]+) \(", violations))


def test_what_nobody_knows_a_cure_for_is_named() -> None:
    message = explain_refusal(FORBIDDEN + "forbidden sysctls (kernel.msgmax)", TEMPLATE)
    assert "take out kernel.msgmax" in message


def test_another_refusal_stays_as_it_is() -> None:
    assert explain_refusal("exceeded quota: small", TEMPLATE) == "exceeded quota: small"


LOW = {"name": "mcp", "ports": [{"containerPort": 80}]}
HIGH = {"name": "mcp", "ports": [{"containerPort": 8080}]}
CRASHES: Sequence[tuple[Mapping[str, Any], str, str]] = [
    (LOW, "PermissionError: [Errno 13] Permission denied", "ip_unprivileged_port_start"),
    (LOW, "Error: listen EACCES: permission denied 0.0.0.0:80", "ip_unprivileged_port_start"),
    (LOW, "bind() to 0.0.0.0:80 failed (13: Permission denied)", "ip_unprivileged_port_start"),
    (LOW, "listening on :80; no such table", ""),
    (LOW, "no such table", ""),
    (HIGH, "mkdir() '/var/cache/nginx' failed (13: Permission denied)", "volumeMounts"),
    (HIGH, "PermissionError: [Errno 13] Permission denied: '/app/cache'", "volumeMounts"),
    (HIGH, "open /data/forecasts: permission denied", "volumeMounts"),
    (HIGH, "psycopg.errors.InsufficientPrivilege: permission denied for table forecasts", ""),
    (HIGH, "git@example.com: Permission denied (publickey).", ""),
    (HIGH, "OSError: [Errno 30] Read-only file system: '/app'", "volumeMounts"),
    (HIGH, "chown failed (1: Operation not permitted)", "capabilities"),
    (HIGH, "password=hunter2", ""),
    (HIGH, "", ""),
]


@pytest.mark.parametrize(("spec", "said", "cure"), CRASHES)
def test_last_words_about_missing_rights_get_a_cure_and_are_not_repeated(spec: Mapping[str, Any], said: str, cure: str) -> None:
    told = cure_of_crash(spec, said)
    assert bool(told) == bool(cure)
    assert cure in told
    assert not said or said not in told
    assert told == "" or lines_in(told) is not None
