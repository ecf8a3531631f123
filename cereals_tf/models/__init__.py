"""Segmentation and cost models: FCN8s on one of several backbones, or a model of the user's own."""
