"""Who turns chosen regions into annotated ones."""
