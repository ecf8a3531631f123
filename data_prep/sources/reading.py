"""What the kinds of data sets share: reading JSON and folders that strangers made."""

import glob
import json
import os
import re
import reprlib
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cereals_tf.data_prep.clicks import MAX_COORDINATE
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.polygons import Polygon, outline_mask
from cereals_tf.data_prep.problems import InvalidError, SourceLog
from cereals_tf.data_prep.text import is_unicode, shown

UNREADABLE = "annotation files that cannot be read"
DUPLICATES = "files of the same id"
OTHER_SIZE = "annotations of another size than their image"
INVALID_SHAPES = "shapes that cannot be painted"
_LITTER = ("@eadir", "@recycle", "#recycle", "$recycle.bin", "__macosx", "thumbs.db")
"""What file managers and storage leave behind in folders of images, in lower case."""


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """Give a source's folder; a zip file is unpacked while the block runs.

    Where all that a zip file holds lies in one folder, it is that folder.

    Raises:
        UserError: The zip file is damaged or has a password.
    """
    if not source.is_file() or not zipfile.is_zipfile(source):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="cereals-") as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
            raise UserError(f"{source}: cannot be unpacked: {error}") from None
        yield _innermost(Path(folder))


def _innermost(folder: Path) -> Path:
    """Return the folder below which the content of a folder begins to branch."""
    names = [name for name in os.listdir(folder) if not is_litter(name)]
    only = folder / names[0] if len(names) == 1 else folder
    return _innermost(only) if only != folder and only.is_dir() else folder


def files_below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files below a folder whose names end in one of the suffixes (lower case), sorted.

    Hidden files and folders, and what file managers leave behind, are passed over.

    Raises:
        UserError: No such folder, one that cannot be listed or is a link (which might lead in
            circles), a name that is not UTF-8, or that of a pipe or of a link to nothing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = []
    for place, folders, files in os.walk(folder, onerror=_refuse_unlisted):
        folders[:] = [name for name in folders if not is_litter(name)]
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                link = os.path.join(place, name)
                raise UserError(f"{link}: a link, expected a folder: links to one are not followed")
        found += [
            Path(place, name)
            for name in files
            if Path(name).suffix.lower() in suffixes and not is_litter(name)
        ]
    for path in found:
        if not is_unicode(str(path.relative_to(folder))):
            raise UserError(f"{str(path)!a}: expected a file name in UTF-8")
        if not path.is_file():
            raise UserError(f"{path}: expected a file, or a link to one")
    return sorted(found)


def _refuse_unlisted(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read: {error.strerror}")


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left behind by a file manager."""
    return name.startswith(".") or name.lower() in _LITTER


def files_by_key(
    folder: Path, files: Sequence[Path], log: SourceLog, ending: str = ""
) -> dict[str, Path]:
    """Return files below a folder by their relative path without suffix and ending.

    Args:
        folder: The folder.
        files: The files; those whose names, without the suffix, do not have the ending are not
            returned.
        log: Is told of files of the same key.
        ending: What the names end in.

    Raises:
        UserError: See `key_below`.
    """
    found: dict[str, Path] = {}
    for path in files:
        if not path.stem.endswith(ending):
            continue
        key = key_below(folder, path, ending)
        first = found.setdefault(key, path)
        if first is not path:
            text = f"{path}: duplicate id {key!r}, also the name of {first.name}"
            log.invalid(DUPLICATES, text)
    return found


def key_below(folder: Path, path: Path, ending: str = "") -> str:
    """Return a file's path relative to a folder above it, without its suffix and ending.

    Raises:
        UserError: See `checked_id`.
    """
    key = path.relative_to(folder).with_suffix("").as_posix()
    return checked_id(key.removesuffix(ending), path)


def checked_id(image_id: str, path: Path) -> str:
    """Return an image id that a file's name gave, its letters composed (NFC).

    macOS takes letters with marks apart in names, so that those in a zip file from there are other
    names than in the list that somebody typed.

    Raises:
        UserError: It is not UTF-8, or stands for a folder, as `..` does.
    """
    if not is_unicode(image_id):
        raise UserError(f"{str(path)!a}: expected a file name in UTF-8")
    if image_id.rpartition("/")[2] in ("", ".", ".."):
        raise UserError(f"{path}: has the id {image_id!r}, expected more of a name")
    return unicodedata.normalize("NFC", image_id)


def folders_matching(folder: Path, pattern: str, split: str = "") -> dict[str, Path]:
    """Return the folders that a pattern stands for, by what `*` stands for in them.

    Args:
        folder: Where the pattern begins.
        pattern: A path; `{split}` stands for the split's name, `*` for any one folder.
        split: What the source calls the split.

    Returns:
        The folders, in order; the keys end in `/`, or are empty where there is no `*`.
    """
    named = pattern.replace("{split}", split)
    if "*" not in named:
        return {"": folder / named} if (folder / named).is_dir() else {}
    return {
        "/".join([*match.groups(), ""]): path
        for path, match in _matches(folder, named)
        if path.is_dir()
    }


def splits_matching(folder: Path, pattern: str) -> list[str]:
    """Return the names that `{split}` can stand for, in a pattern as of `folders_matching`."""
    if "{split}" not in pattern:
        return []
    return sorted({match["split"] for _, match in _matches(folder, pattern)})


def _matches(folder: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Give the paths that fit a pattern, and how they fit."""
    parts = re.split(r"(\*|\{split\})", str(folder / pattern))
    wild = "".join("*" if part in ("*", "{split}") else glob.escape(part) for part in parts)
    expression = re.escape("".join(parts))
    expression = expression.replace(r"\{split\}", "(?P<split>[^/]+)", 1)
    expression = expression.replace(r"\{split\}", "(?P=split)").replace(r"\*", "([^/]+)")
    for name in sorted(glob.glob(wild)):
        match = re.fullmatch(expression, name)
        if match and not any(map(is_litter, match.groups())):
            yield Path(name), match


def read_file(path: Path, kind: str = UNREADABLE) -> bytes:
    """Read a file that the source must have.

    Args:
        path: The file.
        kind: What it is called among the problems if it cannot be read.

    Raises:
        InvalidError: It cannot be read, or is something that may have no end, as a pipe.
    """
    try:
        if path.exists() and not path.is_file():
            raise InvalidError(kind, f"{path}: expected a file, or a link to one")
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(kind, f"{path}: cannot be read: {error.strerror}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InvalidError: It cannot be read or is broken.
    """
    encoded = read_file(path)
    if not encoded:
        raise InvalidError(UNREADABLE, f"{path}: an empty file")
    try:
        return json.loads(encoded)
    except UnicodeDecodeError as error:
        raise InvalidError(
            UNREADABLE, f"{path}: expected text in UTF-8, the byte {error.start} is none"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InvalidError(UNREADABLE, f"{path}: broken JSON: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InvalidError: It cannot be read, is broken or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InvalidError(
            UNREADABLE, f"{path}: expected an object, found {type(content).__name__}"
        )
    return content


def read_points(where: str, points: Any) -> np.ndarray:
    """Check the points [[x, y], ...] of JSON and return them as float64 [V, 2], in pixels.

    Raises:
        UserError: No points, or one that is no pair of numbers; `where` begins the message.
    """
    if not isinstance(points, list) or not points:
        raise UserError(f"{where} has no polygon points")
    if not _are_points(points):
        wrong = next(point for point in points if not _are_points([point]))
        raise UserError(f"{where} has the point {reprlib.repr(wrong)}, expected [x, y] in pixels")
    return np.array(points, np.float64)


def _are_points(points: list[Any]) -> bool:
    """Whether points of JSON are pairs of numbers that are not too large."""
    if set(map(type, points)) != {list} or set(map(len, points)) != {2}:
        return False
    numbers = list(chain.from_iterable(points))
    known = set(map(type, numbers)) <= {int, float}
    return known and all(abs(value) <= MAX_COORDINATE for value in numbers)


def file_inside(source: Path, folder: Path, name: Any, where: str) -> Path:
    """Return the file that an annotation names, relative to a folder of the source.

    Where it is not there, it is the one file whose name has other capitals, as some systems allow.

    Raises:
        UserError: No such file, or a name that leads out of the source; `where` begins the message.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"{where} names the file {reprlib.repr(name)}, expected a file name")
    root = os.path.abspath(source)
    target = os.path.abspath(folder / name)
    if os.path.commonpath([root, target]) != root:
        raise UserError(f"{where} names the file {shown(name)}, which is not inside {source}")
    inner = os.path.relpath(target, root)
    spelled = (source / unicodedata.normalize(form, inner) for form in ("NFC", "NFD"))
    path = next((path for path in (source / inner, *spelled) if os.path.isfile(path)), None)
    path = path or _of_other_capitals(source / inner)
    if path is None:
        raise UserError(f"{where} names the file {shown(name)}, which is no file in {folder}")
    return path


def _of_other_capitals(path: Path) -> Path | None:
    """Return the file beside a path whose name has other capitals, if there is one alone."""
    try:
        changed = path.parent.stat().st_mtime_ns
        names = _names_in(path.parent, changed).get(_folded(path.name), [])
    except OSError:
        return None
    found = [path.parent / name for name in names if os.path.isfile(path.parent / name)]
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=8)
def _names_in(folder: Path, changed: int) -> dict[str, list[str]]:
    """Return the names in a folder that was changed at a time, by what is left of capitals."""
    found: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        found.setdefault(_folded(name), []).append(name)
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def outline_object(mask: np.ndarray, class_id: int, tolerance: float) -> list[Polygon]:
    """Outline one object's mask (bool or uint8 0 and 1, [H, W]) as `outline_mask` does."""
    outlines = outline_mask(mask.astype(np.uint8), ignore_id=0, tolerance=tolerance)
    return [Polygon(class_id, outline.points) for outline in outlines]
