"""Keeping TensorFlow's log off the screen."""

import logging
import os
import sys
import tempfile


def load_tensorflow() -> None:
    """Import TensorFlow without the notes that it writes to stderr whatever its log level.

    They are shown after all if the import fails. Its later warnings, as of functions that are
    traced for one model after another, are no news to the user either.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(screen, notes.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)
