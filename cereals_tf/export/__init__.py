"""Export of a round's models for other runtimes, each format a file of its own."""
