"""PyTorch's and baal's side of the comparison, run in the environment of the peers.

Stages take a memory format, `contiguous` or `channels_last`.
"""

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from baal import ModelWrapper
from baal.bayesian.caching_utils import MCCachingModule
from baal.bayesian.dropout import MCDropoutModule
from baal.modelwrapper import TrainingArgs
from torch import Tensor
from torch.nn import functional

from tests.bench.peer_fcn8s import FCN8s, load_keras_weights, parameter_count
from tests.bench.peer_process import Setting, asked, serve

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> None:
    """Answer requests."""
    warnings.simplefilter("ignore")
    threads = int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0))
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    builders = {"compare": compare, "forward": forward, "step": step, "committee": committee}
    setting = asked()
    serve({name: partial(builder, setting) for name, builder in builders.items()})


def compare(setting: Setting) -> Callable[[], dict[str, float]]:
    """Load the other side's weights, and compare the logits of its image with its own.

    Returns:
        Stage that returns `parameters` and the largest `difference` as a share of the largest
        logit.
    """

    def run() -> dict[str, float]:
        with np.load(Path(setting.folder, "network.npz")) as arrays:
            given = dict(arrays)
        images = torch.from_numpy(given.pop("images")).permute(0, 3, 1, 2)
        expected = torch.from_numpy(given.pop("logits")).permute(0, 3, 1, 2)
        model = FCN8s(setting.classes, setting.width_multiplier).eval()
        load_keras_weights(model, given)
        with torch.inference_mode():
            difference = (model(images) - expected).abs().max() / expected.abs().max()
        return {"parameters": parameter_count(model), "difference": float(difference)}

    return run


def forward(setting: Setting, precision: str, memory: str) -> Callable[[], None]:
    """Build the deterministic pass."""
    model, images = _model(setting, memory).eval(), _images(setting, memory)

    def run() -> None:
        with torch.inference_mode(), _mixed(precision):
            model(images)

    return run


def step(setting: Setting, precision: str, memory: str) -> Callable[[], None]:
    """Build a training step: weighted cross-entropy, and Adam in one kernel."""
    model, images = _model(setting, memory).train(), _images(setting, memory)
    shape = (1, -(-setting.height // 8), -(-setting.width // 8))
    labels, weights = torch.randint(setting.classes, shape), torch.ones(shape)
    optimizer = torch.optim.Adam(
        model.parameters(), 1e-4, betas=(0.99, 0.999), eps=1e-7, fused=True
    )

    def run() -> None:
        optimizer.zero_grad()
        with _mixed(precision):
            logits = model(images)
        losses = functional.cross_entropy(logits.float(), labels, reduction="none")
        ((losses * weights).sum() / weights.sum()).backward()
        optimizer.step()

    return run


def committee(setting: Setting, way: str, memory: str) -> Callable[[], None]:
    """Build baal's predictions of all members.

    Args:
        setting: What to run.
        way: `batch`, all members in one batch; or `cache`, one by one, with its cache, which keeps
            what each convolution gave as long as its input is the same.
        memory: The memory format.
    """
    module, images = MCDropoutModule(_model(setting, memory)), _images(setting, memory)
    if way == "cache":
        module = MCCachingModule(module)
    arguments = TrainingArgs(use_cuda=False, replicate_in_memory=way == "batch")
    wrapper = ModelWrapper(module, arguments)
    wrapper.eval()

    def run() -> None:
        wrapper.predict_on_batch(images, setting.members)

    return run


def _model(setting: Setting, memory: str) -> FCN8s:
    model = FCN8s(setting.classes, setting.width_multiplier)
    return model.to(memory_format=FORMATS[memory])


def _images(setting: Setting, memory: str) -> Tensor:
    images = torch.randint(256, (1, 3, setting.height, setting.width), dtype=torch.uint8)
    return images.to(memory_format=FORMATS[memory])


def _mixed(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed_bfloat16")


if __name__ == "__main__":
    main()
