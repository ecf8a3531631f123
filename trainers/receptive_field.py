"""Crops of an image on which a model's outputs of a region are those of the whole image.

For training on crops, a labelled region is cut out together with the pixels that its outputs
depend on. Which these are follows from the layer graph, walked from the output to the image with
intervals of rows, and of columns, see `cereals_tf.trainers.dependence`.

A crop gives the same outputs as the whole image if, at each layer that matters, its positions are
those of the whole image, only shifted, and each needed window finds the same of its positions in
the crop as in the whole image (what is missing in both is padding in both). `CropFinder` checks
just that, and enlarges the crop where it does not hold; strided layers with 'same' padding, for
example, place their windows by the parity of the image size.

A layer that is not known (attention, global pooling, Lambda) may read anything: the whole image is
then the answer, which is correct and saves nothing.

All this is about inference. Batch normalisation in training takes its statistics from the crop.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import keras
import numpy as np

from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.dependence import OpaqueError, Reads, Span, dependence
from cereals_tf.trainers.keras_graph import Call, open_model
from cereals_tf.trainers.samples import CropFor


class Step(NamedTuple):
    """One operation of the graph; tensors are numbered, the image is 0."""

    operation: Any
    inputs: tuple[int, ...]
    output: int


def steps_of(model: keras.Model) -> list[Step]:
    """Return the operations in the order of execution; the last one gives the output.

    Raises:
        OpaqueError: The model does not map one image to one feature map, or has calls that do not.
    """
    graph = open_model(model)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise OpaqueError(f"{model.name} has not one input and one output")
    numbers = {graph.inputs[0]: 0}
    for number, call in enumerate(graph.calls, start=1):
        _check(call)
        numbers[call.outputs[0]] = number
    return [
        Step(call.operation, tuple(numbers[slot] for slot in call.inputs), number)
        for number, call in enumerate(graph.calls, start=1)
    ]


def _check(call: Call) -> None:
    """Refuse calls whose tensors are not image-like, or that mix in arrays with positions."""
    if (
        not call.inputs
        or len(call.outputs) != 1
        or any(len(slot.shape or ()) != 4 for slot in (*call.inputs, *call.outputs))
        or any(np.ndim(value) > 1 for value in call.constants)
    ):
        raise OpaqueError(f"{call.operation.name} does not map feature maps to a feature map")


class Geometry:
    """Sizes and reads of all tensors of a model along one axis, for an input of one size.

    Args:
        steps: The model's operations.
        axis: 0 for rows, 1 for columns.
        size: The image's rows or columns.

    Raises:
        OpaqueError: What an operation reads is not known.
    """

    def __init__(self, steps: list[Step], axis: int, size: int) -> None:
        self.steps, self.axis = steps, axis
        self.sizes = {0: size}
        self.strides = {0: Fraction(1)}
        self.reads: list[tuple[Reads | None, ...]] = []
        for step in steps:
            target, reads = dependence(
                step.operation, axis, tuple(self.sizes[i] for i in step.inputs)
            )
            self.sizes[step.output] = target
            self.strides[step.output] = max(
                self.strides[i] * read.stride
                for i, read in zip(step.inputs, reads, strict=True)
                if read is not None
            )
            self.reads.append(reads)

    def needed(self, output: Span) -> dict[int, Span]:
        """Return the positions of each tensor, by number, that some output positions depend on.

        Raises:
            ValueError: `output` is empty or not within the model's output.
        """
        last = self.steps[-1].output
        if not 0 <= output.start < output.stop <= self.sizes[last]:
            raise ValueError(
                f"`output` must be a span within [0, {self.sizes[last]}). Received: {output}"
            )
        needed = {0: Span(0, 0), last: output}
        for step, reads in zip(reversed(self.steps), reversed(self.reads), strict=True):
            for i, window in self._windows(step, reads, needed):
                needed[i] = _hull(needed.get(i), _overlap(window, Span(0, self.sizes[i])))
        return {i: span for i, span in needed.items() if span.start < span.stop or i == 0}

    def agrees_with(self, crop: Span, needed: dict[int, Span]) -> bool:
        """Tell whether a crop gives the same values as the whole input wherever needed."""
        try:
            cropped = Geometry(self.steps, self.axis, crop.stop - crop.start)
        except OpaqueError:
            return False
        offsets = {0: Fraction(crop.start)}
        for step, reads, crop_reads in zip(self.steps, self.reads, cropped.reads, strict=True):
            if step.output not in needed:
                continue
            offset = crop.start / self.strides[step.output]
            if not _is_shifted(step, reads, crop_reads, offsets, offset):
                return False
            offsets[step.output] = offset
            for i, window in self._windows(step, reads, needed):
                here = Span(int(offsets[i]), int(offsets[i]) + cropped.sizes[i])
                if _overlap(window, here) != _overlap(window, Span(0, self.sizes[i])):
                    return False
        last = self.steps[-1].output
        end = offsets[last] + cropped.sizes[last]
        return offsets[last] <= needed[last].start and needed[last].stop <= end

    def _windows(
        self, step: Step, reads: tuple[Reads | None, ...], needed: dict[int, Span]
    ) -> Iterator[tuple[int, Span]]:
        output = needed.get(step.output)
        if output is not None and output.start < output.stop:
            for i, read in zip(step.inputs, reads, strict=True):
                if read is not None:
                    yield i, read.window(output)


def total_stride(steps: list[Step], axis: int) -> int:
    """Return the least shift of the image, in pixels, that shifts every layer by whole positions.

    This is the least common multiple of all layers' strides along an axis, 32 for FCN8s.

    Raises:
        OpaqueError: What an operation reads is not known.
    """
    # A size that strides of everyday models divide, so that resizing layers have simple factors.
    geometry = Geometry(steps, axis, 2**8 * 3**3 * 5 * 7)
    return math.lcm(*(stride.numerator for stride in geometry.strides.values()))


class CropFinder:
    """Finds the crop of an image on which the model's outputs of a region are unchanged.

    What is found along an axis is remembered: the regions of a campaign repeat.

    Args:
        model: A model with one image input [batch, H, W, channels] and one output of rank 4.
    """

    def __init__(self, model: keras.Model) -> None:
        try:
            self._steps = steps_of(model)
        except OpaqueError:
            self._steps = None
        self._found: dict[tuple[int, Span, int], Span] = {}

    def crop(
        self, output_rows: Span, output_cols: Span, image_height: int, image_width: int
    ) -> tuple[int, int, int, int]:
        """Return the crop for a region.

        With (y0, y1, x0, x1) the result and s the output's stride, the outputs of
        `model(image[y0:y1, x0:x1])` at rows output_rows - y0 / s and columns output_cols - x0 / s
        equal those of the whole image in inference mode, up to floating-point rounding.

        Args:
            output_rows: The region's rows, in output positions.
            output_cols: The region's columns, in output positions.
            image_height: Rows of the image.
            image_width: Columns of the image.

        Returns:
            (y0, y1, x0, x1), the smallest crop that holds what the region depends on, such that y0
            and x0 are multiples of the model's total stride. So are y1 and x1 as a rule; otherwise
            they are a multiple of it before the image's border, or the border.

        Raises:
            ValueError: a span is empty or not within the model's output.
        """
        rows = self._along(0, output_rows, image_height)
        columns = self._along(1, output_cols, image_width)
        if rows is None or columns is None:
            return 0, image_height, 0, image_width
        return rows.start, rows.stop, columns.start, columns.stop

    def _along(self, axis: int, output: Span, size: int) -> Span | None:
        """Return the crop along one axis, None if a layer is unknown."""
        if self._steps is None:
            return None
        key = (axis, output, size)
        if key not in self._found:
            try:
                self._found[key] = _crop_axis(self._steps, axis, output, size)
            except OpaqueError:
                self._steps = None
                return None
        return self._found[key]


def _crop_axis(steps: list[Step], axis: int, output: Span, size: int) -> Span:
    whole = Geometry(steps, axis, size)
    needed = whole.needed(output)
    stride = total_stride(steps, axis)
    start = needed[0].start // stride * stride
    stop = max(needed[0].stop, start + 1)
    stops = (
        min((stop + stride - 1) // stride * stride, size),
        size - (size - stop) // stride * stride,
        size,
    )
    candidates = (Span(*ends) for ends in product((start, 0), stops))
    return next(crop for crop in candidates if whole.agrees_with(crop, needed))


def _is_shifted(
    step: Step,
    reads: tuple[Reads | None, ...],
    crop_reads: tuple[Reads | None, ...],
    offsets: dict[int, Fraction],
    offset: Fraction,
) -> bool:
    """Tell whether output position i of the crop does what i + offset does on the whole."""
    return offset.denominator == 1 and all(
        read.stride == crop_read.stride
        and read.stride * offset + read.low == crop_read.low + offsets[i]
        for i, read, crop_read in zip(step.inputs, reads, crop_reads, strict=True)
        if read is not None and crop_read is not None
    )


def _overlap(a: Span, b: Span) -> Span:
    start, stop = max(a.start, b.start), min(a.stop, b.stop)
    return Span(start, stop) if start < stop else Span(0, 0)


def _hull(a: Span | None, b: Span) -> Span:
    if a is None or a.start == a.stop:
        return b
    if b.start == b.stop:
        return a
    return Span(min(a.start, b.start), max(a.stop, b.stop))


def crop_rule(model: keras.Model) -> CropFor:
    """Return what finds the part of an image that the model's outputs in a box depend on."""
    finder = CropFinder(model)

    def crop_of(box: Box, height: int, width: int) -> Box:
        rows, columns = (Span(part.start, part.stop) for part in box.cell_slices)
        top, bottom, left, right = finder.crop(rows, columns, height, width)
        return Box(top, left, bottom - top, right - left)

    return crop_of
