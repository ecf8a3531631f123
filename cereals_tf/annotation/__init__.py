"""Annotation by people: what their tools open, and what comes back from them."""
