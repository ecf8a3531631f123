import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from cereals_tf.data_prep.dataset import SCHEMA, Classes
from cereals_tf.data_prep.schema import schema_text

KINDS = {
    "bytes_list": schema_pb2.BYTES,
    "int64_list": schema_pb2.INT,
    "float_list": schema_pb2.FLOAT,
}


def test_lists_every_feature_of_the_records_with_its_type(cityscapes_data):
    schema = text_format.Parse((cityscapes_data.folder / SCHEMA).read_text(), schema_pb2.Schema())
    content = next(iter(tf.data.TFRecordDataset(str(cityscapes_data.shards("train")[0])))).numpy()
    features = tf.train.Example.FromString(content).features.feature
    listed = {feature.name: feature for feature in schema.feature}
    assert len(listed) == len(schema.feature)
    assert {name: feature.type for name, feature in listed.items()} == {
        name: KINDS[value.WhichOneof("kind")] for name, value in features.items()
    }
    for name, feature in listed.items():
        is_list = name.startswith("polygon/")
        assert feature.HasField("shape") != is_list
        assert feature.HasField("value_count") == is_list
        assert feature.HasField("image_domain") == name.endswith("/encoded")


def test_values_of_the_records_are_in_the_domains(cityscapes_data):
    schema = text_format.Parse((cityscapes_data.folder / SCHEMA).read_text(), schema_pb2.Schema())
    integers = {f.name: f.int_domain for f in schema.feature if f.type == schema_pb2.INT}
    strings = {f.name: f.string_domain.value for f in schema.feature if f.HasField("string_domain")}
    for content in tf.data.TFRecordDataset(str(cityscapes_data.shards("train")[0])):
        features = tf.train.Example.FromString(content.numpy()).features.feature
        for name, domain in integers.items():
            values = features[name].int64_list.value
            assert values and min(values) >= domain.min
            assert not domain.HasField("max") or max(values) <= domain.max
        for name, allowed in strings.items():
            assert features[name].bytes_list.value[0].decode() in allowed


def test_class_domain_reaches_the_last_class_and_the_ignore_id():
    for names, ignore_id in ((("a", "b", "c"), 255), (("a", "b"), 2)):
        classes = Classes(names, ((0, 0, 0),) * len(names), ignore_id)
        schema = text_format.Parse(schema_text(classes), schema_pb2.Schema())
        (feature,) = (f for f in schema.feature if f.name == "polygon/class")
        assert (feature.int_domain.min, feature.int_domain.max) == (0, ignore_id)
