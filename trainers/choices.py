"""The names by which a training's options choose; this module needs no TensorFlow."""

TRAIN_ON = ("mask", "crop", "auto")
"""What a training step sees, see `cereals_tf.trainers.samples`."""

SCHEDULES = ("constant", "cosine")
"""What becomes of the learning rate, see `cereals_tf.trainers.fitting`."""

WAYS = ("auto", "memory", "disk", "none")
"""Where decoded samples are kept, see `cereals_tf.trainers.cache`."""

STRATEGIES = ("none", "mirrored", "multiworker")
"""What trains a model, see `cereals_tf.trainers.strategy`."""
