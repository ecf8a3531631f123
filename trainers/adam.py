"""Adam by TensorFlow's own operation, which reads and writes each weight once."""

from typing import Any

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam, equal to about 1e-5 of a step, one operation a variable instead of a dozen.

    Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, in the form just before
    its section 2.1, as Keras and TensorFlow have it; without AMSGrad.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable and its two moments."""
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


def _handle(variable: keras.Variable | tf.Variable) -> tf.Tensor:
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
