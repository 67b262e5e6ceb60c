"""The Dockerfile and the local build make the same images over different bases."""

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local_images.recipes import ENVIRONMENT, RECIPES, REPOSITORY, STEPS, USER


@dataclass
class Stage:
    """A stage of the Dockerfile: its instructions in order, those of the stage that it starts from first."""

    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for instruction, value in self.instructions if instruction == name]


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    stages: dict[str, Stage] = {}
    present = Stage()
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", "")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, value = line.partition(" ")
        if name == "FROM":
            base, _, stage = value.partition(" AS ")
            present = Stage(list(stages[base].instructions) if base in stages else [])
            stages[stage] = present
        else:
            present.instructions.append((name, value.strip()))
    return stages


@pytest.mark.parametrize("image", RECIPES)
def test_a_container_runs_with_the_same_settings(stages: dict[str, Stage], image: str) -> None:
    recipe, stage = RECIPES[image], stages[image]
    defaults = dict(argument.split("=", 1) for argument in stage.all("ARG"))
    variables = dict(variable.split("=", 1) for variable in stage.all("ENV"))
    variables |= {name: value for name, value in defaults.items() if variables.get(name) == f"${{{name}}}"}

    assert variables == {**ENVIRONMENT, **recipe.environment}
    assert stage.all("USER") == [USER]
    assert stage.all("ENTRYPOINT") == [json.dumps(list(recipe.entrypoint))]
    assert stage.all("EXPOSE") == [str(port) for port in recipe.ports]


@pytest.mark.parametrize("image", RECIPES)
def test_the_layers_are_made_by_the_same_steps(stages: dict[str, Stage], image: str) -> None:
    recipe = RECIPES[image]
    commands = [_step(command) for command in stages[image].all("RUN")]

    application = [
        "application",
        f"/source/{recipe.package}",
        *(["--project", f"/source/{recipe.project}"] if recipe.project else []),
    ]
    assert commands == [["base"], ["dependencies", f"/{recipe.requirements}"], application]


def _step(command: str) -> list[str]:
    words = shlex.split(command)
    script = next(index for index, word in enumerate(words) if word.endswith(STEPS.name))
    return words[script + 1 :]


def test_the_build_context_holds_what_the_steps_read() -> None:
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    read = [STEPS.relative_to(REPOSITORY)]
    for recipe in RECIPES.values():
        read += [recipe.requirements, recipe.package, *([recipe.project] if recipe.project else [])]

    assert [path for path in read if not any(path.is_relative_to(Path(each)) for each in allowed)] == []
