"""Data sets to TFRecords: sources, polygons, clicks, records and reading them back."""
