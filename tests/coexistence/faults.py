"""Planted faults: what a mistake in the product would be like, switched on by a test alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

FAULTS: dict[str, Callable[[], AbstractContextManager[object]]] = {}


@contextlib.contextmanager
def planted(*names: str) -> Iterator[None]:
    """These faults are in the product meanwhile, in this process."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(FAULTS[name]())
        yield
