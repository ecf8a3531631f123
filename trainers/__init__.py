"""Weighted training input, fitting with early stopping, and evaluation of Keras models."""
