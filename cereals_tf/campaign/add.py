"""Adding images and classes to a campaign that has begun; its later rounds see them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cereals_tf.campaign.change import held
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.history import Change, extended_by
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.pool import resolve_region
from cereals_tf.data_prep.addition import add
from cereals_tf.data_prep.dataset import Classes, ImageEntry, PreparedData, extended
from cereals_tf.data_prep.duplicates import near_duplicates
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.sources.label_sets import voc_palette
from cereals_tf.data_prep.text import counted, shown

LISTED = 5
"""So many images that look like others are named."""


@dataclass(frozen=True)
class Added:
    """What was added to a campaign.

    Attributes:
        round: The first round that sees it.
        split: The split that the images belong to.
        images: How many there are.
        labelled: How many of them have labels.
        classes: The appended classes.
        alike: Those that look like an image that was there, with that one.
    """

    round: int
    split: str = ""
    images: int = 0
    labelled: int = 0
    classes: tuple[str, ...] = ()
    alike: Mapping[str, str] | None = None

    def lines(self) -> list[str]:
        """Say what was added and what to look at."""
        parts = [f"the class {shown(name)}" for name in self.classes]
        if self.images:
            some = "all" if self.labelled == self.images else self.labelled or "none"
            parts.append(f"{counted(self.images, 'image')} of {self.split} ({some} labelled)")
        lines = [f"from round {self.round} on with {' and '.join(parts)} more"]
        pairs = [f"{shown(new)} like {shown(old)}" for new, old in (self.alike or {}).items()]
        if pairs:
            more = f" and {len(pairs) - LISTED} more" if len(pairs) > LISTED else ""
            lines.append(f"warning: look alike: {', '.join(pairs[:LISTED])}{more}")
        return lines


def add_images(
    campaign: Campaign,
    source: Path | None,
    kind: str = "",
    options: Mapping[str, Any] | None = None,
    split: str = "train",
    prefix: str = "",
    classes: Sequence[str] = (),
    workers: int = 1,
    note: Callable[[str], object] = lambda text: None,
    invalid: str = "refuse",
    problems: Path | None = None,
) -> tuple[Campaign, Added]:
    """Add images of a source to a campaign's data set, from the first unchosen round on.

    Rounds that are done, and other campaigns on the data set, see no difference.

    Args:
        campaign: The campaign.
        source: Where the images are. None: only classes are appended.
        kind: What it is, see `cereals_tf.data_prep.addition.add`, as for what is not said here.
        options: How it is read.
        split: `train` or `val`.
        prefix: What the images' ids begin with beside their names.
        classes: Names of classes to append.
        workers: Images that are converted at a time, 0: one per core.
        note: Told what the user should know.
        invalid: What becomes of images and shapes with problems.
        problems: A file to list them in.

    Returns:
        The changed campaign, and what was added.

    Raises:
        UserError: The images do not fit the campaign, there is nothing to add, or it is busy.
    """
    if source is None and not classes:
        raise UserError("add: SOURCE is missing, expected images to add, or --add_class=NAME")
    with held(campaign) as now:
        number = now.to_choose
        data, settings = now.data_at(number), now.options_at(number)
        change = Change(number, classes=_appended(data.classes, classes))
        after = extended_by([change], data.classes)
        if source is None:
            return now.change(change), Added(number, classes=tuple(classes))
        name = add(
            source,
            data,
            after,
            kind,
            options or {},
            split,
            prefix,
            split == "val" or settings.annotator == "oracle",
            workers,
            note,
            invalid,
            problems,
            lambda images: _refuse_small(settings, images),
        )
        part = PreparedData.open_part(data.folder / name)
        parts = data.parts
        whole = extended(parts[""], {**_additions(parts), name: part}, after)
        new = whole.classes.names[len(data.classes) :]
        colours = dict(zip(new, whole.classes.palette[len(data.classes) :], strict=True))
        shards = [shard for known in data.splits for shard in data.shards(known)]
        total = sum(map(len, whole.images.values()))
        alike = near_duplicates(part.shards(split), shards, total)
        entries = part.images[split]
        labelled = sum(entry.labelled for entry in entries)
        change = Change(number, added={name: part.fingerprint}, classes=colours)
        return now.change(change), Added(number, split, len(entries), labelled, new, alike)


def _additions(parts: Mapping[str, PreparedData]) -> dict[str, PreparedData]:
    return {name: part for name, part in parts.items() if name}


def _refuse_small(options: Options, images: Sequence[ImageEntry]) -> None:
    """Raise UserError if a region does not fit into an image."""
    if options.image_size is None:
        resolve_region(options.region, images)


def _appended(classes: Classes, names: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return new classes with colours of their own.

    Raises:
        UserError: A class is there already, or there is no id left for it.
    """
    for name in names:
        if not name or name in classes.names or list(names).count(name) > 1:
            known = ", ".join(classes.names)
            raise UserError(f"--add_class={name}: expected the name of a new class, beside {known}")
    if len(classes) + len(names) > classes.ignore_id:
        raise UserError(
            f"--add_class={','.join(names)}: {classes.ignore_id} is the id of what is ignored, "
            f"expected at most {classes.ignore_id} classes"
        )
    colours = (colour for colour in voc_palette(256)[1:] if colour not in classes.palette)
    return dict(zip(names, colours, strict=False))
