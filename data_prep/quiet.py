"""Keeping what libraries write to stderr off the screen."""

import logging
import os
import sys
import tempfile
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
    try:
        with _redirected(log.fileno()) as screen:
            yield screen
    finally:
        logging.getLogger().removeHandler(handler)


@contextmanager
def notes_kept_back() -> Iterator[None]:
    """Keep what libraries write to stderr off the screen, but where they fail."""
    with tempfile.TemporaryFile() as notes, _redirected(notes.fileno()) as screen:
        try:
            yield
        except Exception:
            notes.seek(0)
            os.write(screen.fileno(), notes.read())
            raise


@contextmanager
def _redirected(file: int) -> Iterator[TextIO]:
    """Send what this process writes to stderr to a file; yields what writes to the screen."""
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", buffering=1) as screen:
        os.dup2(file, 2)
        try:
            yield screen
        finally:
            sys.stderr.flush()
            os.dup2(screen.fileno(), 2)


def load_tensorflow() -> None:
    """Import TensorFlow without the notes that it writes to stderr whatever its log level.

    Its later warnings, as of functions that are traced for one model after another, are no news to
    the user either.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with notes_kept_back():
            import tensorflow  # noqa: F401
