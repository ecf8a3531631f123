"""What to annotate next: information, fusion with cost, regions and their selection."""
