"""A round 0 that covers the pool: images that stand for the others, by an encoder's features."""

import numpy as np

from cereals_tf.acquisition.medoids import k_means_medoids
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.learning.features import with_features
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.pool.choose import initial_count, initial_seed, whole_images
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.data_prep.progress import Progress


def choose_covering(campaign: Campaign, models: Models, pool: Pool) -> list[Chosen]:
    """Choose the whole images of round 0 for coverage, see `k_means_medoids`.

    Raises:
        UserError: More images are asked for than there are, or the encoder is damaged.
    """
    count = initial_count(pool)
    vectors = np.stack(_vectors(campaign, models, pool))
    return whole_images(pool, k_means_medoids(vectors, count, initial_seed(pool)))


def _vectors(campaign: Campaign, models: Models, pool: Pool) -> list[np.ndarray]:
    """Return the mean of each image's features at stride 32, float32 [C]."""
    train = with_features(campaign, pool.reader, models) if models.keeps_features else pool.reader
    image_ids = [entry.image_id for entry in pool.images]
    examples = train.examples(None, image_ids)
    vectors = []
    for (seen,) in Progress(examples, desc="cover", total=len(image_ids), unit="image"):
        coarsest = seen[-1] if train.features else models.encoder(seen[None])[-1][0]
        vectors.append(np.float32(coarsest).mean(axis=(0, 1)))
    return vectors
