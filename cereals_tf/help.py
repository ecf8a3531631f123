"""The help of the command line, wrapped to the terminal's width."""

import shutil
import textwrap
from collections.abc import Iterable

from cereals_tf.data_prep.option import Option
from cereals_tf.usage import COMMANDS, GROUPS, REQUIRED, Command, command_named, summary_of

MARGIN = 2
COLUMN = 28
"""Where explanations begin at the most; a longer label has a line of its own."""
NARROW = 60
"""A terminal of fewer columns has explanations below their labels."""

_VALUES = {int: "N", float: "NUMBER"}
_MAIN_JOB = """\
cereals toy streets
cereals prepare streets data --dataset=cityscapes
cereals start campaign --data=data
cereals run campaign --rounds=5
cereals report campaign"""


def overview() -> str:
    """Return the help on all commands."""
    parts = [
        _wrapped("cereals: cost-effective region-based active learning for semantic segmentation"),
        _wrapped("cereals COMMAND [ARGUMENT ...] [--OPTION=VALUE ...]", " " * MARGIN),
    ]
    column = max(map(len, COMMANDS)) + 2 * MARGIN
    for title, functions in GROUPS.items():
        names = (function.__name__ for function in functions)
        parts.append(_section(title, ((name, summary_of(name)) for name in names), column))
    parts.append(f"Example:\n{_indented(_MAIN_JOB)}")
    return "\n\n".join(parts)


def help_on(name: str) -> str:
    """Return the help on a command."""
    command = command_named(name)
    required = [found for found in command.options if found.default is REQUIRED]
    optional = [found for found in command.options if found.default is not REQUIRED]
    parts = [_wrapped(_synopsis(command, required), " " * 2 * MARGIN, first="")]
    parts += [_wrapped(part) for part in (command.summary, command.description) if part]
    entries = [(_place(found), found.help) for found in command.arguments]
    entries += [(_label(found), _explained(found)) for found in required]
    if entries:
        parts.append(_section("", entries))
    for title, options in {"Options": optional, **command.shared}.items():
        if options:
            parts.append(_section(title, ((_label(found), _explained(found)) for found in options)))
    if command.example:
        parts.append(f"Example:\n{_indented(command.example)}")
    return "\n\n".join(parts)


def _synopsis(command: Command, required: Iterable[Option]) -> str:
    arguments = [_place(found) for found in command.arguments]
    optional = any(found.default is not REQUIRED for found in command.all_options)
    parts = [*arguments, *map(_label, required), *(["[--OPTION=VALUE ...]"] if optional else [])]
    return f"cereals {command.name} {' '.join(parts)}"


def _place(found: Option) -> str:
    name = found.name.upper() + " ..." * found.repeated
    return name if found.default is REQUIRED else f"[{name}]"


def _label(found: Option) -> str:
    """Return an option as it is typed."""
    if found.bare:
        return f"--{found.name}" if found.form is bool else f"--{found.name}[=VALUE]"
    listed = "|".join(found.choices)
    short = listed and len(f"--{found.name}={listed}") <= COLUMN - 2 * MARGIN
    return f"--{found.name}={listed if short else _VALUES.get(found.form, found.name.upper())}"


def _explained(found: Option) -> str:
    """Return what an option says, what it needs, and its default."""
    parts = [found.help]
    if found.needs:
        parts.append(f"Only {found.needs.text}.")
    said = found.default in (REQUIRED, "") or found.default is False or "efault" in found.help
    if not said:
        parts.append(f"Default: {found.default}.")
    return " ".join(parts)


def _section(title: str, entries: Iterable[tuple[str, str]], column: int = COLUMN) -> str:
    lines = [f"{title}:"] if title else []
    return "\n".join(lines + [_entry(*entry, column) for entry in entries])


def _entry(label: str, text: str, column: int) -> str:
    margin = " " * MARGIN
    if _width() < NARROW:
        return f"{margin}{label}\n{_wrapped(text, 3 * margin)}"
    wrapped = _wrapped(text, " " * column)
    if len(label) + 2 * MARGIN > column:
        return f"{margin}{label}\n{wrapped}"
    return f"{margin}{label}".ljust(column) + wrapped.lstrip()


def _indented(text: str) -> str:
    return textwrap.indent(text, " " * MARGIN)


def _wrapped(text: str, indent: str = "", first: str | None = None) -> str:
    """Wrap a paragraph; words stay whole."""
    return textwrap.fill(
        text,
        _width(),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _width() -> int:
    return shutil.get_terminal_size().columns
