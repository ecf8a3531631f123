"""Text of unknown origin: names in files, and names of files."""

_MAX_SHOWN = 200


def is_unicode(text: str) -> bool:
    """Whether no byte of a file name had to be escaped, and no text is half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def shown(text: str) -> str:
    """Return text of any length and characters as a message may quote it."""
    return ascii(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!a}..."


def counted(number: int, one: str, many: str = "") -> str:
    """Return how many there are, as `1 region` or `1,234 regions`.

    Args:
        number: How many.
        one: What there is one of, and a verb where the sentence goes on: `region is`.
        many: What there are others of, `regions are`; by default `one` with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
