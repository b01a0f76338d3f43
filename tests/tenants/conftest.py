"""What the tests of alerts share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.webhook_receiver import WebhookReceiver

Environment = Callable[..., None]


@pytest.fixture
def environment(settings: Any) -> Environment:
    """Changes what the gateway read from its environment."""

    def change(**values: Any) -> None:
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update=values)

    return change


@pytest.fixture
def receiver(environment: Environment) -> Iterator[WebhookReceiver]:
    """A receiver on this machine, which is allowed."""
    environment(allowed_private_hosts=["127.0.0.0/8"])
    with WebhookReceiver() as running:
        yield running
