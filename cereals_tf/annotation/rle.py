"""Label Studio's run-length encoding of brush masks.

The format is that of `@thi.ng/rle-pack`: 32 bits say how many words there are, 5 bits how long a
word is (less 1), four times 4 bits how long the field of a run's length can be (less 1). Then come
runs: one bit that tells repeated words from literal ones, 2 bits that choose the length field, the
run's length less 1, and the word, or all the words. A mask is an RGBA image, row by row, a word a
channel; its alpha says which pixels it covers.
"""

from collections.abc import Sequence

import numpy as np

CHANNELS = 4
_WORD_BITS = 8


def decode_mask(rle: Sequence[int], height: int, width: int) -> np.ndarray:
    """Decode a brush mask.

    Args:
        rle: Bytes, 0 to 255.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        bool [height, width], the pixels whose alpha is not 0.

    Raises:
        ValueError: Not such an encoding, or of an image of another size; says what was found.
    """
    words = _decode(bytes(rle), height * width * CHANNELS)
    return words.reshape(height, width, CHANNELS)[..., CHANNELS - 1] > 0


def _decode(data: bytes, expected: int) -> np.ndarray:
    """Decode so many words, uint8 [expected]."""
    stream = _Bits(data)
    count, word_bits = stream.read(32), stream.read(5) + 1
    if count != expected:
        raise ValueError(f"{count} values, expected {expected}: {CHANNELS} a pixel")
    if word_bits != _WORD_BITS:
        raise ValueError(f"values of {word_bits} bits, expected {_WORD_BITS}")
    sizes = [stream.read(4) + 1 for _ in range(4)]
    words = np.zeros(count, np.uint8)
    done = 0
    while done < count:
        repeated = stream.read(1)
        end = min(done + stream.read(sizes[stream.read(2)]) + 1, count)
        words[done:end] = stream.read(_WORD_BITS) if repeated else stream.read_bytes(end - done)
        done = end
    return words


class _Bits:
    """A stream of bits, the highest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def read(self, bits: int) -> int:
        """Return the next bits as a number."""
        start, end = self._advance(bits)
        last = -(-end // 8)
        number = int.from_bytes(self._data[start // 8 : last], "big")
        return number >> (8 * last - end) & ((1 << bits) - 1)

    def read_bytes(self, count: int) -> np.ndarray:
        """Return the next 8 * count bits, uint8 [count]."""
        start, end = self._advance(8 * count)
        part = np.frombuffer(self._data[start // 8 : -(-end // 8)], np.uint8)
        return np.packbits(np.unpackbits(part)[start % 8 :][: 8 * count])

    def _advance(self, bits: int) -> tuple[int, int]:
        start = self._place
        self._place += bits
        if self._place > 8 * len(self._data):
            raise ValueError(f"ends after {len(self._data)} bytes, within a value")
        return start, self._place
