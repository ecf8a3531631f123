"""A configuration by which X-AnyLabeling's server offers an exported ONNX file as an assistant.

The form is that of X-AnyLabeling-Server, `configs/auto_labeling/MODEL_ID.yaml` (its user guide,
section 1.3); docs/serving.md has the class that reads it there. The program itself loads models of
the kinds that it knows, none of which is semantic segmentation.
"""

import json
from collections.abc import Sequence
from pathlib import Path

CONFIGURATION = "x-anylabeling.yaml"


def write_assistant(folder: Path, classes: Sequence[str], number: int) -> None:
    """Write the configuration beside `model.onnx`.

    Args:
        folder: Where to.
        classes: Their names, in id order.
        number: The round.
    """
    lines = [
        "model_id: cereals",
        f"display_name: CEREALS, round {number}",
        "params:",
        "  model_path: model.onnx # as the server sees it",
        "  tolerance: 1.0 # of the polygons, pixels",
        "  classes:",
        *(f"    - {json.dumps(name)}" for name in classes),
        "widgets:",
        "  - name: button_run",
        "    value: null",
        "  - name: toggle_preserve_existing_annotations",
        "    value: false",
    ]
    (folder / CONFIGURATION).write_text("\n".join(lines) + "\n", encoding="utf-8")
