"""Brush masks; the vectors are what rle-pack 2 and Label Studio's SDK 2.1 encode."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.annotation.rle import decode_mask

SDK_2X3 = [0, 0, 0, 24, 57, 27, 252, 96, 19, 255, 206, 1, 31, 248]
STROKE_3X4 = [
    *(0, 0, 0, 48, 57, 27, 254, 19, 0, 55, 255, 6, 34, 81, 254, 74, 35, 219, 254, 4, 35, 255, 24),
    *(0, 223, 228, 98, 41, 31, 249, 98, 48, 255, 133, 22, 35, 254),
]
HEAD = "00111" + "0010" + "0011" + "0111" + "1111"
"""Words of 8 bits, lengths of 3, 4, 8 or 16 bits."""


def packed(bits):
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def encoded(runs):
    """Encode (repeated?, size of the length field, words) one run after the other."""
    count = sum(len(words) for _, _, words in runs)
    bits = f"{count:032b}{HEAD}"
    for repeated, field, words in runs:
        bits += f"{repeated:b}{(3, 4, 8, 16).index(field):02b}{len(words) - 1:0{field}b}"
        bits += "".join(f"{word:08b}" for word in (words[:1] if repeated else words))
    return packed(bits)


def test_mask_of_the_sdk():
    expected = [[False, True, True], [False, False, True]]
    np.testing.assert_array_equal(decode_mask(SDK_2X3, 2, 3), expected)


def test_stroke_with_soft_edges_of_the_web_page():
    alpha = np.array([[0, 0, 0, 0], [0, 40, 237, 255], [0, 72, 255, 255]])
    np.testing.assert_array_equal(decode_mask(STROKE_3X4, 3, 4), alpha > 0)


@st.composite
def streams(draw):
    runs = []
    for _ in range(draw(st.integers(1, 12))):
        field = draw(st.sampled_from([3, 4, 8, 16]))
        length = draw(st.integers(1, min(2**field, 40)))
        repeated = draw(st.booleans())
        words = (
            [draw(st.integers(0, 255))] * length
            if repeated
            else draw(st.lists(st.integers(0, 255), min_size=length, max_size=length))
        )
        runs.append((repeated, field, words))
    total = sum(len(words) for _, _, words in runs)
    if total % 4:
        runs.append((True, 3, [0] * (4 - total % 4)))
    return runs


@settings(max_examples=60)
@given(streams())
def test_any_stream_of_runs(runs):
    words = np.array([word for _, _, part in runs for word in part])
    decoded = decode_mask(encoded(runs), 1, len(words) // 4)
    np.testing.assert_array_equal(decoded[0], words[3::4] > 0)


def test_whole_image_of_large_runs():
    runs = [(True, 16, [255] * 65536)] * 4
    assert decode_mask(encoded(runs), 256, 256).all()


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (SDK_2X3[:-3], "within a value"),
        (SDK_2X3[:3], "within a value"),
        ([], "within a value"),
        ([255, 255, 255, 255, *SDK_2X3[4:]], "4294967295 values, expected 24"),
        ([0, 0, 0, 24, 0b01111000, *SDK_2X3[5:]], "values of 16 bits, expected 8"),
    ],
)
def test_refuses_damage(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_mask(rle, 2, 3)


def test_refuses_masks_of_another_size():
    with pytest.raises(ValueError, match="24 values, expected 16"):
        decode_mask(SDK_2X3, 2, 2)
