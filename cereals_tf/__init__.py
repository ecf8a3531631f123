"""CEREALS: cost-effective region-based active learning for semantic segmentation."""

__version__ = "0.2.0.dev0"
