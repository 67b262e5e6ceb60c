"""Writes what the components are started with into the state directory: configuration, certificates, kubeconfigs, tools.

The files of `config/` are the node's configuration as it stands; only what differs between clusters or machines is made here.
"""

import shutil
from pathlib import Path

from local_cluster.certifying import kubeconfig, write_certificates, write_secret, write_tokens
from local_cluster.commands import run
from local_cluster.layout import API_PORT, Layout

CONFIG = Path(__file__).with_name("config")

ADDONS = CONFIG / "addons.yaml"
"""Objects that every cluster has from its start."""


def configure(layout: Layout, tools: Path) -> dict[str, str]:
    """Fill a fresh state directory; returns each user's token by its kubeconfig's name."""
    layout.mark.touch()
    layout.logs.mkdir()
    layout.tools.symlink_to(tools)
    shutil.copytree(CONFIG, layout.config)
    write_certificates(layout.pki)
    tokens = write_tokens(layout.pki)
    for name, token in tokens.items():
        text = kubeconfig(port=API_PORT, authority=layout.pki / "ca.crt", token=token)
        write_secret(layout.config / f"{name}.kubeconfig", text)
    containerd = layout.config / "containerd.toml"
    containerd.write_text(containerd.read_text().replace('"overlayfs"', f'"{snapshotter(layout.state)}"'))
    return tokens


def snapshotter(folder: Path) -> str:
    """How containerd keeps images in `folder`: an overlay can't have its upper layer on another (the machine is a container)."""
    kind = run(("stat", "--file-system", "--format=%T", str(folder)), failure=f"{folder} can't be looked at.")
    return "native" if kind.strip() == "overlayfs" else "overlayfs"
