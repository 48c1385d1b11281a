"""Progress of long work, by tqdm where it is installed."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional

#: Called with what is done and all that is to be done.
Report = Optional[Callable[[int, int], None]]


#: What is done within this many seconds shows no bar.
DELAY = 1.0


def _is_watched() -> bool:
    """Whether somebody looks at stderr: a terminal, or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


@contextmanager
def progress(what: str, unit: str, asked: bool | None, scale: bool = False) -> Iterator[Report]:
    """Shows a bar, if it was asked for, or if it was not refused and somebody looks."""
    if not (_is_watched() if asked is None else asked):
        yield None
        return
    try:
        with warnings.catch_warnings():
            # It warns in notebooks without widgets, and draws a bar of text there.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
    except ImportError:
        yield None
        return
    bar: Any = None

    def report(n_done: int, n_total: int) -> None:
        nonlocal bar
        if bar is None and n_total > 1:
            bar = tqdm(desc=what, total=n_total, unit=unit, unit_scale=scale, leave=False, delay=DELAY)
        if bar is not None:
            bar.total = n_total
            bar.update(n_done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
