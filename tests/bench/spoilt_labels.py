"""`python -m tests.bench.spoilt_labels DATA OUT`: what `review` finds of labels that are wrong.

A campaign of people whom the ground truth plays, but who spoil 5 % of their regions: two classes
swapped, labels shifted, or an object missing. Of DATA, a prepared data set with labels, regions of
64x64 pixels at 192x256 are drawn. Prints, per seed, what share of the spoilt regions is among the
first 10 % of `review`, and the mIoU with spoilt labels, with those of the first 10 % drawn again,
and with all labels right. What is done is in OUT and not done again.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.reopen import reopen
from cereals_tf.campaign.review import review
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.quiet import load_tensorflow
from cereals_tf.trainers.split import Split

SPOILT = 0.05
REVIEWED = 0.1
LEAST_CHANGE = 0.1
"""Of a region's pixels; a mistake that changes fewer is not counted as one."""
FOLDS = 5
Truth = dict[str, tuple[np.ndarray, Sequence[Polygon]]]
Wrong = dict[int, tuple[str, np.ndarray]]
Spoil = Callable[[np.ndarray, Box, np.random.Generator, int], np.ndarray]


def swapped(
    label: np.ndarray, window: Box, draw: np.random.Generator, ignore_id: int
) -> np.ndarray:
    """Return a region with its two largest classes swapped; one class becomes another of the image.

    Args:
        label: uint8 [H, W], the whole image's.
        window: The region.
        draw: Draws what is left open.
        ignore_id: The id of ignored pixels, which stay.
    """
    part = label[window.slices].copy()
    ids, counts = np.unique(part[part != ignore_id], return_counts=True)
    others = np.setdiff1d(label[label != ignore_id], ids)
    largest = ids[np.argsort(-counts)][:2]
    if len(largest) < 2 and len(others):
        largest = np.append(largest, draw.choice(others))
    if len(largest) < 2:
        return part
    one, other = largest
    return np.where(part == one, other, np.where(part == other, one, part)).astype(np.uint8)


def shifted(
    label: np.ndarray, window: Box, draw: np.random.Generator, ignore_id: int
) -> np.ndarray:
    """Return a region with the labels from 1/8 to 1/4 of its side away; arguments as `swapped`."""
    far = draw.integers(window.height // 8, window.height // 4, 2, endpoint=True)
    dy, dx = far * draw.choice([-1, 1], 2)
    rows = np.clip(np.arange(window.y, window.y + window.height) + dy, 0, len(label) - 1)
    columns = np.clip(np.arange(window.x, window.x + window.width) + dx, 0, label.shape[1] - 1)
    return label[np.ix_(rows, columns)]


def missing(
    label: np.ndarray, window: Box, draw: np.random.Generator, ignore_id: int
) -> np.ndarray:
    """Return a region without one of its objects, whose pixels take the class that is nearest.

    Arguments as `swapped`.
    """
    part = label[window.slices].copy()
    ids = np.unique(part[part != ignore_id])
    objects = []
    for class_id in ids:
        parts, number = ndimage.label(part == class_id)
        objects += [parts == n for n in range(1, number + 1)]
    large = [pixels for pixels in objects if LEAST_CHANGE <= pixels.mean() <= 0.5]
    if not large:
        return part
    gone = large[draw.integers(len(large))]
    rest = gone | (part == ignore_id)
    if rest.all():
        return part
    nearest = ndimage.distance_transform_edt(rest, return_distances=False, return_indices=True)
    part[gone] = part[tuple(nearest)][gone]
    return part


KINDS: dict[str, Spoil] = {"swapped": swapped, "shifted": shifted, "missing": missing}


def spoil(asked: Sequence[tuple[Chosen, Box]], truth: Truth, seed: int, ignore_id: int) -> Wrong:
    """Return the kind and the label of the regions that are spoilt, by number."""
    draw = np.random.default_rng(seed)
    wanted = round(SPOILT * len(asked))
    found: dict[int, tuple[str, np.ndarray]] = {}
    for number in draw.permutation(len(asked)):
        if len(found) == wanted:
            break
        chosen, window = asked[number]
        label = truth[chosen.region.image_id][0]
        kind = list(KINDS)[len(found) % len(KINDS)]
        wrong = KINDS[kind](label, window, draw, ignore_id)
        right = label[window.slices]
        if ((wrong != right) & (right != ignore_id)).mean() >= LEAST_CHANGE:
            found[int(number)] = kind, wrong
    return found


def truth_of(data: PreparedData) -> Truth:
    """Return the label and the polygons of every train image."""
    return {
        record[records.IMAGE_ID].numpy().decode(): (
            records.decode_label(record[records.LABEL_ENCODED]).numpy(),
            records.polygons_of(record),
        )
        for record in Split(data, "train").records()
    }


def asked_of(campaign: Campaign, request: Sequence[Chosen]) -> list[tuple[Chosen, Box]]:
    """Return regions of a request with their windows in pixels of the original images."""
    entries = {entry.image_id: entry for entry in campaign.data.images["train"]}
    size = campaign.image_size
    return [
        (chosen, own_window(chosen.region.box, entries[chosen.region.image_id], size))
        for chosen in request
    ]


def begin(folder: Path, data: Path, seed: int, regions: int) -> Campaign:
    """Open a campaign, or start it and let it ask for its first regions."""
    if (folder / "campaign.json").exists():
        return Campaign.open(folder)
    options = Options.by_recipe(
        recipe="fast",
        annotator="files",
        image_size="192x256",
        region="64",
        initial=f"{regions}regions",
        cost_model="cereals_tf.reproduce.linear_cost:linear_cost_model",
        seed=seed,
    )
    campaign = start_campaign(folder, data, options)
    step_campaign(campaign)
    return campaign


def complete(campaign: Campaign, number: int, truth: Truth, wrong: Wrong) -> float:
    """Complete a round that waits, unless it is; return its mIoU.

    All is annotated as the truth has it, but for what is wrong.
    """
    if len(campaign.rounds()) == number:
        for place, (chosen, window) in enumerate(asked_of(campaign, campaign.request() or [])):
            label, polygons = truth[chosen.region.image_id]
            part = wrong[place][1] if place in wrong else label[window.slices]
            campaign.annotations.write(
                RegionAnnotation(place, chosen.region.image_id, window, part, polygons, None)
            )
        step_campaign(campaign)
    return campaign.round(number).metrics.miou or 0.0


def trial(out: Path, data: PreparedData, truth: Truth, seed: int, regions: int) -> dict[str, Any]:
    """Return what review finds with one seed, and what its corrections are worth."""
    path = out / f"seed-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    campaign = begin(out / f"spoilt-{seed}", data.folder, seed, regions)
    request = campaign.round(0).request if campaign.rounds() else campaign.request()
    asked = asked_of(campaign, request or [])
    wrong = spoil(asked, truth, seed, data.classes.ignore_id)
    spoilt = complete(campaign, 0, truth, wrong)
    reviewed = review(campaign, FOLDS)
    first = reviewed[: round(REVIEWED * len(reviewed))]
    found = {each.name.number for each in first} & wrong.keys()
    if len(campaign.rounds()) == 1 and campaign.request() is None:
        reopen(campaign, [each.name for each in first])
    kinds = {
        kind: [number for number, (of_kind, _) in wrong.items() if of_kind == kind]
        for kind in KINDS
    }
    right = begin(out / f"right-{seed}", data.folder, seed, regions)
    result = {
        "seed": seed,
        "regions": len(asked),
        "spoilt": len(wrong),
        "found": len(found) / len(wrong),
        **{kind: len(found.intersection(of)) / len(of) for kind, of in kinds.items()},
        "miou_spoilt": spoilt,
        "miou_reopened": complete(campaign, 1, truth, {}),
        "miou_right": complete(right, 0, truth, {}),
    }
    path.write_text(json.dumps(result) + "\n")
    return result


def main() -> None:
    """Run the trials and print a line for each, and their mean."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.spoilt_labels")
    parser.add_argument("data", type=Path, help="a prepared data set whose train has labels")
    parser.add_argument("out", type=Path, help="folder for the campaigns and the results")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--regions", type=int, default=1468, help="regions drawn (default: 1468)")
    options = parser.parse_args()
    load_tensorflow()
    data = PreparedData.open(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    truth = truth_of(data)
    results = []
    for seed in range(options.seeds):
        results.append(trial(options.out, data, truth, seed, options.regions))
        print(json.dumps(results[-1]), flush=True)
    print(json.dumps({key: float(np.mean([one[key] for one in results])) for key in results[0]}))


if __name__ == "__main__":
    main()
