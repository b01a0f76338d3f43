"""What the tests of the configuration file share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from routing import config

Apply = Callable[..., config.Outcome]
Refuse = Callable[..., list[str]]


@pytest.fixture(scope="session")
def small_file() -> str:
    return (Path(__file__).parent / "small.yaml").read_text()


@pytest.fixture
def apply(db: None) -> Apply:
    """Applies a YAML text."""

    def apply_text(text: str, **options: bool) -> config.Outcome:
        return config.apply(text, source="test.yaml", **options)

    return apply_text


@pytest.fixture
def refuse(apply: Apply) -> Refuse:
    """Applies a YAML text that must be refused; the problems as `path: message`, without lines."""

    def refused(text: str, **options: bool) -> list[str]:
        with pytest.raises(config.ConfigInvalid) as raised:
            apply(text, **options)
        return [f"{problem.path}: {problem.message}" for problem in raised.value.problems]

    return refused
