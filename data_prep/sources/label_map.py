"""What values, colours and names in annotations stand for: classes, or what is ignored."""

import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import option
from cereals_tf.data_prep.problems import InvalidError
from cereals_tf.data_prep.sources.reading import read_object
from cereals_tf.data_prep.sources.splits import SplitOptions
from cereals_tf.data_prep.text import counted, is_unicode, shown

Colour = tuple[int, int, int]
OTHERS = "others"
"""In a classes file, stands for all ids, colours and names that no class has."""

_UNKNOWN = "masks with unknown ids or colours"
_IDS = 65536
_FIELDS = ("names", "ids", "palette", "colours", "ignored", "ignore_id")


@dataclass(frozen=True)
class ClassesOptions(SplitOptions):
    """Options of sources that may have a classes file."""

    classes: str = option(
        "classes.json",
        "JSON file in SOURCE with class names, palette, ignore_id and the ids and colours of "
        "masks; or cityscapes, cityscapes_train_ids, voc or camvid for the classes of those.",
    )


@dataclass(frozen=True)
class LabelMap:
    """What stands for which class.

    Attributes:
        classes: The classes.
        ids: Train id, or the ignore id, by value of a mask's pixels.
        colours: The same by colour (red, green, blue); empty where none are known.
        names: The same by label, where annotations have names.
        others: Whether everything else is ignored; otherwise it is refused.
        ids_are_stated: Whether a mask's values have the say, whatever colours its palette has.
    """

    classes: Classes
    ids: Mapping[int, int]
    colours: Mapping[Colour, int] = field(default_factory=dict)
    names: Mapping[str, int] = field(default_factory=dict)
    others: bool = False
    ids_are_stated: bool = False

    def of_ids(self, values: np.ndarray, where: str) -> np.ndarray:
        """Return the train ids, uint8 [H, W], of a mask's values, uint8 or uint16 [H, W].

        Raises:
            InvalidError: A value stands for nothing; `where` begins the message.
        """
        used = np.flatnonzero(np.bincount(values.ravel())).tolist()
        unknown = [value for value in used if value not in self.ids]
        if unknown and not self.others:
            expected = (
                "none of 'ids' and 'ignored' of the classes"
                if self.ids_are_stated
                else f"neither one of the {len(self.classes)} classes nor the ignore id "
                f"{self.classes.ignore_id}"
            )
            raise InvalidError(_UNKNOWN, f"{where}: label id {unknown[0]} is {expected}")
        table = np.zeros(used[-1] + 1, np.uint8)
        for value in used:
            table[value] = self.ids.get(value, self.classes.ignore_id)
        return table[values]

    def of_rgb(self, pixels: np.ndarray, where: str) -> np.ndarray:
        """Return the train ids, uint8 [...], of a mask's colours, uint8 [..., 3].

        Where all is grey and not of colours that classes have, the grey values are ids.

        Raises:
            InvalidError: A colour stands for nothing; `where` begins the message.
        """
        if (pixels == pixels[..., :1]).all():
            used = np.flatnonzero(np.bincount(pixels[..., 0].ravel())).tolist()
            if self.ids_are_stated or any((grey,) * 3 not in self.colours for grey in used):
                return self.of_ids(pixels[..., 0], where)
        if not self.colours:
            raise InvalidError(_UNKNOWN, f"{where}: an RGB mask, expected 'palette' of the classes")
        known = sorted((_packed(colour), i) for colour, i in self.colours.items())
        codes, ids = (np.array(part) for part in zip(*known, strict=True))
        found = pixels.astype(np.int32) @ _PLACES
        nearest = np.minimum(np.searchsorted(codes, found), len(codes) - 1)
        missed = codes[nearest] != found
        if missed.any() and not self.others:
            pixels_have = counted(int(missed.sum()), "pixel has", "pixels have")
            raise InvalidError(
                _UNKNOWN,
                f"{where}: {pixels_have} the colour of no class, as {pixels[missed][0].tolist()}",
            )
        return np.where(missed, self.classes.ignore_id, ids[nearest]).astype(np.uint8)

    def of_palette(self, values: np.ndarray, palette: np.ndarray, where: str) -> np.ndarray:
        """Return the train ids, uint8 [H, W], of a palette mask.

        Where the palette gives values the colours of other classes, or the grey of other ids, these
        have the say.

        Args:
            values: The mask's values, uint8 [H, W].
            palette: Their colours, uint8 [256, 3].
            where: What begins the message of an error.

        Raises:
            InvalidError: A value stands for nothing, or only some have a class's colour.
        """
        used = np.flatnonzero(np.bincount(values.ravel())).tolist()
        colours = {value: tuple(palette[value].tolist()) for value in used}
        shown = {value: self._shown(colour) for value, colour in colours.items()}
        others = [value for value in used if shown[value] not in (None, self.ids.get(value))]
        if self.ids_are_stated or not others or len(set(colours.values())) < len(used):
            return self.of_ids(values, where)
        ignored = self.classes.ignore_id
        strange = [value for value in used if shown[value] is None]
        if not self.others and any(self.ids.get(value) != ignored for value in strange):
            raise InvalidError(
                _UNKNOWN,
                f"{where}: its palette has a class's colour {list(colours[others[0]])} at "
                f"{others[0]}, but at {strange[0]} the colour {list(colours[strange[0]])} of none, "
                "expected 'ids' among the classes if the values have the say",
            )
        table = np.zeros(256, np.uint8)
        for value, train_id in shown.items():
            table[value] = ignored if train_id is None else train_id
        return table[values]

    def _shown(self, colour: Colour) -> int | None:
        """Return the train id of a colour, or of the id that it is if it is grey."""
        if colour in self.colours or len(set(colour)) > 1:
            return self.colours.get(colour)
        return self.ids.get(colour[0])

    def of_name(self, name: Any, where: str) -> int:
        """Return the train id of a label.

        Raises:
            InvalidError: It stands for nothing; `where` begins the message.
        """
        for spelled in (name, name.strip()) if isinstance(name, str) else ():
            if spelled in self.names:
                return self.names[spelled]
        if self.others:
            return self.classes.ignore_id
        found = shown(name) if isinstance(name, str) else reprlib.repr(name)
        raise InvalidError(
            "shapes of unknown classes", f"{where} has the unknown class name {found}"
        )


_PLACES = np.array([1 << 16, 1 << 8, 1], np.int32)


def _packed(colour: Colour) -> int:
    return int(np.array(colour) @ _PLACES)


def train_id_map(classes: Classes) -> LabelMap:
    """Return the map of masks that hold train ids, or the palette's colours."""
    return LabelMap(
        classes,
        {i: i for i in (*range(len(classes)), classes.ignore_id)},
        of_one_class(classes.palette),
        {name: i for i, name in enumerate(classes.names)},
    )


def of_one_class(palette: Sequence[Colour]) -> dict[Colour, int]:
    """Return the class of each colour in a palette that is of no other class."""
    counts = Counter(palette)
    return {colour: i for i, colour in enumerate(palette) if counts[colour] == 1}


def read_label_map(path: Path) -> LabelMap:
    """Read a classes file.

    Its fields are `names`, a list; `ignore_id`, by default 255; `palette`, a [red, green, blue] for
    each class, by default of evenly spaced hues; `ids` and `colours`, for each class the value or
    the colour that it has in masks, or a list of them, by default its place in the list and its
    colour in the palette; `ignored`, a list of ids, colours and labels that stand for no class, or
    "others" for all that no class has. The ignore id is ignored unless a class has it.

    Raises:
        UserError: No such file, broken JSON, or a field of the wrong form.
    """
    if not path.exists():
        raise UserError(f"{path}: no such classes file (see --classes)")
    content = read_object(path)
    for name in content.keys() - {*_FIELDS}:
        if near := get_close_matches(name, _FIELDS, n=1, cutoff=0.75):
            raise UserError(f"{path}: has the field {shown(name)}, did you mean {near[0]!r}?")
    names = _names(path, content.get("names"))
    ignore_id = content.get("ignore_id", 255)
    if type(ignore_id) is not int or not len(names) <= ignore_id <= 255:
        raise UserError(
            f"{path}: 'ignore_id' is {reprlib.repr(ignore_id)}, expected a whole number "
            f"from {len(names)} to 255"
        )
    palette = _palette(path, content.get("palette"), len(names))
    classes = Classes(names, palette or evenly_spaced_palette(len(names)), ignore_id)
    ids = _stated(path, content, "ids", _is_id, len(names)) or {i: i for i in range(len(names))}
    colours = _stated(path, content, "colours", _is_colour, len(names)) or of_one_class(palette)
    labels = {name: i for i, name in enumerate(names)}
    _add_ignored(path, content.get("ignored", []), ignore_id, (ids, colours, labels))
    ids.setdefault(ignore_id, ignore_id)
    return LabelMap(
        classes, ids, colours, labels, content.get("ignored") == OTHERS, "ids" in content
    )


def _names(path: Path, names: Any) -> tuple[str, ...]:
    valid = isinstance(names, list) and all(
        isinstance(name, str) and name and is_unicode(name) for name in names
    )
    if not valid or not 2 <= len(names) <= 255:
        raise UserError(f"{path}: 'names' must be a list of 2 to 255 class names")
    if len(set(names)) != len(names):
        raise UserError(f"{path}: 'names' has a name twice")
    return tuple(names)


def _palette(path: Path, palette: Any, classes: int) -> tuple[Colour, ...]:
    if palette is None:
        return ()
    if (
        not isinstance(palette, list)
        or not all(map(_is_colour, palette))
        or len(palette) != classes
    ):
        raise UserError(f"{path}: 'palette' must hold {classes} [red, green, blue] of 0 to 255")
    return tuple(tuple(colour) for colour in palette)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < _IDS


def _is_colour(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in value)
    )


def _key(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _stated(
    path: Path, content: Mapping[str, Any], name: str, is_one: Callable[[Any], bool], classes: int
) -> dict[Any, int] | None:
    """Return the class of each id or colour in a field that has one or several for each class."""
    if name not in content:
        return None
    given = content[name]
    groups = [[value] if is_one(value) else value for value in given] if type(given) is list else []
    if len(groups) != classes or not all(
        isinstance(group, list) and group and all(map(is_one, group)) for group in groups
    ):
        raise UserError(f"{path}: {name!r} must hold, for each of {classes} classes, one or a list")
    found: dict[Any, int] = {}
    for class_id, group in enumerate(groups):
        for value in map(_key, group):
            if found.setdefault(value, class_id) != class_id:
                raise UserError(f"{path}: {name!r} has {value} for two classes")
    return found


def _add_ignored(
    path: Path, ignored: Any, ignore_id: int, known: tuple[dict[Any, int], ...]
) -> None:
    """Add what a classes file says to ignore to its ids, colours and labels."""
    if ignored == OTHERS:
        return
    if not isinstance(ignored, list):
        raise UserError(f"{path}: 'ignored' must be {OTHERS!r} or a list")
    for value in ignored:
        kinds = (_is_id(value), _is_colour(value), isinstance(value, str) and bool(value))
        if not any(kinds):
            raise UserError(
                f"{path}: 'ignored' has {reprlib.repr(value)}, expected an id, a colour or a label"
            )
        of_kind = known[kinds.index(True)]
        if of_kind.setdefault(_key(value), ignore_id) != ignore_id:
            raise UserError(f"{path}: 'ignored' has {reprlib.repr(value)}, which is of a class")


def read_colour(text: str) -> Colour:
    """Read a colour that is written `red,green,blue`.

    Raises:
        ValueError: It is none.
    """
    parts = [int(part) for part in text.split(",")]
    if not _is_colour(parts):
        raise ValueError(text)
    red, green, blue = parts
    return red, green, blue


def evenly_spaced_palette(classes: int) -> tuple[Colour, ...]:
    """Return one colour per class, hues evenly spaced, two brightnesses in turn."""
    from colorsys import hsv_to_rgb

    colours = (hsv_to_rgb(i / classes, 0.65, (0.95, 0.7)[i % 2]) for i in range(classes))
    return tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours)
