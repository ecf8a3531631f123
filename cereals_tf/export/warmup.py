"""The warm-up file of TensorFlow Serving, written without TensorFlow Serving's own classes.

Serving replays `assets.extra/tf_serving_warmup_requests`, a TFRecord of `PredictionLog` messages,
when it loads a model, so that the first real request is not a slow one. Of that message
(tensorflow_serving/apis/prediction_log.proto) only this part is needed:

    PredictionLog  { PredictLog predict_log = 6; }
    PredictLog     { PredictRequest request = 1; }
    PredictRequest { ModelSpec model_spec = 1; map<string, TensorProto> inputs = 2; }
    ModelSpec      { string name = 1; string signature_name = 3; }

Each of these fields is a string or a message, so in protobuf's wire format each is a tag, the
content's length and the content (protobuf.dev, "Encoding"); a map is repeated messages of
key = 1, value = 2.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
"""Where TensorFlow Serving looks for the file in a SavedModel."""

_LENGTH_DELIMITED = 2


def write_warmup(
    saved_model: Path, model_name: str, requests: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Write the warm-up file of a SavedModel, one request per signature.

    Args:
        saved_model: The SavedModel's folder.
        model_name: The model's name in the requests.
        requests: The input arrays by name, of each signature by name.
    """
    path = saved_model / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            writer.write(prediction_log(model_name, signature, inputs))


def prediction_log(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Return a serialised `PredictionLog` that holds one request to one signature.

    Args:
        model_name: The model's name.
        signature: The signature's name.
        inputs: The signature's input arrays by name.
    """
    request = _field(1, _field(1, model_name.encode()) + _field(3, signature.encode()))
    for name, array in inputs.items():
        tensor = tf.make_tensor_proto(array).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encode a count: seven bits a byte, lowest first, the top bit set on all but the last."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
