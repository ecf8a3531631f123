"""Importing Apache Beam, which not everybody has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.quiet import stderr_to


@contextmanager
def beam_imported() -> Iterator[None]:
    """Import Beam, and let nothing be seen of what it says while it is imported and set up.

    Raises:
        UserError: Beam is missing.
    """
    with open(os.devnull, "w") as nowhere, stderr_to(nowhere):
        try:
            import apache_beam  # noqa: F401
        except ModuleNotFoundError as error:
            if error.name != "apache_beam":
                raise
            raise UserError(
                "--runner=beam: needs Apache Beam, expected it from: pip install 'cereals-tf[beam]'"
            ) from None
        yield
