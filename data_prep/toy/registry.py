"""The styles of drawn scenes. A new one is a file with its `Style`, and an entry here."""

from cereals_tf.data_prep.toy.aerial import AERIAL
from cereals_tf.data_prep.toy.streets import STREETS

STYLES = {style.name: style for style in (STREETS, AERIAL)}
"""The styles by name."""
