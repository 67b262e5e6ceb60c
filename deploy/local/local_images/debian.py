"""The base of the images: Debian's Python with the libraries that it needs, taken from packages, and nothing else.

`building` calls this. apt decides which packages these are as if it installed onto an empty machine, so the Python is whichever
3.x this machine's Debian has, with its security updates. No maintainer script runs: `_finish` does by hand the few things that
they would have done.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from local_images.commands import BuildError, run

WANTED = ("python3", "ca-certificates")

UNUSED = frozenset({"debconf", "dpkg", "openssl", "perl-base", "tar"})
"""What only maintainer scripts call."""

_LISTS = Path("/var/lib/apt/lists")

_APT = ("apt-get", "--quiet=2", "-o", "APT::Sandbox::User=root")

_ONTO_NOTHING = (
    *("-o", "Dir::State::Status=/dev/null"),
    *("-o", "Debug::NoLocking=true"),  # nothing is installed, so nobody has to wait
    *("-o", "APT::Install-Recommends=false"),
    *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="),  # those of the machine hold its real status
)

_EXCLUDED = ("doc", "doc-base", "info", "lintian", "locale", "man")


def fingerprint(lists: Path = _LISTS) -> str:
    """Changes when apt may know other packages than before; costs no more than a look at the sizes and times of its lists."""
    states = [(file.name, file.stat()) for file in sorted(lists.glob("*_Packages*"))]
    lines = (f"{name} {state.st_size} {state.st_mtime_ns}\n" for name, state in states)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def download(directory: Path) -> list[Path]:
    """Fetch the packages into `directory` and return the files, sorted; their names carry their versions.

    Raises:
        BuildError: apt knows no Python or can't reach its archive, not even with fresh lists.
    """
    (directory / "partial").mkdir()
    argv = [*_APT, *_ONTO_NOTHING, "-o", f"Dir::Cache::Archives={directory}", "install", "--yes", "--download-only", *WANTED]
    try:
        run(argv)
    except BuildError:
        run([*_APT, "update"])  # lists that are missing, or older than the archive, whose old packages are gone
        run(argv)
    return [file for file in sorted(directory.glob("*.deb")) if file.name.partition("_")[0] not in UNUSED]


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Lay the packages' files out in `root`, an empty directory."""
    for directory in ("bin", "lib", "lib64", "sbin"):  # on a whole Debian, base-files makes these links
        (root / "usr" / directory).mkdir(parents=True)
        (root / directory).symlink_to(f"usr/{directory}")
    excluded = [f"--exclude=./usr/share/{directory}" for directory in _EXCLUDED]
    with tempfile.TemporaryDirectory(prefix="mcp-operator-") as scratch:
        files = Path(scratch) / "files.tar"
        for package in packages:
            run(["sh", "-c", 'dpkg-deb --fsys-tarfile "$1" > "$2"', "sh", package, files])
            run(["tar", "-x", "-f", files, "-C", root, "--keep-directory-symlink", "--no-same-owner", *excluded])
    _finish(root)


def _finish(root: Path) -> None:
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(file.read_bytes() for file in certificates))
    openssl = root / "usr/lib/ssl"  # where Debian's OpenSSL looks, whoever uses it
    openssl.mkdir(parents=True, exist_ok=True)
    (openssl / "cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
    # Without this file the C library asks DNS before it looks into /etc/hosts.
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n", encoding="utf-8")
    temporary = root / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)


def python(root: Path) -> list[str]:
    """The command that runs the Python in `root` on this machine, with its own C library and no change of root.

    So pip resolves wheels and markers for that Python and no other, yet has this machine's network, proxies and certificates.
    """
    loaders = sorted(root.glob("usr/lib/*/ld-linux*.so.*"))
    if not loaders:
        raise BuildError(f"{root} holds no dynamic loader: the layout of Debian's libc6 package is not the expected one.")
    loader = loaders[0]
    return [str(loader), "--library-path", str(loader.parent), str(root / "usr/bin/python3")]
