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

from mcp_operator.apiserver.errors import ApiError
from mcp_operator.apiserver.kinds import MANAGER

_LOGIN_SECONDS = 30.0
"""For exec plugins and identity providers."""


async def load_configuration() -> Configuration:
    """Find the cluster: by $KUBECONFIG, else in a pod by its service account, else by ~/.kube/config.

    Raises:
        ApiError: reason NoCredentials, when none of them gives any.
    """
    configuration = Configuration()
    in_pod = "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ
    path = "the pod's service account" if in_pod else os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    try:
        async with asyncio.timeout(_LOGIN_SECONDS):
            if in_pod:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # no annotations there
            else:
                await config.load_kube_config(config_file=path, client_configuration=configuration)  # type: ignore[no-untyped-call]  # no annotations there
    except TimeoutError:
        raise ApiError(status=None, reason="NoCredentials", message=f"{path}: no login within {_LOGIN_SECONDS:g} s") from None
    except (config.ConfigException, OSError, ValueError) as error:
        raise ApiError(status=None, reason="NoCredentials", message=f"{path}: {error}") from error
    return configuration


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
