"""`python -m local_images build operator|sample`: the images from the command line."""

import argparse
import sys
from pathlib import Path

from local_images.building import OUTPUT, build
from local_images.commands import BuildError
from local_images.recipes import RECIPES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local_images", description="Build images without Docker or a registry.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="build an image; prints its reference and the path of its archive")
    command.add_argument("image", choices=list(RECIPES))
    command.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="bake a variable into the image")
    command.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR", help="where archives go (default: .local/images)")
    arguments = parser.parse_args()
    try:
        image = build(arguments.image, environment=_variables(arguments.env), output=arguments.output)
    except BuildError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - a command line's output
        return 1
    print(image.reference, image.archive, sep="\n")  # noqa: T201 - a command line's output
    return 0


def _variables(given: list[str]) -> dict[str, str]:
    """Raises `BuildError` for what isn't NAME=VALUE."""
    for variable in given:
        if not variable.partition("=")[0] or "=" not in variable:
            raise BuildError(f"--env {variable!r} is no variable: write NAME=VALUE.")
    return dict(variable.split("=", 1) for variable in given)


if __name__ == "__main__":
    sys.exit(main())
