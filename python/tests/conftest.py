"""What the tests have in common: the model that lac carries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lac

#: A question that the model answers.
QUESTION = "Where does Kodo live?"


@pytest.fixture(scope="session")
def model() -> Iterator[lac.Model]:
    """The embedded model."""
    with lac.load("demo", progress=False) as model:
        yield model
