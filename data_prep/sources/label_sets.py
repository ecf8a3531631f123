"""The classes of well-known data sets, and what stands for them in their annotations."""

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.sources.label_map import (
    ClassesOptions,
    Colour,
    LabelMap,
    read_colour,
    read_label_map,
    train_id_map,
)

IGNORE_ID = 255


class LabelSet(NamedTuple):
    """A data set's name, for messages, and what stands for its classes."""

    name: str
    labels: LabelMap


class Label(NamedTuple):
    """One label of Cityscapes: its name, id, train id (255: not evaluated), and colour."""

    name: str
    id: int
    train_id: int
    colour: tuple[int, int, int]


LABELS = (
    Label("unlabeled", 0, 255, (0, 0, 0)),
    Label("ego vehicle", 1, 255, (0, 0, 0)),
    Label("rectification border", 2, 255, (0, 0, 0)),
    Label("out of roi", 3, 255, (0, 0, 0)),
    Label("static", 4, 255, (0, 0, 0)),
    Label("dynamic", 5, 255, (111, 74, 0)),
    Label("ground", 6, 255, (81, 0, 81)),
    Label("road", 7, 0, (128, 64, 128)),
    Label("sidewalk", 8, 1, (244, 35, 232)),
    Label("parking", 9, 255, (250, 170, 160)),
    Label("rail track", 10, 255, (230, 150, 140)),
    Label("building", 11, 2, (70, 70, 70)),
    Label("wall", 12, 3, (102, 102, 156)),
    Label("fence", 13, 4, (190, 153, 153)),
    Label("guard rail", 14, 255, (180, 165, 180)),
    Label("bridge", 15, 255, (150, 100, 100)),
    Label("tunnel", 16, 255, (150, 120, 90)),
    Label("pole", 17, 5, (153, 153, 153)),
    Label("polegroup", 18, 255, (153, 153, 153)),
    Label("traffic light", 19, 6, (250, 170, 30)),
    Label("traffic sign", 20, 7, (220, 220, 0)),
    Label("vegetation", 21, 8, (107, 142, 35)),
    Label("terrain", 22, 9, (152, 251, 152)),
    Label("sky", 23, 10, (70, 130, 180)),
    Label("person", 24, 11, (220, 20, 60)),
    Label("rider", 25, 12, (255, 0, 0)),
    Label("car", 26, 13, (0, 0, 142)),
    Label("truck", 27, 14, (0, 0, 70)),
    Label("bus", 28, 15, (0, 60, 100)),
    Label("caravan", 29, 255, (0, 0, 90)),
    Label("trailer", 30, 255, (0, 0, 110)),
    Label("train", 31, 16, (0, 80, 100)),
    Label("motorcycle", 32, 17, (0, 0, 230)),
    Label("bicycle", 33, 18, (119, 11, 32)),
    Label("license plate", -1, -1, (0, 0, 142)),
)


def _cityscapes() -> LabelMap:
    """Return Cityscapes' 19 classes by id and name; a group, as `cargroup`, is its members."""
    evaluated = sorted(
        (label for label in LABELS if label.train_id not in (-1, IGNORE_ID)),
        key=lambda label: label.train_id,
    )
    classes = Classes(
        tuple(label.name for label in evaluated),
        tuple(label.colour for label in evaluated),
        IGNORE_ID,
    )
    return replace(
        train_id_map(classes),
        ids={label.id: label.train_id for label in LABELS if label.id >= 0} | {255: IGNORE_ID},
        names={label.name + group: label.train_id for label in LABELS for group in ("", "group")},
        ids_are_stated=True,
    )


_VOC_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
VOC_VOID = (224, 224, 192)
"""The colour of what VOC ignores."""


def voc_palette(classes: int) -> tuple[Colour, ...]:
    """Return VOC's colours: bits 0, 1, 2 of an id are the highest bits of red, green and blue.

    Bits 3, 4, 5 are the second highest, and so on, as in `VOClabelcolormap` of the development kit
    of the PASCAL Visual Object Classes Challenge 2012.
    """

    def value(i: int, part: int) -> int:
        return sum((i >> 3 * k + part & 1) << 7 - k for k in range(8))

    return tuple((value(i, 0), value(i, 1), value(i, 2)) for i in range(classes))


def _voc() -> LabelMap:
    classes = Classes(_VOC_NAMES, voc_palette(len(_VOC_NAMES)), IGNORE_ID)
    found = train_id_map(classes)
    return replace(found, colours={**found.colours, VOC_VOID: IGNORE_ID})


_CAMVID = {
    "sky": ("128,128,128",),
    "building": ("128,0,0", "192,0,128", "0,128,64", "64,0,64", "64,192,0"),
    "pole": ("192,192,128", "0,0,64"),
    "road": ("128,64,128", "128,0,192", "192,0,64"),
    "pavement": ("0,0,192", "64,192,128", "128,128,192"),
    "tree": ("128,128,0", "192,192,0"),
    "sign": ("192,128,128", "128,128,64", "0,64,64"),
    "fence": ("64,64,128",),
    "car": ("64,0,128", "64,128,192", "192,128,192", "192,64,128", "128,64,64"),
    "pedestrian": ("64,64,0", "192,128,64", "64,0,192", "64,128,64"),
    "bicyclist": ("0,128,192", "192,0,192"),
}
"""SegNet's 11 classes (Badrinarayanan et al., 2015) in the order of their ids.

Each has the colours of those of CamVid's 32 labels (Brostow et al., 2009) that are grouped in it:
building, archway, bridge, tunnel, wall; column or pole, traffic cone; road, lane markings to drive
on and not; sidewalk, parking block, road shoulder; tree, other vegetation; sign, text, traffic
light; car, SUV or pickup, truck or bus, train, other moving; pedestrian, child, cart, animal;
bicyclist, motorcycle. Void is ignored.
"""


def _camvid() -> LabelMap:
    groups = [[read_colour(text) for text in colours] for colours in _CAMVID.values()]
    classes = Classes(tuple(_CAMVID), tuple(group[0] for group in groups), IGNORE_ID)
    found = train_id_map(classes)
    return replace(
        found,
        ids={**found.ids, len(classes): IGNORE_ID},
        colours={colour: i for i, group in enumerate(groups) for colour in group}
        | {(0, 0, 0): IGNORE_ID},
    )


CITYSCAPES = LabelSet("Cityscapes", _cityscapes())
CITYSCAPES_TRAIN_IDS = LabelSet("Cityscapes", train_id_map(CITYSCAPES.labels.classes))
VOC = LabelSet("PASCAL VOC", _voc())
CAMVID = LabelSet("CamVid", _camvid())

BUILT_IN = {
    "cityscapes": CITYSCAPES,
    "cityscapes_train_ids": CITYSCAPES_TRAIN_IDS,
    "voc": VOC,
    "camvid": CAMVID,
}
"""What `--classes` may name in place of a file."""


def label_set_of(folder: Path, options: ClassesOptions, own: LabelSet | None = None) -> LabelSet:
    """Return the classes that a source's options name.

    Args:
        folder: The source.
        options: They name a file in it, or a key of `BUILT_IN`.
        own: What holds where they name neither.

    Raises:
        UserError: See `read_label_map`.
    """
    path = folder / options.classes
    if not os.path.lexists(path):
        if options.classes in BUILT_IN:
            return BUILT_IN[options.classes]
        if own and options.classes == ClassesOptions.classes:
            return own
    return LabelSet(str(path), read_label_map(path))
