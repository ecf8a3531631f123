"""schema.pbtxt: what the records hold, in the form that TFX and its tools read."""

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from cereals_tf.data_prep import records
from cereals_tf.data_prep.description import Classes


def schema_text(classes: Classes) -> str:
    """Return a tensorflow-metadata `Schema` of the records as protobuf text."""
    return text_format.MessageToString(_schema(classes))


def is_schema(text: bytes, classes: Classes) -> bool:
    """Whether text stands for the schema that `schema_text` gives, however it is written."""
    try:
        return text_format.Parse(text, schema_pb2.Schema()) == _schema(classes)
    except (text_format.ParseError, UnicodeDecodeError):
        return False


def _schema(classes: Classes) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name in (records.IMAGE_ID, records.IMAGE_ENCODED, records.LABEL_ENCODED):
        _scalar(schema, name, schema_pb2.BYTES)
    image_format = _scalar(schema, records.IMAGE_FORMAT, schema_pb2.BYTES)
    image_format.string_domain.value.extend(["jpeg", "png"])
    for name in (records.IMAGE_HEIGHT, records.IMAGE_WIDTH):
        _scalar(schema, name, schema_pb2.INT).int_domain.min = 1

    polygon_class = _list(schema, records.POLYGON_CLASS, schema_pb2.INT)
    polygon_class.int_domain.min = 0
    polygon_class.int_domain.max = max(len(classes) - 1, classes.ignore_id)
    polygon_class.int_domain.is_categorical = True
    _list(schema, records.POLYGON_LENGTH, schema_pb2.INT).int_domain.min = 1
    _list(schema, records.POLYGON_POINTS, schema_pb2.FLOAT)
    for name in (records.IMAGE_ENCODED, records.LABEL_ENCODED):
        feature = next(feature for feature in schema.feature if feature.name == name)
        feature.image_domain.SetInParent()
    return schema


def _scalar(schema: schema_pb2.Schema, name: str, kind: int) -> schema_pb2.Feature:
    feature = schema.feature.add(name=name, type=kind)
    feature.presence.min_fraction = 1.0
    feature.presence.min_count = 1
    feature.shape.SetInParent()
    return feature


def _list(schema: schema_pb2.Schema, name: str, kind: int) -> schema_pb2.Feature:
    feature = schema.feature.add(name=name, type=kind)
    feature.value_count.min = 0
    return feature
