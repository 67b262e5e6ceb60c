"""Who we are for the API server: credentials, found as kubectl finds them, and sessions that use them.

They are read by `kubernetes.aio.config`, which knows kubeconfig files, exec plugins, OIDC and rotating service account tokens.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from yaml import YAMLError

from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MANAGER

_LOGIN_SECONDS = 30.0
"""For exec plugins and identity providers."""

_UNREADABLE = (config.ConfigException, OSError, ValueError, YAMLError, LookupError, TypeError, AttributeError)
"""What reading credentials raises; the last three where a kubeconfig is YAML of another shape than it should have."""

_DEFAULT_NAMESPACE = "default"
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def load_configuration(*, kubeconfig: str | None = None, context: str | None = None) -> Configuration:
    """Find the cluster: by what is given here, else by $KUBECONFIG, else in a pod by its service account, else by ~/.kube/config.

    Args:
        kubeconfig: path of a kubeconfig file.
        context: name of a context in the kubeconfig; None for its current one.

    Raises:
        ApiError: reason NoCredentials, when none of them gives any.
    """
    configuration = Configuration()
    in_pod = _in_pod(kubeconfig, context)
    path = "the pod's service account" if in_pod else _kubeconfig_path(kubeconfig)
    if not in_pod and not _exists(path):
        raise ApiError(status=None, reason="NoCredentials", message=f"{path} isn't there")
    try:
        async with asyncio.timeout(_LOGIN_SECONDS):
            if in_pod:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # no annotations there
            else:
                await config.load_kube_config(config_file=path, context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]  # no annotations there
    except TimeoutError:
        raise ApiError(status=None, reason="NoCredentials", message=f"{path}: no login within {_LOGIN_SECONDS:g} s") from None
    except _UNREADABLE as error:
        raise ApiError(status=None, reason="NoCredentials", message=f"{path}: {error}") from error
    return configuration


def current_namespace(*, kubeconfig: str | None = None, context: str | None = None) -> str:
    """The namespace that kubectl would use: the one of the context or of the pod, else `default`."""
    if _in_pod(kubeconfig, context):
        try:
            return _POD_NAMESPACE.read_text(encoding="utf-8").strip() or _DEFAULT_NAMESPACE
        except (OSError, ValueError):
            return _DEFAULT_NAMESPACE
    try:
        contexts, current = config.list_kube_config_contexts(_kubeconfig_path(kubeconfig))  # type: ignore[no-untyped-call]  # no annotations there
    except _UNREADABLE:
        return _DEFAULT_NAMESPACE
    named = {each["name"]: each["context"] for each in contexts}
    return str(named.get(context or current["name"], {}).get("namespace") or _DEFAULT_NAMESPACE)


def _in_pod(kubeconfig: str | None, context: str | None) -> bool:
    return not (kubeconfig or context or "KUBECONFIG" in os.environ) and "KUBERNETES_SERVICE_HOST" in os.environ


def _exists(paths: str) -> bool:
    """Whether one of the files is there that $KUBECONFIG names."""
    return any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path)


def _kubeconfig_path(given: str | None) -> str:
    return given or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def open_session(configuration: Configuration, headers: Mapping[str, str] | None = None) -> aiohttp.ClientSession:
    """A session with the TLS and proxy settings of these credentials."""
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return aiohttp.ClientSession(
        # Watches stay open, so the pool has no limit of its own: their number is fixed by the settings.
        connector=aiohttp.TCPConnector(limit=0, ssl=context),
        headers={"User-Agent": MANAGER, **(headers or {})},
        proxy=configuration.proxy,
        trust_env=True,
    )


async def authorization(configuration: Configuration) -> dict[str, str]:
    """The Authorization header, with a service account token not older than a minute; none where a certificate says it all."""
    setting = (await configuration.auth_settings()).get("BearerToken")
    return {"Authorization": str(setting["value"])} if setting else {}
