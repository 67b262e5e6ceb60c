"""The lines of podTemplate that cure what a pod's rights forbid, made from the words of whoever refused it.

Pods are made for the restricted Pod Security Standard. An image or a podTemplate that needs or brings more meets the API server's
Pod Security admission, kubelet, or the kernel. Pure text; `troubles` puts it into the messages of causes.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from mcp_operator.model.base import Object

ROOT_CURE = (
    "give it a user by podTemplate: {spec: {securityContext: {runAsUser: 1000}}}, "
    "or let it be root by podTemplate: {spec: {securityContext: {runAsNonRoot: false}}}"
)
_PORT_CURE = (
    "only root may listen on a port below 1024: allow port {port} to all by podTemplate: "
    '{{spec: {{securityContext: {{sysctls: [{{name: net.ipv4.ip_unprivileged_port_start, value: "0"}}]}}}}}}'
)
_SCRATCH_CURE = (
    "its last words are of a file that it may not change: if it has to, mount a volume at that DIR by podTemplate: "
    "{{spec: {{volumes: [{{name: scratch, emptyDir: {{}}}}], "
    "containers: [{{name: {name}, volumeMounts: [{{name: scratch, mountPath: DIR}}]}}]}}}}"
)
_CAPABILITY_CURE = (
    "its last words are of what only root may do: if it has to, give it those capabilities by podTemplate: "
    "{{spec: {{securityContext: {{runAsNonRoot: false, runAsUser: 0}}, containers: [{{name: {name}, "
    "securityContext: {{capabilities: {{add: [CHOWN, SETUID, SETGID]}}}}}}]}}}}"
)

_REFUSAL = re.compile(r'violates PodSecurity "(\w+):[^"]*"')
_NAMED = re.compile(r'"([^"]+)"')
_DENIED = re.compile(r"permission ?denied|EACCES", re.IGNORECASE)
_PATH = re.compile(r"(?:^|[\s'\"(=:])/[\w.-]")
_PRIVILEGED_PORTS = 1024
_MOST_CHARACTERS = 4096
"""Of a refusal: nobody reads more, and the search takes time with the square of it."""


def explain_refusal(message: str, template: Object) -> str:
    """A refusal by Pod Security admission, with what would let the pod in; what anybody else refused stays as it is.

    Args:
        message: the API server's; it names each violation and, in brackets, who has it.
        template: the pod template that was refused.
    """
    refused = _REFUSAL.search(message)
    if refused is None:
        return message
    pod: dict[str, Any] = {}
    contexts: dict[str, dict[str, Any]] = {}
    violations, takes = [], []
    for violation, details in _violations(message[refused.end() :]):
        violations.append(violation)
        for detail in details.split("; "):
            context = _cure(detail)
            if context is None:
                takes.append(_offence(detail))
            elif detail.startswith("pod "):
                pod |= context
            else:
                for name in _containers(detail):
                    contexts.setdefault(name, {}).update(context)
    lines = _lines(pod, contexts, template)
    steps = [f"set podTemplate: {lines}"] if lines else []
    steps += [f"take out {', '.join(dict.fromkeys(takes))}"] if takes else []
    steps.append(f"or label the namespace pod-security.kubernetes.io/enforce with less than {refused.group(1)}")
    return f"{message[: refused.end()]} ({', '.join(violations)}): {'; '.join(steps)}"


def cure_of_crash(spec: Object, last_words: str) -> str:
    """What may be done about a container that ended for want of a right; empty if its last words don't sound like it.

    They are read, and not repeated: who may see a cause need not be allowed to read the log.

    Args:
        spec: the container's part of the pod's spec.
        last_words: what it printed last, as the pod's status has it.
    """
    name = spec.get("name", "")
    low = [each["containerPort"] for each in spec.get("ports") or () if each["containerPort"] < _PRIVILEGED_PORTS]
    if re.search(r"read-only file system|EROFS", last_words, re.IGNORECASE):
        return _SCRATCH_CURE.format(name=name)
    denied = [line for line in last_words.splitlines() if _DENIED.search(line)]
    if low and denied:
        return _PORT_CURE.format(port=low[0])
    if any(_PATH.search(line) for line in denied):  # databases and brokers deny permissions, too
        return _SCRATCH_CURE.format(name=name)
    if re.search(r"operation ?not ?permitted|EPERM|must be run as root|are you root", last_words, re.IGNORECASE):
        return _CAPABILITY_CURE.format(name=name)
    return ""


def for_observed(message: str) -> str:
    """A message whose lines go into a workload's own template: one that is only observed has no podTemplate."""
    return message.replace("podTemplate: {", "spec.template: {")


def _violations(text: str) -> Iterator[tuple[str, str]]:
    """Each violation with what stands in the brackets behind it."""
    for match in re.finditer(r"([A-Za-z/][^,()]*?) \(((?:\"[^\"]*\"|[^()\"])*)\)", text[:_MOST_CHARACTERS]):
        yield match.group(1), match.group(2)


def _cure(detail: str) -> Mapping[str, Any] | None:
    """The part of a securityContext that undoes a violation; None if only taking something out does."""
    rules: Sequence[tuple[str, Mapping[str, Any]]] = (
        ("allowPrivilegeEscalation", {"allowPrivilegeEscalation": False}),
        ("capabilities.drop", {"capabilities": {"drop": ["ALL"]}}),
        ("runAsNonRoot", {"runAsNonRoot": True}),
        ("runAsUser=0", {"runAsUser": 1000}),
        ("seccompProfile", {"seccompProfile": {"type": "RuntimeDefault"}}),
        ("privileged=true", {"privileged": False}),
        ("procMount", {"procMount": "Default"}),
    )
    return next((context for word, context in rules if word in detail), None)


def _offence(detail: str) -> str:
    """What has to go: `hostNetwork=true`, `capabilities.add "NET_ADMIN" of container "mcp"`."""
    parts = re.split(r" (?:must not include|must not set|uses?) ", detail, maxsplit=1)
    who, what = parts if len(parts) == 2 else ("", detail)
    what = re.sub(r"(.*) in securityContext\.capabilities\.add", r"capabilities.add \1", what)
    return f"{what} of {who}" if who else what


def _containers(detail: str) -> Sequence[str]:
    """The containers that a violation names before it says what they must or must not have."""
    return _NAMED.findall(detail.split(" must ", 1)[0])


def _lines(pod: Mapping[str, Any], contexts: Mapping[str, Mapping[str, Any]], template: Object) -> str:
    """The podTemplate that sets these securityContexts, on one line; empty without any."""
    spec: dict[str, Any] = {"securityContext": pod} if pod else {}
    for field in ("containers", "initContainers"):
        names = [each["name"] for each in template.get("spec", {}).get(field) or () if each["name"] in contexts]
        if names:
            spec[field] = [{"name": name, "securityContext": contexts[name]} for name in names]
    whole = json.loads(json.dumps({"spec": spec}))  # so that YAML has no anchors for what is shared
    return yaml.safe_dump(whole, default_flow_style=True, sort_keys=False, width=10_000).strip() if spec else ""
