"""Measurements of this project, each a ratio to a floor or to a peer taken in the same run."""
