"""The cluster's certificate authority, certificates and tokens, made anew at each start by openssl.

The API server, its way to the kubelet and its way to aggregated APIs have certificates; everybody else has a token.
"""

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path

import yaml

from local_cluster.commands import run

_SETTINGS = Path(__file__).with_name("openssl.cnf")

_USERS: Mapping[str, tuple[str, str]] = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kubelet": ("system:node:local", "system:nodes"),
    "kube-proxy": ("system:kube-proxy", ""),
    "metrics-server": ("metrics-server", "system:masters"),
}
"""Who has a token: the kubeconfig's name to user and group."""


def write_certificates(folder: Path) -> None:
    """Write the authority (ca), the certificates of the API server, and the key of service accounts' tokens."""
    folder.mkdir(mode=0o700, exist_ok=True)
    _certify(folder, "ca", subject="/CN=local-ca", use="ca")
    _certify(folder, "apiserver", subject="/CN=kube-apiserver", use="server")
    _certify(folder, "apiserver-kubelet", subject="/O=system:masters/CN=apiserver-kubelet", use="client")
    _certify(folder, "front-proxy", subject="/CN=front-proxy", use="client")
    _openssl("ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", str(folder / "service-account.key"))


def write_tokens(folder: Path) -> dict[str, str]:
    """Write the API server's list of tokens; returns each user's by its kubeconfig's name."""
    tokens = {name: secrets.token_hex(16) for name in _USERS}
    lines = (f'{tokens[name]},{user},{user},"{group}"\n' for name, (user, group) in _USERS.items())
    write_secret(folder / "tokens.csv", "".join(lines))
    return tokens


def kubeconfig(*, port: int, authority: Path, token: str) -> str:
    """The text of a kubeconfig for the API server at 127.0.0.1:`port`."""
    certificate = base64.b64encode(authority.read_bytes()).decode()
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": certificate}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": "local", "user": {"token": token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    }
    return yaml.safe_dump(content, sort_keys=False)


def write_secret(file: Path, text: str) -> None:
    """Write a file that its owner alone may read, in one step: a reader sees the old text or the new."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.rename(file)


def _certify(folder: Path, name: str, *, subject: str, use: str) -> None:
    """Make NAME.key and NAME.crt; signed by `ca`, or by itself when it is that."""
    signer = () if use == "ca" else ("-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"))
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", str(folder / f"{name}.key"))
    _openssl(
        *("req", "-x509", "-config", str(_SETTINGS), "-extensions", use, "-days", "3650", "-subj", subject),
        *key,
        *signer,
        *("-out", str(folder / f"{name}.crt")),
    )


def _openssl(*arguments: str) -> None:
    run(("openssl", *arguments), failure="The cluster's certificates can't be made.")
