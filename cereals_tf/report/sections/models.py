"""The last round's models: calibration of the segmentation, and how both were trained."""

import numpy as np

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.scorer import load_segmentation
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.report import figures
from cereals_tf.report.pictures import Pictures
from cereals_tf.report.sections.section import Section
from cereals_tf.report.tables import UNKNOWN
from cereals_tf.trainers.calibration import measure_calibration


def calibration_section(campaign: Campaign, pictures: Pictures) -> Section:
    """Return the section on how well calibrated the last segmentation model is on val."""
    done = campaign.round(None)
    model = load_segmentation(campaign, done)
    reader = open_split(campaign, "val")
    with damage_named(campaign.data, "val"):
        measured = measure_calibration(model, reader, "calibration")
    measures = {
        "Expected calibration error, 0 to 1": measured.expected_error,
        "Accuracy, 0 to 1": measured.accuracy,
        "Mean confidence, 0 to 1": measured.confidence,
    }
    content = {
        "charts": pictures.add(
            "calibration",
            figures.reliability(measured),
            "Accuracy over confidence, in bins",
            "How frequent each confidence is",
        ),
        "round": done.number,
        "positions": f"{measured.counts.sum():,}",
        "bins": len(measured.counts),
        "measures": [
            (term, UNKNOWN if np.isnan(value) else f"{value:.3f}")
            for term, value in measures.items()
        ],
    }
    return Section("calibration", "Calibration of the segmentation", "calibration.html", content)


def training_section(campaign: Campaign, pictures: Pictures) -> Section:
    """Return the section on the training of the last round's models."""
    done = campaign.round(None)
    charts = pictures.add(
        "training",
        figures.training_curves(done.metrics.training, campaign.options.cost_unit),
        *(
            f"{model} model: {curve} after each epoch"
            for model in ("Segmentation", "Cost")
            for curve in ("training loss", "metric on val")
        ),
    )
    title = f"Training in round {done.number}"
    return Section("training", title, "training.html", {"charts": charts})
