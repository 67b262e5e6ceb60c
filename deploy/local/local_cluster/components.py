"""The processes of the node: what each is started with.

Pure: `configuring` writes the files that the arguments name, `supervising` runs what is listed here. Paths are the node's.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from local_cluster.errors import ClusterError
from local_cluster.layout import API_PORT, NODE_ADDRESS, NODE_NAME, NODE_STATE, SERVICE_ADDRESSES
from local_cluster.plan import Component

_BIN = NODE_STATE / "bin"
_CONFIG = NODE_STATE / "config"
_PKI = NODE_STATE / "pki"
_ETCD = "http://127.0.0.1:2379"


def components(*, cgroup_root: str, forwards: Mapping[int, str], flags: Mapping[str, Sequence[str]]) -> tuple[Component, ...]:
    """The components of a node in the order of their start.

    Args:
        cgroup_root: The control group, below each hierarchy's root, that pods live in.
        forwards: A listening socket's file descriptor to the "address:port" that its connections are carried to.
        flags: A component's name to arguments appended to its own; of a flag given twice the last one counts.

    Raises:
        ClusterError: `flags` names a component that doesn't exist.
    """
    node = (
        _etcd(),
        _containerd(),
        _apiserver(),
        _forwarder(forwards),
        _controller_manager(),
        _scheduler(),
        _kubelet(cgroup_root),
        _kube_proxy(),
        _coredns(),
        _metrics_server(),
    )
    for name in flags:
        if name not in (names := [component.name for component in node]):
            raise ClusterError(f"There is no component {name!r} to give flags to: name one of {', '.join(names)}.")
    return tuple(replace(component, argv=(*component.argv, *flags.get(component.name, ()))) for component in node)


def _etcd() -> Component:
    argv = (
        f"{_BIN}/etcd",
        f"--data-dir={NODE_STATE}/etcd",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # the data doesn't outlive the cluster
    )
    return Component("etcd", argv, needs_api=False)


def _containerd() -> Component:
    return Component("containerd", ("containerd", f"--config={_CONFIG}/containerd.toml"), needs_api=False)


def _apiserver() -> Component:
    argv = (
        f"{_BIN}/kube-apiserver",
        f"--etcd-servers={_ETCD}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
        "--allow-privileged=true",
        # Who may come in: certificates of the cluster's authority, the tokens of its components, service accounts.
        f"--tls-cert-file={_PKI}/apiserver.crt",
        f"--tls-private-key-file={_PKI}/apiserver.key",
        f"--client-ca-file={_PKI}/ca.crt",
        f"--token-auth-file={_PKI}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        f"--service-account-key-file={_PKI}/service-account.key",
        f"--service-account-signing-key-file={_PKI}/service-account.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        # To the kubelet, for logs and exec.
        f"--kubelet-client-certificate={_PKI}/apiserver-kubelet.crt",
        f"--kubelet-client-key={_PKI}/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",
        # To aggregated APIs (metrics.k8s.io), by endpoint address: that needs no Service routing.
        f"--requestheader-client-ca-file={_PKI}/ca.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={_PKI}/front-proxy.crt",
        f"--proxy-client-key-file={_PKI}/front-proxy.key",
        "--enable-aggregator-routing=true",
    )
    return Component("kube-apiserver", argv, needs_api=False)


def _controller_manager() -> Component:
    argv = (
        f"{_BIN}/kube-controller-manager",
        *_kubeconfigs("kube-controller-manager"),
        "--leader-elect=false",
        "--use-service-account-credentials",
        # It makes an account and a token for each controller before any starts: at the default rate that takes 5 seconds.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        f"--service-account-private-key-file={_PKI}/service-account.key",
        f"--root-ca-file={_PKI}/ca.crt",
        f"--cluster-signing-cert-file={_PKI}/ca.crt",
        f"--cluster-signing-key-file={_PKI}/ca.key",
    )
    return Component("kube-controller-manager", argv)


def _scheduler() -> Component:
    argv = (f"{_BIN}/kube-scheduler", *_kubeconfigs("kube-scheduler"), "--leader-elect=false")
    return Component("kube-scheduler", argv)


def _kubelet(cgroup_root: str) -> Component:
    argv = (
        f"{_BIN}/kubelet",
        f"--config={_CONFIG}/kubelet.yaml",
        f"--kubeconfig={_CONFIG}/kubelet.kubeconfig",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_ADDRESS}",
        f"--root-dir={NODE_STATE}/kubelet",
        f"--cert-dir={NODE_STATE}/kubelet/pki",
        # Kubelets of one machine share its control groups, and each removes pods that it doesn't know.
        f"--cgroup-root={cgroup_root}",
    )
    return Component("kubelet", argv)


def _kube_proxy() -> Component:
    return Component("kube-proxy", (f"{_BIN}/kube-proxy", f"--config={_CONFIG}/kube-proxy.yaml"))


def _coredns() -> Component:
    return Component("coredns", (f"{_BIN}/coredns", f"-conf={_CONFIG}/Corefile"))


def _metrics_server() -> Component:
    argv = (
        f"{_BIN}/metrics-server",
        *_kubeconfigs("metrics-server"),
        "--secure-port=4443",
        f"--cert-dir={NODE_STATE}/metrics-server",
        "--kubelet-insecure-tls",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-request-timeout=5s",
        "--metric-resolution=10s",  # it panics unless this is longer than the timeout
    )
    return Component("metrics-server", argv)


def _forwarder(forwards: Mapping[int, str]) -> Component:
    argv = (sys.executable, "-m", "local_cluster.forwarding", *(f"{fd}={target}" for fd, target in forwards.items()))
    return Component("forwarder", argv, needs_api=False, sockets=tuple(forwards))


def _kubeconfigs(name: str) -> tuple[str, ...]:
    """For a component that speaks to the API server and asks it about whoever speaks to the component."""
    path = f"{_CONFIG}/{name}.kubeconfig"
    return (f"--kubeconfig={path}", f"--authentication-kubeconfig={path}", f"--authorization-kubeconfig={path}")
