"""What each image is made of: data for `building`.

The Dockerfile says the same for machines with Docker; a test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

REPOSITORY = Path(__file__).resolve().parents[3]

STEPS = REPOSITORY / "deploy/images/install.py"

USER = "65532:65532"

ENVIRONMENT = MappingProxyType(
    {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": "/app/src:/app/lib",
        "PYTHONDONTWRITEBYTECODE": "1",  # the root file system is read-only, and all byte code is there
        "PYTHONSAFEPATH": "1",  # the working directory is no place to import from
        "PYTHONUNBUFFERED": "1",  # the last line of a crash must reach the log
    }
)


@dataclass(frozen=True)
class Recipe:
    """An image over the common base; paths are relative to the repository.

    `environment` is what this image adds to `ENVIRONMENT`; `project` is the pyproject.toml whose name and version the installed
    package tells of itself.
    """

    name: str
    requirements: Path
    package: Path
    entrypoint: tuple[str, ...]
    project: Path | None = None
    ports: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> str:
        """The reference without its tag. `localhost` is no registry: nothing ever tries to pull it from one."""
        return f"localhost/{self.name}"


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "operator": Recipe(
            name="mcp-operator",
            requirements=Path("requirements/runtime.txt"),
            package=Path("operator/mcp_operator"),
            project=Path("pyproject.toml"),
            entrypoint=("python3", "-m", "mcp_operator"),
        ),
        "sample": Recipe(
            name="mcp-sample-server",
            requirements=Path("requirements/sample.txt"),
            package=Path("deploy/samples/server/sample_server"),
            entrypoint=("python3", "-m", "sample_server"),
            ports=(8080,),
            environment={"VERSION": "1.0.0"},
        ),
    }
)
