"""Parsers and writers know no database: once is enough for them."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("once")
