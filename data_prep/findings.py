"""What of a prepared data set will hurt later: each finding a sentence for the user."""

from collections.abc import Iterator, Mapping

from cereals_tf.data_prep.dataset import PreparedData

IGNORED_SHARE = 0.25
"""A split with more ignored pixels than this is worth a word."""

SHIFTED_SHARE = 0.1
"""Two splits differ if more than this of the pixels would have to change class to agree."""

_OF_MASKS = ("masks", "camvid", "voc")
"""Kinds of data sets whose masks' values may mean something else than was said."""

POLYGON_IOU = 0.8
"""Polygons that agree less with their mask than this misstate its clicks."""


def findings(data: PreparedData) -> list[str]:
    """Return what will hurt a campaign on this data set, the worst first."""
    return [
        *_ids_in_both_splits(data),
        *_absent_classes(data),
        *_twin_classes(data),
        *_different_shares(data),
        *_ignored(data),
        *_loose_polygons(data),
        *_different_sizes(data),
    ]


def _ids_in_both_splits(data: PreparedData) -> Iterator[str]:
    train, val = ({entry.image_id for entry in data.images[split]} for split in ("train", "val"))
    if shared := sorted(train & val):
        yield f"ids in both train and val: {len(shared)}, as {shared[0]!r}"


def _absent_classes(data: PreparedData) -> Iterator[str]:
    train, val = (_pixels(data, split) for split in ("train", "val"))
    in_train = [name for name, count in train.items() if count or not data.labelled("train")]
    if absent := [name for name in train if name not in in_train]:
        yield f"no pixel of train shows: {', '.join(absent)}{_black_and_white(data, in_train)}"
    if absent := [name for name in in_train if not val[name]]:
        yield f"no pixel of val shows, so that nothing is measured of: {', '.join(absent)}"


def _twin_classes(data: PreparedData) -> Iterator[str]:
    alike: dict[str, list[str]] = {}
    for name in data.classes.names:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    for twins in alike.values():
        if len(twins) > 1:
            yield f"classes that differ in case or spaces only: {', '.join(map(repr, twins))}"


def _black_and_white(data: PreparedData, shown: list[str]) -> str:
    """Return what to say of masks that show one class and what is ignored."""
    classes, ignored = data.classes, data.split("train").pixels_ignored
    if data.description.source not in _OF_MASKS or len(shown) != 1 or not ignored:
        return ""
    return (
        f"; {classes.ignore_id} is ignore_id: if the masks are of 0 and {classes.ignore_id}, "
        f'"ids": [0, {classes.ignore_id}] among the classes says so'
    )


def _different_shares(data: PreparedData) -> Iterator[str]:
    """Compare the class distributions of train and val by their total variation distance."""
    train, val = (_shares(data, split) for split in ("train", "val"))
    if not train or not val:
        return
    moved = sum(abs(train[name] - val[name]) for name in train) / 2
    if moved > SHIFTED_SHARE:
        gaps = {name: round(abs(train[name] - val[name]), 3) for name in train}
        worst = sorted(
            (name for name in gaps if gaps[name] > 0), key=gaps.__getitem__, reverse=True
        )[:3]
        named = ", ".join(f"{name} {train[name]:.1%} and {val[name]:.1%}" for name in worst)
        yield f"train and val have different shares of the classes ({moved:.0%} apart): {named}"


def _ignored(data: PreparedData) -> Iterator[str]:
    for name, split in data.description.splits.items():
        share = split.pixels_ignored / split.pixels
        if share > IGNORED_SHARE and split.labelled:
            yield f"{share:.0%} of the pixels of {name} are unlabelled; they train and test nothing"


def _loose_polygons(data: PreparedData) -> Iterator[str]:
    agreement = data.polygon_iou_per_class
    loose = {name: iou for name, iou in agreement.items() if iou is not None and iou < POLYGON_IOU}
    if loose:
        worst = sorted(loose, key=loose.__getitem__)[:3]
        named = ", ".join(f"{name} {loose[name]:.2f}" for name in worst)
        yield (
            f"polygons, painted back, miss their masks (IoU {named}); the clicks counted are "
            "those of a coarse outline, a smaller --tolerance gives a finer one"
        )


def _different_sizes(data: PreparedData) -> Iterator[str]:
    sizes = {size for split in data.description.splits.values() for size in split.image_sizes}
    if len(sizes) > 1:
        yield f"images have {len(sizes)} sizes; batches above 1 need --image_size"


def _pixels(data: PreparedData, split: str) -> Mapping[str, int]:
    return data.split(split).pixels_per_class


def _shares(data: PreparedData, split: str) -> dict[str, float]:
    """Return each class's share of a split's labelled pixels; nothing where none is labelled."""
    pixels = _pixels(data, split)
    total = sum(pixels.values())
    return {name: count / total for name, count in pixels.items()} if total else {}
