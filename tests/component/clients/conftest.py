"""The programs that the stories of real clients run, installed where they are missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_cluster.packages import install_packages
from tests.component.clients.browsing import Chromium, chromium_running

PROGRAMS = {"chromium": "chromium", "curl": "curl", "nginx": "nginx", "openssl": "openssl"}
"""Debian's packages, and the command that each is needed for."""


@pytest.fixture(scope="session", autouse=True)
def programs(pytestconfig: pytest.Config) -> None:
    """What a machine lacks is installed, which it says; where it can't be, the stories fail with one sentence."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        install_packages(PROGRAMS)


@pytest.fixture(scope="module")
def chromium(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for all stories of a file; each opens pages of its own. None is left when other tests look at the machine."""
    with chromium_running(tmp_path_factory.mktemp("chromium")) as running:
        yield running
