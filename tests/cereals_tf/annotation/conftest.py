"""Campaigns that wait, and annotators who draw the ground truth into the files of each tool."""

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.request import write_request
from cereals_tf.data_prep import records
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.split import Split


@dataclass(frozen=True)
class Truth:
    """What the oracle knows of an image: uint8 [H, W], and (class name, points) in order."""

    label: np.ndarray
    objects: list[tuple[str, np.ndarray]]


@pytest.fixture(scope="session")
def truth_of():
    """Reads the truth of every train image, by its id."""

    def read(campaign) -> dict[str, Truth]:
        names = {campaign.data.classes.ignore_id: "__ignore__"}
        names |= dict(enumerate(campaign.data.classes.names))
        return {
            record[records.IMAGE_ID].numpy().decode(): Truth(
                records.decode_label(record[records.LABEL_ENCODED]).numpy(),
                [(names[part.class_id], part.points) for part in records.polygons_of(record)],
            )
            for record in Split(campaign.data, "train").records()
        }

    return read


@pytest.fixture
def waiting(begin, tmp_path):
    """A campaign of 60x90 pixels (the images have 64x96) that waits for three regions in two
    images; round 0."""

    def make(folder: Path = tmp_path / "campaign", **options):
        campaign = begin(folder, annotator="files", **options)
        first, second = (entry.image_id for entry in campaign.data.images["train"][:2])
        with campaign.lock():
            campaign.working.mkdir()
        write_request(
            campaign.working / "request.csv",
            [
                Chosen(Region(second, Box(8, 16, 16, 16)), 0.75, 31.5, 12.25),
                Chosen(Region(first, Box(24, 0, 32, 40))),
                Chosen(Region(first, Box(0, 72, 24, 18)), 0.5, 20.0, 3.0),
            ],
        )
        return campaign

    return make


class LabelMe:
    """Draws as LabelMe saves it."""

    name = "labelme"

    def draw(self, out, objects_of, done=False):
        """Append polygons to the file of each image; returns what to collect."""
        for path in sorted(out.glob("*.json")):
            content = json.loads(path.read_text())
            content["shapes"] += [
                {
                    "label": name,
                    "points": points.tolist(),
                    "group_id": None,
                    "description": "",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
                for name, points in objects_of(content["cereals"]["image_id"])
            ]
            content["flags"]["done"] = done
            path.write_text(json.dumps(content))
        return out


class LabelStudio:
    """Draws as Label Studio exports it: every point in percent, a task a region."""

    name = "labelstudio"

    def draw(self, out, objects_of, done=True):
        tasks = json.loads((out / "tasks.json").read_text())
        for number, task in enumerate(tasks):
            task["id"] = 100 + number
            height, width = task["data"]["size"]
            results = [*task["predictions"][0]["result"][:1]]
            for place, (name, points) in enumerate(objects_of(task["data"]["image_id"])):
                percent = [[x / width * 100.0, y / height * 100.0] for x, y in points.tolist()]
                results.append(
                    {
                        "id": f"p{place}",
                        "type": "polygonlabels",
                        "from_name": "polygon",
                        "to_name": "image",
                        "original_width": width,
                        "original_height": height,
                        "image_rotation": 0,
                        "value": {
                            "points": percent,
                            "closed": True,
                            "polygonlabels": [name],
                        },
                    }
                )
            task["annotations"] = [
                {
                    "id": number,
                    "result": results,
                    "was_cancelled": False,
                    "lead_time": 10.5 + number,
                    "updated_at": "2026-01-01T00:00:00Z",
                }
            ]
        export = out.parent / f"{out.name}-export.json"
        export.write_text(json.dumps(tasks))
        return export


class Cvat:
    """Draws as CVAT exports it: a shape of an image after the other."""

    name = "cvat"

    def draw(self, out, objects_of, done=False):
        root = ElementTree.parse(out / "annotations.xml").getroot()
        for image in root.iter("image"):
            frames = image.findall("box")
            image_id = unquote(frames[0].find("attribute[@name='image']").text)
            for name, points in objects_of(image_id):
                text = ";".join(f"{x!r},{y!r}" for x, y in points.tolist())
                ElementTree.SubElement(
                    image, "polygon", label=name, source="manual", points=text, z_order="9"
                )
            for frame in frames:
                frame.find("attribute[@name='done']").text = "true" if done else "false"
        export = out.parent / f"{out.name}-export.xml"
        ElementTree.ElementTree(root).write(export, encoding="utf-8")
        return export


@pytest.fixture(params=[LabelMe, LabelStudio, Cvat], ids=lambda tool: tool.name)
def tool(request):
    return request.param()


@pytest.fixture
def labelme():
    return LabelMe()


@pytest.fixture
def labelstudio():
    return LabelStudio()


@pytest.fixture
def cvat():
    return Cvat()
