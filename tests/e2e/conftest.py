"""What the tests on a real cluster share: one cluster with the operator in it, started once, and a namespace for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.stack import Stack, started
from tests.e2e.acting import Kubectl, User, administrator, fresh_namespace
from tests.e2e.installation import Installation
from tests.e2e.side_by_side import Stories, is_story
from tests.failures import PATIENT

_MEASURED = pytest.StashKey[list[str]]()

CLUSTERS = Path(__file__).parents[2] / ".local" / "clusters"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", default="tests", help="name of the cluster that the tests start: two runs need two names")
    parser.addoption("--seed", default="1", help="of the random stories and moments; the same seed makes the same ones")
    parser.addoption("--stories", type=int, default=15, help="random stories that kubectl's and kstatus' word is compared in")
    parser.addoption("--kills", type=int, default=5, help="random moments at which the operator is killed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(Path(__file__).parent)]
    in_turn = sorted((items[place] for place in places), key=lambda item: not is_story(item))
    for place, item in zip(places, in_turn, strict=True):
        item.add_marker("e2e")
        items[place] = item


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MEASURED] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_MEASURED]:
        terminalreporter.write_line(line)


@pytest.fixture
def measured(pytestconfig: pytest.Config) -> list[str]:
    """What a test has measured and doesn't judge: lines that the run ends with."""
    return pytestconfig.stash[_MEASURED]


@pytest.fixture(scope="session")
def clusters() -> Path:
    """Where clusters of the tests keep their state."""
    return CLUSTERS


@pytest.fixture(scope="session")
def stack(clusters: Path, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """A cluster with the operator in it; a cluster that can't start fails the run."""
    with started(name=pytestconfig.getoption("cluster"), directory=clusters, port=0, flags=PATIENT) as stack:
        yield stack


@pytest.fixture(scope="session")
def installed(stack: Stack) -> Installation:
    """The operator as its users meet it."""
    return Installation(stack)


@pytest.fixture(scope="session")
def kubectl(stack: Stack) -> Kubectl:
    """kubectl as the cluster's administrator."""
    return administrator(stack.cluster)


@pytest.fixture(scope="session")
def stories(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Stories]:
    """The stories of this run; they begin when this is asked for."""
    with Stories.of(request.session.items, stack) as stories:
        yield stories


@pytest.fixture(scope="session")
def visitor(kubectl: Kubectl) -> User:
    """Somebody with kubectl who changes nothing, and so needs no namespace of their own."""
    return User(kubectl, "default")


@pytest.fixture
def user(kubectl: Kubectl) -> Iterator[User]:
    """Somebody with kubectl, who works in a fresh namespace."""
    with fresh_namespace(kubectl) as user:
        yield user
