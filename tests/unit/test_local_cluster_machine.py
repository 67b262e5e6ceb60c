"""A machine that can't run a local cluster says so in one sentence: what is missing, and what to do about it."""

import os
import platform
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from local_cluster import __main__ as command_line
from local_cluster import machine, packages, tools
from local_cluster.errors import ClusterError

DiskUsage = namedtuple("DiskUsage", ["total", "used", "free"])


@pytest.fixture(autouse=True)
def good_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs the tests: root of a Debian machine."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda command, path=None: f"/usr/bin/{command}")


def test_a_good_machine_is_accepted() -> None:
    machine.check_platform()
    machine.check_space(Path("/"), 1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((platform, "system", "Darwin"), "needs Linux on x86_64 or aarch64, and this is Darwin on x86_64: use kind"),
        ((platform, "machine", "riscv64"), "this is Linux on riscv64: use kind with kind-config.yaml."),
        ((shutil, "which", None), "there is no apt-get here: use Debian or Ubuntu, or kind"),
        ((os, "geteuid", 1000), "takes root: run it with sudo."),
    ],
)
def test_a_start_on_the_wrong_machine_is_one_sentence_and_exit_code_1(
    wrong: tuple[object, str, object],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module, function, answer = wrong
    monkeypatch.setattr(module, function, lambda *_, **__: answer)

    assert command_line.main(["up", "--directory", str(tmp_path)]) == 1

    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_root_without_the_right_to_make_namespaces_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: "Name:\tpython\nCapEff:\t00000000a80425fb\n")  # Docker's default

    with pytest.raises(ClusterError, match="lacks CAP_SYS_ADMIN here"):
        machine.check_rights()


def test_a_disk_too_full_to_build_the_tools_is_told_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(100, 100, 5 * 1024**3))

    with pytest.raises(ClusterError, match=r"needs 8 GB of free disk space and has 5\.0 GB: free some, or use a larger disk"):
        tools.provide_tools()


def test_space_is_measured_where_a_folder_will_be(tmp_path: Path) -> None:
    machine.check_space(tmp_path / "not" / "yet" / "there", 1)


def test_only_missing_packages_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda command, path=None: None if command in ("nft", "runc") else f"/usr/bin/{command}")

    assert packages.missing_packages() == ["runc", "nftables"]


def test_a_machine_that_has_all_packages_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_apt", lambda *_: pytest.fail("apt-get was called"))

    packages.install_packages()


def test_old_package_lists_are_renewed_before_giving_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    def apt(argv: tuple[str, ...], failure: str) -> None:
        commands.append(argv[1])
        if commands == ["install"]:
            raise ClusterError(failure)

    monkeypatch.setattr(shutil, "which", lambda command, path=None: None if command == "runc" else f"/usr/bin/{command}")
    monkeypatch.setattr(packages, "_apt", apt)
    monkeypatch.setattr(packages, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")

    packages.install_packages()

    assert commands == ["install", "update", "install"]


class TestServicesDenied:
    """While packages are installed none of them may start a service, and afterwards the machine's policy is what it was."""

    @pytest.fixture
    def policy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / "policy-rc.d"
        monkeypatch.setattr(packages, "POLICY", file)
        monkeypatch.setattr(packages, "cache_folder", lambda: tmp_path)
        return file

    def test_without_a_policy_one_that_denies_is_there_meanwhile(self, policy: Path) -> None:
        with packages.services_denied() as prefix:
            assert prefix == ()
            assert "exit 101" in policy.read_text()
            assert os.access(policy, os.X_OK)
        assert not policy.exists()

    def test_the_machines_own_policy_is_covered_for_the_command_alone(self, policy: Path) -> None:
        policy.write_text("#!/bin/sh\nexit 0\n")
        with packages.services_denied() as prefix:
            assert prefix[:2] == ("unshare", "--mount")
            assert policy.read_text() == "#!/bin/sh\nexit 0\n"
        assert policy.read_text() == "#!/bin/sh\nexit 0\n"

    def test_a_policy_that_a_killed_installation_left_goes(self, policy: Path) -> None:
        policy.write_text(packages.DENY)
        with packages.services_denied() as prefix:
            assert prefix == ()
        assert not policy.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--forward", "8080"], "'8080' has no colon: give PORT:NODEPORT, as in 8080:30080"),
        (["up", "--forward", "80800:30080"], "'80800' is no port: give a number from 0 to 65535"),
        (["up", "--api-port", "https"], "'https' is no port: give a number from 0 to 65535"),
        (["up", "--flag", "kubelet"], "'kubelet' names no flag: give COMPONENT=FLAG, as in kube-apiserver=--v=4"),
    ],
)
def test_a_bad_argument_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main(arguments)

    assert said in capsys.readouterr().err
