"""What annotators are called, who are known by a name or by the place that their work came from."""

from collections.abc import Iterable


def is_place(annotator: str) -> bool:
    """Whether an annotator is known by a file, a folder or a server's address alone."""
    return _is_path(annotator) or "://" in annotator


def short_names(annotators: Iterable[str]) -> dict[str, str]:
    """Return short names of annotators, by what is recorded of them.

    Files and folders are called by as much of the end of their path as tells them from all others.
    """
    names = set(annotators)
    return {name: _short(name, names - {name}) for name in names}


def _is_path(annotator: str) -> bool:
    return annotator.startswith("/")


def _short(name: str, others: set[str]) -> str:
    if not _is_path(name):
        return name
    parts = name.strip("/").split("/")
    ends = ("/".join(parts[-count:]) for count in range(1, len(parts) + 1))
    return next((end for end in ends if not any(_ends_in(other, end) for other in others)), name)


def _ends_in(name: str, end: str) -> bool:
    return name == end or name.endswith(f"/{end}")
