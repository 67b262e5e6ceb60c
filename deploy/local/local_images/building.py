"""From a recipe to an archive: three layers, each made anew only when what it is made from has changed.

    base           Debian's Python            the same for all images
    dependencies   the locked requirements    one for each image
    application    the package's source       with each change of the source, in under a second

The archive's place and the image's tag come from the inputs of all three, so whether anything is to be done is known before doing
it, and a changed image has a new reference: a Deployment that is given it rolls out.
"""

import importlib.util
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cluster.caching import cache_folder
from local_images import archiving, debian
from local_images.caching import content_key, kept
from local_images.commands import BuildError, run
from local_images.recipes import ENVIRONMENT, RECIPES, REPOSITORY, STEPS, USER, Recipe

ALIAS = "dev"
"""The tag that an image as its recipe says gets besides: manifests that people apply by hand can name it."""

OUTPUT = REPOSITORY / ".local/images"

_RULES = Path(__file__).parent
_LAYER = "layer.tar"


@dataclass(frozen=True)
class Image:
    """A built image: what a pod calls it, and the archive (as `docker save` writes it) that makes it known to a node."""

    reference: str
    archive: Path


@dataclass(frozen=True)
class _Base:
    """Debian's Python, as a directory to run it from and as a layer; `key` is made from the packages' versions."""

    root: Path
    layer: Path
    key: str


def build(image: str, *, environment: Mapping[str, str] | None = None, output: Path = OUTPUT) -> Image:
    """Build an image, or find it built.

    Args:
        image: `operator` or `sample`.
        environment: variables baked in on top of the recipe's; other values make another image with another reference.
        output: the folder of archives, which keeps the newest few of each image.

    Raises:
        BuildError: There is no such image, or something that the build needs is missing or failed.
    """
    recipe = RECIPES.get(image)
    if recipe is None:
        raise BuildError(f"There is no image {image!r}: build one of {', '.join(RECIPES)}.")
    base = _base()
    dependencies = _dependencies(recipe, base)
    config = _config(recipe, environment or {})
    sources = [REPOSITORY / path for path in (recipe.requirements, recipe.package, recipe.project) if path]
    tag = content_key(base.key, repr(config), *sources)
    reference = f"{recipe.repository}:{tag}"
    aliases = [f"{recipe.repository}:{ALIAS}"] if config == _config(recipe, {}) else []
    file_name = f"{recipe.name}.tar"

    def make(folder: Path) -> None:
        application = folder / _LAYER
        project = ("--project", REPOSITORY / recipe.project) if recipe.project else ()
        _install(base, application, "application", REPOSITORY / recipe.package, *project)
        archiving.write_archive(
            folder / file_name,
            references=[reference, *aliases],
            layers=[base.layer, dependencies, application],
            architecture=run(["dpkg", "--print-architecture"]).strip(),
            config=config,
        )
        application.unlink()

    folder = kept(output.absolute() / recipe.name / tag, f"build the image {reference}", make)
    return Image(reference, folder / file_name)


def _config(recipe: Recipe, environment: Mapping[str, str]) -> dict[str, Any]:
    variables = {**ENVIRONMENT, **recipe.environment, **environment}
    return {
        "User": USER,
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Entrypoint": list(recipe.entrypoint),
        "ExposedPorts": {f"{port}/tcp": {} for port in recipe.ports},
        "WorkingDir": "/",
    }


def _base() -> _Base:
    def make(folder: Path) -> None:
        root = folder / "root"
        with tempfile.TemporaryDirectory(prefix="mcp-operator-") as scratch:
            packages = debian.download(Path(scratch))
            debian.unpack(packages, root)
        _run_steps(root, root, "base")
        archiving.write_layer(root, folder / _LAYER)
        (folder / "packages.txt").write_text("".join(f"{package.name}\n" for package in packages), encoding="utf-8")

    folder = cache_folder() / "images/base" / content_key(debian.fingerprint(), STEPS, _RULES)
    kept(folder, "build the images' base from Debian's Python", make)
    return _Base(folder / "root", folder / _LAYER, key=content_key(folder / "packages.txt", STEPS, _RULES))


def _dependencies(recipe: Recipe, base: _Base) -> Path:
    requirements = REPOSITORY / recipe.requirements

    def make(folder: Path) -> None:
        _install(base, folder / _LAYER, "dependencies", requirements)

    folder = cache_folder() / "images" / f"dependencies-{recipe.name}" / content_key(base.key, requirements)
    return kept(folder, f"install {recipe.requirements} for the image {recipe.name}", make) / _LAYER


def _install(base: _Base, layer: Path, *command: str | Path) -> None:
    """Run one of the shared steps against an empty directory, and write that as a layer."""
    with tempfile.TemporaryDirectory(prefix="mcp-operator-") as scratch:
        _run_steps(base.root, Path(scratch), *command)
        archiving.write_layer(Path(scratch), layer)


def _run_steps(python_root: Path, root: Path, *command: str | Path) -> None:
    """Run a step with the image's Python; pip is this machine's, so that the image need not have one."""
    pip = importlib.util.find_spec("pip")
    if pip is None or pip.origin is None:
        raise BuildError("This Python has no pip: run 'python3 -m ensurepip' with it.")
    environment = {"PYTHONHOME": str(python_root / "usr"), "PYTHONPATH": str(Path(pip.origin).parents[1])}
    argv = [*debian.python(python_root), "-B", "-s", STEPS, "--root", root, *command]
    run(argv, timeout=600, environment=environment)
