"""A cost model that costs nothing to train, where nothing depends on its estimates."""

import keras


def linear_cost_model(num_outputs: int) -> keras.Model:
    """Return a linear function of the mean colour of each cell of 8x8 pixels."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.AveragePooling2D(8, padding="same")(x)
    return keras.Model(images, keras.layers.Conv2D(num_outputs, 1)(x))
