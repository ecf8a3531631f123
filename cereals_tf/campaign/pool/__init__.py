"""What may be chosen, and what is chosen of it."""
