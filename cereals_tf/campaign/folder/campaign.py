"""A campaign on disk: campaign.json, one folder a committed round, and the round in progress."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.annotations import AnnotationStore
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.folder.regions import Annotated, read_regions
from cereals_tf.campaign.folder.request import read_redraws, read_request
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.options import OF_0_1, Options
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import new_folder, refuse_read_only, sync, sync_tree
from cereals_tf.data_prep.remote import RemotePath, folder_at
from cereals_tf.data_prep.sources.reading import read_json

FORMAT_VERSION = 1
DESCRIPTION = "campaign.json"
REQUEST = "request.csv"
ANNOTATIONS = "annotations"
SECOND = "second"
"""What other annotators drew of the same regions, which no training sees."""
REGIONS = "regions.csv"
METRICS = "metrics.json"
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
        """What was annotated in this round, by name."""
        if not self.request:
            return {RegionName(self.number, n): done for n, done in enumerate(self.regions)}
        numbers = {asked.region: n for n, asked in enumerate(self.request)}
        return {RegionName(self.number, numbers[done.region]): done for done in self.regions}

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
        return read_json(path) if path.exists() else {}

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
        options: The campaign's options.
    """

    folder: Path
    data_folder: Path | RemotePath
    fingerprint: str
    options: Options

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
        campaign = cls(folder, data.folder.resolve(), data.fingerprint, options)
        content = {
            "format_version": FORMAT_VERSION,
            "data": str(campaign.data_folder),
            "fingerprint": campaign.fingerprint,
            "seed": options.seed,
            "options": options.to_json(),
        }
        with new_folder(folder) as partial:
            (partial / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n")
            (partial / "rounds").mkdir()
            fill(partial)
        return campaign

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
        content = read_json(path)
        if content.get("format_version") != FORMAT_VERSION:
            found = content.get("format_version")
            raise UserError(f"{path}: format version {found}, expected {FORMAT_VERSION}")
        try:
            if not isinstance(content["data"], str):
                raise TypeError("'data', expected a path")
            options = Options.of(**OF_0_1 | content["options"])
            return cls(folder, folder_at(content["data"]), content["fingerprint"], options)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: lacks or misstates {error}") from None

    @cached_property
    def data(self) -> PreparedData:
        """The prepared data set.

        Raises:
            UserError: It is gone, or it changed since the campaign started.
        """
        data = PreparedData.open(self.data_folder)
        if data.fingerprint != self.fingerprint:
            raise UserError(
                f"{self.data_folder}: the data set changed since {self.folder} was started with it"
            )
        return data

    def options_of(self, done: CommittedRound) -> Options:
        """Return the options of a round."""
        own = done.own_options
        return self.options.but(**own) if own else self.options

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The size that images are resized to, None: as they are."""
        return self.options.image_size

    @property
    def working(self) -> Path:
        """The folder of the round in progress."""
        return self.folder / "working"

    @property
    def annotations(self) -> AnnotationStore:
        """What people annotated so far in the round in progress."""
        return AnnotationStore(self.working / ANNOTATIONS)

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
