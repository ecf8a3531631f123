"""A campaign: its options, its state on disk, and its rounds."""
