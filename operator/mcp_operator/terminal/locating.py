"""Finding the operator in a cluster: which of its pods has the gateway. Pure but for `find`, which asks the API server."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mcp_operator.apiserver.connecting import Api
from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.forwarding import PodPort
from mcp_operator.apiserver.kinds import POD
from mcp_operator.model.base import Object
from mcp_operator.terminal.errors import AwayError, TerminalError

logger = logging.getLogger(__name__)

OPERATOR_LABEL = "app.kubernetes.io/name=mcp-operator"
"""What the operator's pods bear (deploy/operator)."""
OPERATOR_NAMESPACE = "mcp-operator-system"
"""Where the operator is, unless somebody has put it elsewhere."""

_GATEWAY_PORT_NAME = "http"
_GATEWAY_PORT = 8080
_MOST_PODS = 100
_OTHERWISE = "give the gateway's URL by --gateway"


async def find(api: Api, *, namespace: str | None) -> PodPort:
    """The gateway's port in a pod that is ready.

    Args:
        namespace: the operator's; None looks in all of them, or where that is forbidden in OPERATOR_NAMESPACE.

    Raises:
        AwayError: there is none, or none that is ready.
        TerminalError: there are several operators, or looking for it is forbidden.
        ApiError: the API server can't be asked.
    """
    looked_at = namespace
    try:
        pods = await _pods(api, namespace)
    except ApiError as error:
        if error.status != 403 or namespace is not None:
            raise _forbidden(error, namespace) if error.status == 403 else error from None
        looked_at = OPERATOR_NAMESPACE
        logger.debug("Pods of all namespaces can't be listed: looking in %s.", looked_at)
        try:
            pods = await _pods(api, looked_at)
        except ApiError as again:
            raise _forbidden(again, looked_at) if again.status == 403 else again from None
    return choose(pods, looked_at=looked_at)


async def _pods(api: Api, namespace: str | None) -> Sequence[Object]:
    page = await api.list_page(POD, namespace, selectors={"labelSelector": OPERATOR_LABEL}, limit=_MOST_PODS, token=None)
    return list(page.get("items") or ())


def choose(pods: Sequence[Object], *, looked_at: str | None) -> PodPort:
    """The newest pod that is ready.

    Args:
        pods: all pods with the operator's label in the namespaces that were looked at.
        looked_at: the namespace, None for all.

    Raises:
        AwayError: there is none, or none that is ready.
        TerminalError: there are operators in several namespaces, none of them the usual one.
    """
    where = "any namespace" if looked_at is None else f"the namespace {looked_at}"
    alive = [pod for pod in pods if pod["metadata"].get("deletionTimestamp") is None]
    if not alive:
        raise AwayError(
            f"No operator is in {where} of this cluster (no pod with the label {OPERATOR_LABEL}): install it, "
            f"say where it is by --operator-namespace, or {_OTHERWISE}"
        )
    namespaces = {pod["metadata"]["namespace"] for pod in alive}
    if len(namespaces) > 1 and OPERATOR_NAMESPACE not in namespaces:
        raise TerminalError(
            f"Operators are in the namespaces {', '.join(sorted(namespaces))}: say which you mean by --operator-namespace"
        )
    if len(namespaces) > 1:
        alive = [pod for pod in alive if pod["metadata"]["namespace"] == OPERATOR_NAMESPACE]
    ready = [pod for pod in alive if _is_ready(pod)]
    if not ready:
        pod = alive[0]["metadata"]
        raise AwayError(
            f"The operator's pod {pod['namespace']}/{pod['name']} is not ready: "
            f"`kubectl -n {pod['namespace']} describe pod {pod['name']}` says why"
        )
    newest = max(ready, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
    return PodPort(newest["metadata"]["namespace"], newest["metadata"]["name"], _port(newest))


def _forbidden(error: ApiError, namespace: str | None) -> TerminalError:
    where = "of the cluster" if namespace is None else f"of the namespace {namespace}"
    return TerminalError(
        f"You may not look for the operator: listing the pods {where} is forbidden ({error.message}). Ask for the ClusterRole "
        f"mcp-operator-terminal in the operator's namespace, or {_OTHERWISE}"
    )


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _port(pod: Object) -> int:
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == _GATEWAY_PORT_NAME:
                return int(port["containerPort"])
    return _GATEWAY_PORT
