"""CEREALS: cost-effective region-based active learning for semantic segmentation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cereals_tf.api import Campaign, Status, UserError, inspect, prepare, show_progress

__version__ = "0.2.0.dev0"
__all__ = ["Campaign", "Status", "UserError", "inspect", "prepare", "show_progress"]


def __getattr__(name: str) -> Any:
    """Import what `cereals_tf.api` offers when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cereals_tf import api

    return getattr(api, name)
