"""What goes wrong, and what a user should hear of."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable

from ._lac import LacError

__all__ = ["LacError", "LacWarning", "logger", "tell"]

#: What lac has to say that is neither a result nor a warning.
logger = logging.getLogger("lac")


class LacWarning(UserWarning):
    """Something may not be as you think."""


def tell(notices: Iterable[tuple[bool, str]], stacklevel: int = 3) -> None:
    """Passes notices on: warnings to `warnings`, notes to `logging`."""
    for is_warning, text in notices:
        if is_warning:
            warnings.warn(text, LacWarning, stacklevel=stacklevel)
        else:
            logger.info(text)
