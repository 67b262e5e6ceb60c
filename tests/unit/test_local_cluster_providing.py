"""What a machine needs is made once, shared by all clones, and never half made; secrets are readable by their owner alone."""

import fcntl
import re
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
import yaml

from local_cluster import pause, tools
from local_cluster.caching import locked, made_once
from local_cluster.certifying import kubeconfig, write_certificates, write_secret, write_tokens
from local_cluster.commands import run
from local_cluster.errors import ClusterError
from local_cluster.progress import step

SECONDS = r"\d+(\.\d)? s"
"""As a step shows its time."""


def test_two_who_want_the_same_thing_make_it_once(tmp_path: Path) -> None:
    made: list[Path] = []
    both_want_it = threading.Barrier(2)

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "tool").write_text("built")

    def want() -> None:
        both_want_it.wait(60)
        assert (made_once(tmp_path / "key", make) / "tool").read_text() == "built"

    threads = [threading.Thread(target=want) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(made) == 1


def test_what_an_interrupted_build_left_is_built_anew(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "key", interrupted)
    assert not (tmp_path / "key").exists()

    made_once(tmp_path / "key", lambda folder: (folder / "whole").touch())
    assert [each.name for each in (tmp_path / "key").iterdir()] == ["whole"]
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_who_waited_for_a_folder_that_was_removed_holds_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cluster"
    waits, holds = threading.Event(), threading.Event()
    flock = fcntl.flock

    def told_flock(handle: int, operation: int) -> None:
        waits.set()
        flock(handle, operation)

    def wait_for_it() -> None:
        with locked(folder):
            assert folder.is_dir()
            holds.set()

    with locked(folder):
        monkeypatch.setattr(fcntl, "flock", told_flock)
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        assert waits.wait(60)
        folder.rmdir()
        assert not holds.is_set()
    waiting.join(60)
    assert holds.is_set()


def test_the_servers_certificate_satisfies_a_strict_verifier(tmp_path: Path) -> None:
    write_certificates(tmp_path)

    for name in ("apiserver", "apiserver-kubelet", "front-proxy"):
        verify = ("openssl", "verify", "-x509_strict", "-CAfile", str(tmp_path / "ca.crt"), str(tmp_path / f"{name}.crt"))
        assert subprocess.run(verify, check=False, capture_output=True).returncode == 0, name


def test_keys_tokens_and_kubeconfigs_are_their_owners_alone(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    write_certificates(pki)
    token = write_tokens(pki)["admin"]
    write_secret(pki / "kubeconfig", kubeconfig(port=16443, authority=pki / "ca.crt", token=token))

    secret = [each for each in pki.iterdir() if each.suffix != ".crt"]
    assert {"tokens.csv", "kubeconfig", "ca.key", "service-account.key"} <= {each.name for each in secret}
    assert {oct(each.stat().st_mode & 0o777) for each in secret} == {"0o600"}
    assert pki.stat().st_mode & 0o777 == 0o700


def test_a_kubeconfig_leads_to_the_forwarded_port(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    config = yaml.safe_load(kubeconfig(port=16443, authority=tmp_path / "ca.crt", token="secret"))

    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:16443"
    assert config["users"][0]["user"] == {"token": "secret"}


@pytest.mark.parametrize(
    ("installed", "taken"),
    [("go1.26.4", True), ("go1.26.8", True), ("go1.27.0", True), ("go1.30rc1", True), ("go1.26.3", False), ("go1.9", False)],
)
def test_go_of_the_path_is_taken_when_it_is_new_enough(
    installed: str, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "MODULE", tmp_path)
    (tmp_path / "go.mod").write_text("module tools\n\ngo 1.26.4\n")
    monkeypatch.setattr(tools, "made_once", lambda folder, make: tmp_path / "from-pypi")
    on_path = tmp_path / "bin" / "go"
    on_path.parent.mkdir()
    on_path.write_text(f"#!/bin/sh\necho {installed}\n")
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(on_path.parent), prepend=":")

    assert tools.find_go() == str(on_path if taken else tmp_path / "from-pypi" / "go" / "bin" / "go")


def test_the_version_is_that_of_go_mod() -> None:
    assert f"k8s.io/kubernetes {tools.kubernetes_version()}" in (tools.MODULE / "go.mod").read_text()


def test_a_program_becomes_an_image_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 0; }\n")
    archives = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        pause.build_image(source, "localhost/program:1", tmp_path / name)
        archives.append(tmp_path / name / pause.ARCHIVE)

    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as archive:
        assert archive.getnames() == ["manifest.json", "config.json", "layer.tar"]


def test_what_the_compiler_says_is_told(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(ClusterError, match=r"program\.c can't be built\. gcc said:(?s:.)*nothing"):
        pause.build_image(source, "localhost/program:1", tmp_path)


@pytest.mark.parametrize(
    ("argv", "seconds", "said"),
    [
        (["sh", "-c", "echo out; echo one >&2; echo two >&2; exit 3"], 60, "It failed. sh said:\none\ntwo"),
        (["no-such-program"], 60, "It failed. There is no no-such-program here."),
        (["sleep", "600"], 1, "It failed. sleep did not end within 1 s."),
    ],
)
def test_a_program_that_fails_is_told_with_its_own_words(argv: list[str], seconds: float, said: str) -> None:
    with pytest.raises(ClusterError) as error:
        run(argv, failure="It failed.", seconds=seconds)

    assert str(error.value) == said


def test_a_step_ends_with_its_time_and_without_colour_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("local_cluster.progress.QUIET_SECONDS", 600)
    with step("build etcd"):
        pass
    with pytest.raises(ClusterError), step("build coredns"):
        raise ClusterError("no network")

    assert re.fullmatch(rf"✓ build etcd {SECONDS}\n✗ build coredns {SECONDS}\n", capsys.readouterr().err)


def test_a_long_step_shows_that_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("local_cluster.progress.QUIET_SECONDS", 0.01)
    shown = threading.Event()
    monkeypatch.setattr(sys.stderr, "flush", shown.set)

    with step("build kubelet"):
        assert shown.wait(60)

    assert re.match(rf"· build kubelet {SECONDS}\n", capsys.readouterr().err)
