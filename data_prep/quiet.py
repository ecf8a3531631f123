"""Keeping what libraries write to stderr off the screen."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def stderr_to(log: TextIO) -> Iterator[TextIO]:
    """Send to a file what this process, and those that it starts, log or write to stderr.

    Handlers that logging has already go on as they are.

    Args:
        log: The file, open for writing.

    Yields:
        What writes to the screen all the same.
    """
    handler = logging.StreamHandler(log)  # while there is one, libraries do not add their own
    logging.getLogger().addHandler(handler)
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", buffering=1) as screen:
        os.dup2(log.fileno(), 2)
        try:
            yield screen
        finally:
            sys.stderr.flush()
            os.dup2(screen.fileno(), 2)
            logging.getLogger().removeHandler(handler)
