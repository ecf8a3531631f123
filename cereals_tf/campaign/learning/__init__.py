"""Training and measuring a round's models."""
