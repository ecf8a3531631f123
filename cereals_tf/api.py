"""CEREALS from Python: what the command line does, with data for answers.

Nothing is printed, and no progress is shown, unless `cereals_tf.show_progress()` asks for it. What
the user can mend raises `UserError`, whose text is what the command line would say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cereals_tf.campaign.folder.campaign import Campaign as CampaignFolder
from cereals_tf.campaign.folder.campaign import regions_of
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.folder.waiting import Waiting, waiting
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.progress import show_progress
from cereals_tf.data_prep.quiet import load_tensorflow
from cereals_tf.data_prep.remote import RemotePath, folder_at, local_folder

if TYPE_CHECKING:
    from cereals_tf.campaign.add import Added
    from cereals_tf.campaign.estimate import Estimate
    from cereals_tf.campaign.learning.quality import Evaluation
    from cereals_tf.campaign.review import Reviewed

__all__ = ["Campaign", "Status", "UserError", "inspect", "prepare", "show_progress"]

Folder = str | Path


def prepare(
    source: Folder,
    out: Folder,
    *,
    dataset: str,
    invalid: str = "refuse",
    problems: Folder = "",
    workers: int = 1,
    beam_options: str | None = None,
    note: Callable[[str], object] = lambda text: None,
    **options: Any,
) -> PreparedData:
    """Convert a data set to TFRecord splits; after an interruption, the same call goes on.

    Args:
        source: The data set's folder, or a zip file of it.
        out: New folder for the prepared data set, also in an object store: s3://BUCKET/FOLDER.
        dataset: What `source` is, as `cereals prepare --dataset` names it.
        invalid: What becomes of images and shapes that cannot be used: `refuse` (nothing is
            written), or `skip` (they are left out, counted in dataset.json and listed in
            left_out.csv of `out`).
        problems: A file to list all of them in, as CSV.
        workers: Images that are converted at a time, large data sets in as many processes; 0: one
            per core. A script that asks for more than 1 does its work behind
            `if __name__ == "__main__"`.
        beam_options: Convert in a pipeline of Apache Beam, with these options of Beam's as on a
            command line. None: convert without Beam.
        note: Told in sentences how the source is read, if people will have to annotate train,
            and what is wrong.
        **options: How `source` is read: options of its kind, see `cereals prepare --help`.

    Raises:
        ProblemsError: Parts of the source cannot be used and `invalid` refuses that; its
            `problems` are all of them.
        UserError: The source cannot be used at all, or `out` exists.
    """
    load_tensorflow()
    from cereals_tf.data_prep.prepare import prepare as convert

    convert(
        local_folder(str(source)),
        folder_at(str(out)),
        dataset,
        options,
        workers,
        beam_options,
        note,
        invalid,
        local_folder(str(problems)) if str(problems) else None,
    )
    return inspect(out)


def estimate_of_large(prepared: PreparedData) -> "Estimate | None":
    """Return what rounds with the defaults would take at most, for a data set that is large.

    Raises:
        UserError: The data set is damaged.
    """
    load_tensorflow()
    from cereals_tf.campaign.estimate import estimate_defaults, is_large

    return estimate_defaults(prepared) if is_large(prepared) else None


def inspect(data: Folder, *, verify: bool = False) -> PreparedData:
    """Return what a prepared data set holds: classes, splits, images.

    Args:
        data: Its folder, also in an object store: s3://BUCKET/FOLDER.
        verify: Read and decode every record too.

    Raises:
        UserError: It is no prepared data set, or `verify` found damage.
    """
    folder = folder_at(str(data))
    if verify or isinstance(folder, RemotePath):
        load_tensorflow()
    prepared = PreparedData.open(folder)
    if verify:
        from cereals_tf.data_prep.verify import verify as verify_records

        verify_records(prepared)
    return prepared


@dataclass(frozen=True)
class Status:
    """Where a campaign stands.

    Attributes:
        rounds: What each complete round gave.
        waiting: What its round in progress waits for people to annotate; None: it does not wait.
    """

    rounds: Sequence[Metrics]
    waiting: Waiting | None


class Campaign:
    """A campaign: rounds of choosing regions, annotating them and training on them.

    Attributes:
        opened: Its folder, with all that is in there.
    """

    def __init__(self, opened: CampaignFolder) -> None:
        """Use an opened folder; see `start` and `open`."""
        self.opened = opened

    @classmethod
    def start(
        cls,
        folder: Folder,
        *,
        data: Folder,
        annotations: Folder = "",
        note: Callable[[str], object] = lambda text: None,
        **options: Any,
    ) -> "Campaign":
        """Create a campaign.

        Args:
            folder: New folder for it.
            data: The prepared data set.
            annotations: Another campaign, or a prepared data set, whose annotations of train's
                images become round 0, for people to go on with.
            note: Told in a sentence what of them is brought.
            **options: As `cereals start --help` lists them, in the form that is typed there:
                `region="96"`, `budget="5%"`, `seed=1`.

        Raises:
            UserError: An option is wrong, has no effect or does not fit the data, or the folder is
                taken.
        """
        chosen = Options.chosen(**options)
        load_tensorflow()
        from cereals_tf.campaign.start import start_campaign

        begun = folder_at(str(annotations)) if str(annotations) else None
        new, data_folder = local_folder(str(folder)), folder_at(str(data))
        return cls(start_campaign(new, data_folder, chosen, begun, note))

    @classmethod
    def open(cls, folder: Folder) -> "Campaign":
        """Open a campaign.

        Raises:
            UserError: There is none.
        """
        return cls(CampaignFolder.open(folder))

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.opened.folder

    @property
    def options(self) -> Options:
        """Its options, those of the round in progress or of the next one."""
        return self.opened.options

    def estimate(self) -> "Estimate":
        """Return what rounds will take at most, after a short trial on the data.

        Raises:
            UserError: The data set or a model is damaged.
        """
        load_tensorflow()
        from cereals_tf.campaign.estimate import estimate

        return estimate(self.opened)

    def step(self, *, strategy: str = "none", recipe: str = "") -> Metrics | None:
        """Do the next round, or finish an interrupted one.

        Where people annotate, the regions of the round after it are chosen too, see `status`.

        Args:
            strategy: What trains the models: none, mirrored or multiworker.
            recipe: What this round is trained by in place of the campaign's: fast or best.

        Returns:
            What it gave; None if the pool is empty or the round waits for people, see `status`.

        Raises:
            UserError: The campaign is busy, or its data set changed or is damaged.
        """
        load_tensorflow()
        from cereals_tf.campaign.run import step_campaign

        done = step_campaign(self.opened, strategy, recipe, ask=True)
        return done.metrics if done else None

    def run(self, rounds: int, *, target: float = 1.0, strategy: str = "none") -> list[Metrics]:
        """Step until so many rounds are complete, an mIoU is met, or a step completes no round.

        Returns:
            What each complete round gave, the earlier ones included.

        Raises:
            UserError: See `step`.
        """
        load_tensorflow()
        from cereals_tf.campaign.run import run_campaign

        run_campaign(self.opened, rounds, target, strategy)
        return [done.metrics for done in self.opened.rounds()]

    def set(self, **options: Any) -> int:
        """Change options, from the first round on whose regions are not chosen yet.

        Args:
            **options: As `cereals set --help` lists them, in the form that is typed there.

        Returns:
            That round's number.

        Raises:
            UserError: An option is unknown, fixed, without effect or does not fit the data, or the
                campaign is busy.
        """
        load_tensorflow()
        from cereals_tf.campaign.change import set_options

        self.opened = set_options(self.opened, options)
        return self.opened.to_choose

    def move(self, data: Folder) -> None:
        """Say where the data set lies now.

        Raises:
            UserError: That is another data set or none, or the campaign is busy.
        """
        load_tensorflow()
        from cereals_tf.campaign.change import move_data

        self.opened = move_data(self.opened, folder_at(str(data)))

    def add(
        self,
        source: Folder | None = None,
        *,
        dataset: str = "images",
        split: str = "train",
        prefix: str = "",
        classes: Sequence[str] = (),
        invalid: str = "refuse",
        problems: Folder = "",
        workers: int = 1,
        note: Callable[[str], object] = lambda text: None,
        **options: Any,
    ) -> "Added":
        """Add images to the data set, or classes; the first round that is not chosen sees them.

        Args:
            source: The folder with all the images, or a zip file of it. None: add classes alone.
            dataset: What it is, as `cereals add --dataset` names it.
            split: `train` or `val`.
            prefix: What the images' ids begin with beside their names.
            classes: Names of classes to append.
            invalid: As in `prepare`, as are the others.
            problems: A file to list all problems in.
            workers: Images that are converted at a time.
            note: Told in sentences what the user should know.
            **options: How `source` is read.

        Raises:
            UserError: The images do not fit the campaign, there is nothing to add, or it is busy.
        """
        load_tensorflow()
        from cereals_tf.campaign.add import add_images

        self.opened, added = add_images(
            self.opened,
            None if source is None else local_folder(str(source)),
            dataset,
            options,
            split,
            prefix,
            classes,
            workers,
            note,
            invalid,
            local_folder(str(problems)) if str(problems) else None,
        )
        return added

    def exclude(self, *images: str, training: bool = False) -> list[str]:
        """Let images never be proposed again, in the first round whose regions are not chosen.

        Args:
            *images: Their ids, or patterns of ids as a shell has them.
            training: Train on nothing of them either.

        Returns:
            Those that were not excluded so before.

        Raises:
            UserError: There is no such image, nothing would be left, or the campaign is busy.
        """
        from cereals_tf.campaign.change import exclude_images

        self.opened, new = exclude_images(self.opened, images, training)
        return new

    def include(self, *images: str) -> list[str]:
        """Undo the exclusion of images, and the skipping of regions in them.

        Args:
            *images: Their ids, or patterns of ids as a shell has them.

        Returns:
            The images.

        Raises:
            UserError: None of them is excluded or has a region that is skipped, or the campaign is
                busy.
        """
        from cereals_tf.campaign.change import include_images

        self.opened, undone = include_images(self.opened, images)
        return undone

    def status(self) -> Status:
        """Return where the campaign stands."""
        return Status([done.metrics for done in self.opened.rounds()], waiting(self.opened))

    def regions(self, round: int | None = None) -> list[Annotated]:
        """Return what was annotated, in all complete rounds or in one.

        Raises:
            UserError: There is no such round.
        """
        rounds = self.opened.rounds() if round is None else [self.opened.round(round)]
        return regions_of(rounds)

    def round_number(self, round: int | None = None) -> int:
        """Return the number of a complete round, the last one's by default.

        Raises:
            UserError: There is no such round.
        """
        return self.opened.round(round).number

    def evaluate(self, round: int | None = None, *, split: str = "val") -> "Evaluation":
        """Measure a round's segmentation model on val or test, the last one's by default.

        Raises:
            UserError: There is no such round or split, or the data set changed or is damaged.
        """
        done = self.opened.round(round)
        load_tensorflow()
        from cereals_tf.campaign.learning.quality import evaluate_round

        return evaluate_round(self.opened, done, split)

    def review(self, folds: int = 5) -> "list[Reviewed]":
        """Return what is annotated by how little its labels are believed, the least first.

        Args:
            folds: As `cereals review --folds`.

        Raises:
            UserError: No round is complete, the campaign is busy, or its data set changed or is
                damaged.
        """
        load_tensorflow()
        from cereals_tf.campaign.review import review

        return review(self.opened, folds)

    def reopen(self, regions: str) -> Waiting:
        """Ask people to draw regions of complete rounds again, as `0:3,1:12`.

        Raises:
            UserError: An oracle annotates, the campaign is busy or in training, or a region was not
                annotated.
        """
        from cereals_tf.campaign.reopen import region_names, reopen

        return reopen(self.opened, region_names(regions))

    def report(
        self,
        out: Folder | None = None,
        *,
        beside: Sequence["Campaign"] = (),
        rounds: Sequence[int] = (),
        baseline: bool = False,
    ) -> Path:
        """Write pictures and an HTML page about the campaign, and return the page.

        Args:
            out: New folder for them. Default: `report/` in the campaign, replaced.
            beside: Other campaigns, whose curves are drawn beside this one's.
            rounds: Rounds whose acquisition is shown. Default: the first and the last.
            baseline: Draw as many regions at random, train on these too, and show that beside.

        Raises:
            UserError: No round is complete, or `out` is taken, or `baseline` cannot be.
        """
        load_tensorflow()
        from cereals_tf.campaign.baseline import baseline_of
        from cereals_tf.report import write_report

        folder = local_folder(str(out)) if out else None
        others = [other.opened for other in beside]
        random = baseline_of(self.opened) if baseline else None
        return write_report(self.opened, folder, others, rounds, random)

    def export(
        self,
        out: Folder,
        round: int | None = None,
        *,
        format: str = "savedmodel",
        quantize: str = "none",
        size: tuple[int, int] | None = None,
    ) -> Path:
        """Write a round's models for serving, the last one's by default; return their folder.

        Args:
            out: New folder.
            round: The round.
            format: As `cereals export --format` names it.
            quantize: As `--quantize` names it.
            size: (height, width) of the images, where a format takes one size only.

        Raises:
            UserError: There is no such round, `out` is taken, or the models cannot be written so.
        """
        done = self.opened.round(round)
        load_tensorflow()
        from cereals_tf.export.export import export_round

        folder = local_folder(str(out))
        export_round(self.opened, done, folder, format, quantize=quantize, size=size)
        return folder
