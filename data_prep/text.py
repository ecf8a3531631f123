"""Text of unknown origin: names in files, and names of files."""

_MAX_SHOWN = 200


def is_unicode(text: str) -> bool:
    """Whether no byte of a file name had to be escaped, and no text is half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def shown(text: str) -> str:
    """Return text of any length and characters as a message may quote it."""
    return ascii(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!a}..."
