"""The steps that fill an image, the same for every base.

The Dockerfile runs this file in a build container, `local_images` runs it against a directory; in both cases with the Python that
the image itself will run, so that wheels, markers and byte code fit it by construction. Each command is one layer:

    base          the unprivileged user, and byte code of the standard library
    dependencies  the locked packages of a requirements file, in /app/lib
    application   one package of this repository, in /app/src

Byte code is compiled here because a container with a read-only root file system would compile again at every start. It is
`unchecked-hash` (PEP 552), which leaves time stamps out of the image. Only the standard library is used: nothing else is there.
"""

import argparse
import compileall
import py_compile
import runpy
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path

UID = 65532
"""The `nonroot` user of distroless images, a number that admission rules and volume owners often know already."""


def install_base(root: Path) -> None:
    """Add the user that the image runs as, and compile the standard library of the running Python."""
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    _add_line(etc / "passwd", f"nonroot:x:{UID}:{UID}:nonroot:/nonexistent:/usr/sbin/nologin")
    _add_line(etc / "group", f"nonroot:x:{UID}:")
    _compile(Path(sysconfig.get_path("stdlib")), root)


def install_dependencies(root: Path, requirements: Path) -> None:
    """Install the packages of a hash-locked requirements file, which names every package that is needed.

    pip runs in this process: `sys.executable` alone may not be enough to start this Python again.
    """
    target = root / "app/lib"
    options = "--require-hashes --no-deps --only-binary=:all: --no-compile --quiet --root-user-action=ignore"
    sys.argv = ["pip", "install", *options.split(), "--target", str(target), "--requirement", str(requirements)]
    try:
        runpy.run_module("pip", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    shutil.rmtree(target / "bin", ignore_errors=True)  # scripts that name the Python of the build
    _compile(target, root)


def install_application(root: Path, package: Path, project: Path | None) -> None:
    """Copy a package; with its pyproject.toml also the metadata that `importlib.metadata` tells its version from."""
    target = root / "app/src"
    shutil.copytree(package, target / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    if project is not None:
        metadata = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        name, version = metadata["name"], metadata["version"]
        info = target / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    _compile(target, root)


def _add_line(file: Path, line: str) -> None:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{text}{line}\n", encoding="utf-8")


def _compile(directory: Path, root: Path) -> None:
    """Compile what compiles (some packages carry templates that don't), under the paths that the image will have."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(
        directory, maxlevels=50, quiet=2, stripdir=str(root), prependdir="/", invalidation_mode=mode, force=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("/"), help="the image's root directory (default: /)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("base")
    dependencies = commands.add_parser("dependencies")
    dependencies.add_argument("requirements", type=Path)
    application = commands.add_parser("application")
    application.add_argument("package", type=Path)
    application.add_argument("--project", type=Path, help="the package's pyproject.toml")
    arguments = parser.parse_args()
    if arguments.command == "base":
        install_base(arguments.root)
    elif arguments.command == "dependencies":
        install_dependencies(arguments.root, arguments.requirements)
    else:
        install_application(arguments.root, arguments.package, arguments.project)


if __name__ == "__main__":
    main()
