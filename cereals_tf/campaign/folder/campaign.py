"""A campaign on disk: campaign.json, one folder a committed round, and the round in progress."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.annotations import AnnotationStore
from cereals_tf.campaign.folder.history import (
    Change,
    added_by,
    excluded_by,
    extended_by,
    included_by,
    options_of,
    unskipped_by,
)
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.folder.regions import Annotated, read_regions
from cereals_tf.campaign.folder.request import read_redraws, read_request
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.options import OF_0_1, Options
from cereals_tf.data_prep.dataset import DESCRIPTION as DATA_DESCRIPTION
from cereals_tf.data_prep.dataset import Classes, PreparedData, chained, extended
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import (
    new_folder,
    refuse_read_only,
    sync,
    sync_tree,
    write_atomically,
)
from cereals_tf.data_prep.remote import RemotePath, folder_at
from cereals_tf.data_prep.sources.reading import read_object

FORMAT_VERSION = 1
DESCRIPTION = "campaign.json"
REQUEST = "request.csv"
ANNOTATIONS = "annotations"
SECOND = "second"
"""What other annotators drew of the same regions, which no training sees."""
WORKING = "working"
REGIONS = "regions.csv"
METRICS = "metrics.json"
SCRATCH = "scratch"
"""What a round needs only while it is in progress, in its folder."""
OPTIONS_FILE = "options.json"
"""Where a round keeps the options that it has in place of the campaign's."""
ROUND_FILES = (REGIONS, "segmentation.keras", "cost.keras", METRICS)


def model_file(name: str) -> str:
    """Return the name of a model's file in a round's folder."""
    return f"{name}.keras"


class BusyError(UserError):
    """Another process is working on a campaign."""


@dataclass(frozen=True)
class CommittedRound:
    """A finished round's folder, `rounds/NNN`."""

    folder: Path

    @property
    def number(self) -> int:
        """The round's number, from 0."""
        return int(self.folder.name)

    @cached_property
    def regions(self) -> list[Annotated]:
        """What was annotated in this round."""
        return read_regions(self.folder / REGIONS)

    @cached_property
    def request(self) -> list[Chosen]:
        """What people were asked for in this round, nothing where an oracle annotated it."""
        path = self.folder / REQUEST
        return read_request(path) if path.exists() else []

    @cached_property
    def redraws(self) -> dict[int, RegionName]:
        """Which earlier regions the request asked for again, by number."""
        path = self.folder / REQUEST
        return read_redraws(path) if path.exists() else {}

    @property
    def skipped(self) -> list[Region]:
        """The regions of the request that people skipped; those drawn before are not among them."""
        annotated = {done.region for done in self.regions}
        asked = [
            each.region for number, each in enumerate(self.request) if number not in self.redraws
        ]
        return [region for region in asked if region not in annotated]

    @property
    def named(self) -> dict[RegionName, Annotated]:
        """What was annotated in this round, by name; labels that came with images come last."""
        numbers = {asked.region: n for n, asked in enumerate(self.request)}
        return {
            RegionName(self.number, numbers.setdefault(done.region, len(numbers))): done
            for done in self.regions
        }

    @property
    def annotations(self) -> AnnotationStore:
        """What people annotated in this round."""
        return AnnotationStore(self.folder / ANNOTATIONS)

    @property
    def second_annotations(self) -> AnnotationStore:
        """What second annotators drew in some of its regions."""
        return AnnotationStore(self.folder / SECOND)

    @property
    def own_options(self) -> dict[str, Any]:
        """The options that the round has in place of the campaign's, in their written forms."""
        path = self.folder / OPTIONS_FILE
        return read_object(path) if path.exists() else {}

    @cached_property
    def metrics(self) -> Metrics:
        """What the round gave."""
        return Metrics.read(self.folder / METRICS)


def regions_of(rounds: Iterable[CommittedRound]) -> list[Annotated]:
    """Return all that was annotated in some rounds, in the order of annotation."""
    return [region for done in rounds for region in done.regions]


@dataclass(frozen=True)
class Campaign:
    """A campaign folder.

    Attributes:
        folder: The folder.
        data_folder: Where the prepared data set is.
        fingerprint: The data set's fingerprint when the campaign started.
        first_options: The options that the campaign started with.
        recorded_classes: The data set's classes; None where version 0.1 started the campaign.
        changes: What has become otherwise since, in order.
    """

    folder: Path
    data_folder: Path | RemotePath
    fingerprint: str
    first_options: Options
    recorded_classes: Classes | None = None
    changes: tuple[Change, ...] = ()

    @classmethod
    def create(
        cls,
        folder: Path,
        data: PreparedData,
        options: Options,
        fill: Callable[[Path], object] = lambda folder: None,
    ) -> "Campaign":
        """Make a new campaign's folder.

        Args:
            folder: The folder.
            data: The prepared data set.
            options: The options.
            fill: Writes what else belongs there, before the folder has its name.

        Raises:
            UserError: The folder exists and is not empty, or cannot be written.
        """
        base, *others = data.parts.values()
        content = {
            "format_version": FORMAT_VERSION,
            **_data_places(folder, data.folder.resolve()),
            "fingerprint": base.fingerprint,
            "classes": asdict(base.classes),
            "seed": options.seed,
            "options": options.to_json(),
        }
        if others:
            added = {part.folder.name: part.fingerprint for part in others}
            content["changes"] = [Change(0, added=added, classes=_appended(data, base)).to_json()]
        with new_folder(folder) as partial:
            (partial / DESCRIPTION).write_bytes(_written(content))
            (partial / "rounds").mkdir()
            fill(partial)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> "Campaign":
        """Open a campaign's folder.

        Raises:
            UserError: No campaign, or of another format version.
        """
        folder = Path(folder)
        path = folder / DESCRIPTION
        if not path.is_file():
            raise UserError(f"{folder}: not a campaign, it has no {DESCRIPTION}")
        content = read_object(path)
        if content.get("format_version") != FORMAT_VERSION:
            found = content.get("format_version")
            raise UserError(f"{path}: format version {found}, expected {FORMAT_VERSION}")
        try:
            return cls(
                folder,
                _data_folder(folder, content),
                content["fingerprint"],
                Options.of(**OF_0_1 | content["options"]),
                _classes(content["classes"]) if "classes" in content else None,
                tuple(map(Change.from_json, content.get("changes", ()))),
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path}: lacks or misstates {error}") from None

    def reopened(self) -> "Campaign":
        """Return the campaign as it is on disk now; itself if that is the same."""
        now = Campaign.open(self.folder)
        return self if now == self else now

    @property
    def data_is_there(self) -> bool:
        """Whether there is a prepared data set where the campaign's is expected."""
        return (self.data_folder / DATA_DESCRIPTION).is_file()

    @property
    def data(self) -> PreparedData:
        """The prepared data set as the round in progress, or the next one, sees it.

        Raises:
            UserError: It is gone, or it changed since the campaign started.
        """
        return self.data_at(len(self.rounds()) if self.changes else 0)

    def data_at(self, number: int) -> PreparedData:
        """Return the data set as a round sees it; errors as in `data`."""
        added = added_by(self.changes_until(number))
        key = (*added, *self.classes_at(number).names) if self.recorded_classes else (*added,)
        if key not in self._opened:
            self._opened[key] = self._open_data(added, number)
        return self._opened[key]

    @cached_property
    def _opened(self) -> dict[tuple[str, ...], PreparedData]:
        return {}

    def _open_data(self, added: Mapping[str, str], number: int) -> PreparedData:
        elsewhere = (
            f"if it lies elsewhere now, run: cereals move {quote(str(self.folder))} --data=DATA"
        )
        if not self.data_is_there:
            raise UserError(
                f"{self.data_folder}: not a prepared data set, it has no {DATA_DESCRIPTION}, and "
                f"{self.folder} recorded that its data set is there; {elsewhere}"
            )
        parts = PreparedData.open(self.data_folder, tuple(added)).parts
        for part, expected in zip(parts.values(), (self.fingerprint, *added.values()), strict=True):
            if part.fingerprint != expected:
                raise UserError(
                    f"{part.folder}: the data set changed since {self.folder} was started with it "
                    f"(fingerprint {part.fingerprint[:12]}, expected {expected[:12]}); {elsewhere}"
                )
        base = parts[""]
        classes = extended_by(self.changes_until(number), base.classes)
        return extended(base, {name: parts[name] for name in added}, classes)

    @property
    def data_fingerprint(self) -> str:
        """The fingerprint of the data set as the round in progress, or the next one, sees it."""
        added = added_by(self.changes_until(len(self.rounds())))
        return chained([self.fingerprint, *added.values()])

    @property
    def classes(self) -> Classes:
        """See `classes_at`, for the round in progress or the next one."""
        return self.classes_at(len(self.rounds()) if self.changes else 0)

    def classes_at(self, number: int) -> Classes:
        """Return the classes that a round has; a campaign of version 0.1 looks them up.

        Raises:
            UserError: They are to be looked up, and the data set is gone or changed.
        """
        if self.recorded_classes is None:
            return self.data_at(number).classes
        return extended_by(self.changes_until(number), self.recorded_classes)

    def as_of(self, done: CommittedRound) -> "Campaign":
        """Return the campaign as a committed round saw it, without what changed since."""
        return replace(self, changes=tuple(self.changes_until(done.number)))

    @property
    def options(self) -> Options:
        """The options of the round in progress, or of the next one."""
        return self.options_at(len(self.rounds())) if self.changes else self.first_options

    def options_at(self, number: int) -> Options:
        """Return the campaign's options as a round finds them, which may have some of its own."""
        changed = options_of(self.changes_until(number))
        return self.first_options.but(**changed) if changed else self.first_options

    def changes_until(self, number: int) -> list[Change]:
        """Return the changes that count for a round."""
        return [change for change in self.changes if change.round <= number]

    @property
    def excluded(self) -> dict[str, bool]:
        """See `excluded_at`, for the round in progress or the next one."""
        return self.excluded_at(len(self.rounds())) if self.changes else {}

    def excluded_at(self, number: int) -> dict[str, bool]:
        """Return the images in which a round chooses nothing; True: nor trains on."""
        return excluded_by(self.changes_until(number))

    def skipped(self) -> list[Region]:
        """Return the regions that people skipped in the committed rounds and that stay so."""
        rounds = self.rounds()
        void = included_by(self.changes_until(len(rounds)))
        return [
            region
            for done in rounds
            for region in done.skipped
            if done.number >= void.get(region.image_id, 0)
        ]

    def options_of(self, done: CommittedRound) -> Options:
        """Return the options of a round, be it the one in progress."""
        usual = self.options if done.folder == self.working else self.options_at(done.number)
        own = done.own_options
        return usual.but(**own) if own else usual

    def classes_of(self, done: CommittedRound) -> Classes:
        """Return the classes of a round, be it the one in progress; errors as in `classes_at`."""
        return self.classes if done.folder == self.working else self.classes_at(done.number)

    @property
    def to_choose(self) -> int:
        """The first round whose regions are not chosen yet: what changes now counts for it."""
        chosen = any((self.working / name).exists() for name in (REQUEST, REGIONS))
        return len(self.rounds()) + chosen

    def change(self, change: Change) -> "Campaign":
        """Note a change, of which the caller holds the lock, and return the changed campaign.

        What was scored for the round whose regions are to be chosen is scored again.
        """
        if change.round == len(self.rounds()):
            shutil.rmtree(self.working / SCRATCH, ignore_errors=True)
        before = read_object(self.folder / DESCRIPTION)
        changes = [*before.get("changes", ()), change.to_json()]
        classes = asdict(self.recorded_classes or self.data_at(0).classes)
        return self._rewritten({"classes": classes, "changes": changes})

    def move(self, data: PreparedData) -> "Campaign":
        """Note where the data set is now, under the lock, and return the changed campaign.

        Raises:
            UserError: It is another one.
        """
        parts = data.parts
        for name, expected in {"": self.fingerprint, **added_by(self.changes)}.items():
            found = parts[name].fingerprint if name in parts else "none"
            if found != expected:
                raise UserError(
                    f"--data={data.folder / name}: not the data set that {self.folder} was started "
                    f"with (fingerprint {found[:12]}, expected {expected[:12]})"
                )
        places = _data_places(self.folder, data.folder.resolve())
        return self._rewritten({"classes": asdict(parts[""].classes), **places})

    def _rewritten(self, parts: dict[str, Any]) -> "Campaign":
        path = self.folder / DESCRIPTION
        write_atomically(path, _written({**read_object(path), **parts}))
        return Campaign.open(self.folder)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The size that images are resized to, None: as they are."""
        return self.options.image_size

    @property
    def working(self) -> Path:
        """The folder of the round in progress."""
        return self.folder / WORKING

    @property
    def annotations(self) -> AnnotationStore:
        """What people annotated so far in the round in progress."""
        void = unskipped_by(self.changes, len(self.rounds())) if self.changes else {}
        return AnnotationStore(self.working / ANNOTATIONS, len(self.changes), void)

    @property
    def second_annotations(self) -> AnnotationStore:
        """What second annotators drew in the round in progress."""
        return AnnotationStore(self.working / SECOND)

    def request(self) -> list[Chosen] | None:
        """Return the regions that the round in progress waits for; None: it does not wait.

        It waits from the choice of its regions until `step` takes in what was annotated.
        """
        path = self.working / REQUEST
        waits = path.exists() and not (self.working / REGIONS).exists()
        return read_request(path) if waits else None

    def redraws(self) -> dict[int, RegionName]:
        """Return which earlier regions the round in progress asks for again, by number."""
        path = self.working / REQUEST
        return read_redraws(path) if path.exists() else {}

    def rounds(self) -> list[CommittedRound]:
        """Return the committed rounds in order.

        Raises:
            UserError: One before the last is missing.
        """
        folders = (self.folder / "rounds").glob("[0-9][0-9][0-9]*")
        rounds = [CommittedRound(folder) for folder in folders if folder.name.isdecimal()]
        rounds.sort(key=lambda done: done.number)
        for number, done in enumerate(rounds):
            if done.number != number:
                raise UserError(f"{done.folder}: found without round {number:03d} before it")
        return rounds

    def round(self, number: int | None) -> CommittedRound:
        """Return a committed round, the last one if `number` is None.

        Raises:
            UserError: There is no such round.
        """
        rounds = self.rounds()
        if not rounds:
            raise UserError(f"{self.folder}: no round is complete yet, run: cereals step")
        if number is None:
            return rounds[-1]
        if not 0 <= number < len(rounds):
            raise UserError(f"--round={number}: complete are rounds 0 to {len(rounds) - 1}")
        return rounds[number]

    def commit(self) -> CommittedRound:
        """Make the working folder the next round, by one rename after everything is on disk."""
        target = self.folder / "rounds" / f"{len(self.rounds()):03d}"
        missing = [name for name in ROUND_FILES if not (self.working / name).is_file()]
        if missing:
            raise ValueError(f"the working round lacks {missing}")
        sync_tree(self.working)
        self.working.rename(target)
        sync(target.parent)
        sync(self.folder)
        return CommittedRound(target)

    @contextmanager
    def lock(self, shared: bool = False) -> Iterator[None]:
        """Hold the campaign for this process; the lock goes when the process ends, however.

        Args:
            shared: Let other processes hold it too, those that share it as well.

        Raises:
            BusyError: Another process holds it.
            UserError: The folder is read-only.
        """
        refuse_read_only(self.folder)
        path = self.folder / ".lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            number = os.read(descriptor, 20).decode()
            os.close(descriptor)
            holder = f"process {number}" if number else "another process"
            raise BusyError(f"{self.folder}: {holder} is working on this campaign") from None
        try:
            os.ftruncate(descriptor, 0)
            if not shared:
                os.write(descriptor, str(os.getpid()).encode())
            yield
        finally:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _written(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _appended(data: PreparedData, base: PreparedData) -> dict[str, Sequence[int]]:
    """Return the classes, with their colours, that a data set has beside those it began with."""
    names, palette = data.classes.names, data.classes.palette
    return dict(list(zip(names, palette, strict=True))[len(base.classes) :])


def _classes(content: Mapping[str, Any]) -> Classes:
    palette = tuple((int(red), int(green), int(blue)) for red, green, blue in content["palette"])
    return Classes(tuple(content["names"]), palette, content["ignore_id"])


def _data_places(folder: Path, data: Path | RemotePath) -> dict[str, str]:
    """Return how campaign.json says where a data set is: from the campaign, and from the root.

    The first holds where both are moved together, the second where the campaign is moved alone.
    """
    own = folder.resolve()
    if isinstance(data, RemotePath) or data.parts[:2] != own.parts[:2]:
        return {"data": str(data)}
    return {"data": os.path.relpath(data, own), "data_from_root": str(data)}


def _data_folder(folder: Path, content: Mapping[str, Any]) -> Path | RemotePath:
    """Return where campaign.json says that the data set is.

    Raises:
        TypeError: It does not say so.
    """
    if not isinstance(content["data"], str):
        raise TypeError("'data', expected a path")
    data = folder_at(content["data"])
    if isinstance(data, RemotePath) or data.is_absolute():
        return data
    near = (folder.resolve() / data).resolve()
    far = Path(content.get("data_from_root", near))
    return far if far.is_dir() and not near.is_dir() else near
