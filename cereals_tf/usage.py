"""What can be typed: every command, its arguments and its options.

A command is a function. Its signature has its arguments (what can be typed by place), its options
(by name only) and their types: `Annotated[str, one_of("a", "b")]` says how one is read, with a
`Need` beside it what it needs. Its docstring has the words, an example too. `**options` stands for
the options of a campaign or of a source of data.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Annotated, get_args, get_origin

from fire import docstrings

from cereals_tf import commands
from cereals_tf.campaign.options import GROUPS as OPTION_GROUPS
from cereals_tf.campaign.options import OPTIONS, RECIPES
from cereals_tf.data_prep.option import Need, Option
from cereals_tf.demo import demo
from cereals_tf.reproduce.grid import SET_BY_GRID

REQUIRED = inspect.Parameter.empty
"""The default of what has none."""

GROUPS: dict[str, tuple[Callable[..., str | None], ...]] = {
    "Data": (commands.toy, commands.prepare, commands.inspect),
    "A campaign": (commands.start, commands.step, commands.run, commands.score, commands.status),
    "A campaign changes": (commands.set, commands.add, commands.exclude, commands.move),
    "People who annotate": (
        commands.tasks,
        commands.collect,
        commands.review,
        commands.reopen,
    ),
    "Results": (commands.evaluate, commands.report, commands.export),
    "All at once": (commands.reproduce, demo),
    "This program": (commands.help, commands.completion, commands.version),
}
"""The commands in the order of work."""


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        function: What it calls.
        summary: What it does, in a line.
        description: What else there is to know.
        example: How it is typed.
        arguments: What can be typed by place, in order.
        options: What is typed by name only.
        shared: Further options, which the function takes as `**options`, under their titles.
    """

    function: Callable[..., str | None]
    summary: str
    description: str
    example: str
    arguments: tuple[Option, ...]
    options: tuple[Option, ...]
    shared: Mapping[str, Sequence[Option]]

    @property
    def name(self) -> str:
        """What is typed for it."""
        return self.function.__name__

    @property
    def all_options(self) -> tuple[Option, ...]:
        """All that is typed by name only."""
        return (*self.options, *chain(*self.shared.values()))

    @property
    def by_name(self) -> dict[str, Option]:
        """All arguments and options."""
        return {found.name: found for found in self.arguments + self.all_options}


COMMANDS = {function.__name__: function for group in GROUPS.values() for function in group}


@cache
def command_named(name: str) -> Command:
    """Describe one of `COMMANDS`."""
    function = COMMANDS[name]
    text, _, example = (inspect.getdoc(function) or "").partition("\n\nExample:\n")
    text, _, _ = text.partition("    **options:")
    parsed = docstrings.parse(text)
    words = {found.name: found.description for found in parsed.args or ()}
    by_place, by_name = [], []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
            (by_name if keyword else by_place).append(_option(parameter, words[parameter.name]))
    return Command(
        function,
        parsed.summary,
        parsed.description or "",
        inspect.cleandoc(example),
        tuple(by_place),
        tuple(by_name),
        _shared(function),
    )


def summary_of(name: str) -> str:
    """Return what a command does, in a line."""
    return (inspect.getdoc(COMMANDS[name]) or "").partition("\n")[0]


def _option(parameter: inspect.Parameter, words: str) -> Option:
    form, *more = (
        get_args(parameter.annotation)
        if get_origin(parameter.annotation) is Annotated
        else (parameter.annotation,)
    )
    needs = next((part for part in more if isinstance(part, Need)), None)
    reads = [part for part in more if not isinstance(part, Need)]
    if reads and "{choices}" in words:
        words = words.replace("{choices}", reads[0].words)
    return Option(parameter.name, form, parameter.default, words, *reads, needs=needs)


def _shared(function: Callable[..., str | None]) -> Mapping[str, Sequence[Option]]:
    if function is commands.start:
        return _of_campaign(_with_defaults_of("fast"))
    if function is commands.set:
        options = [replace(found, default="") for found in OPTIONS]
        changing = _of_campaign(found for found in options if not found.fixed)
        fixed = [replace(found, help=found.fixed, needs=None) for found in options if found.fixed]
        return {**changing, "Fixed when a campaign starts, because": fixed}
    if function is commands.reproduce:
        taken = {*SET_BY_GRID, "annotator", "cost_unit"}
        return _of_campaign(
            replace(found, needs=None)
            for found in _with_defaults_of("paper")
            if found.name not in taken
        )
    if function in (commands.prepare, commands.add):
        from cereals_tf.data_prep.sources.registry import OF_SPLITS, all_options

        left_out = OF_SPLITS if function is commands.add else ()
        read = [found for found in all_options() if found.name not in left_out]
        return {"How SOURCE is read": read}
    return {}


def _with_defaults_of(recipe: str) -> Iterable[Option]:
    """Return the options of a campaign; help says what a recipe has for `paper`'s defaults."""
    for found in OPTIONS:
        own = RECIPES[recipe].get(found.name, found.default)
        words = found.help
        if found.name == "recipe":
            plugged = (
                "" if recipe == found.default else f"; {found.default} with --model or --cost_model"
            )
            words += f" Default: {recipe}{plugged}."
        if own != found.default and "efault" not in words:
            words += f" Default: {own}; {found.default} with --recipe=paper."
        yield replace(found, help=words)


def _of_campaign(options: Iterable[Option]) -> Mapping[str, Sequence[Option]]:
    """Return options of a campaign in their groups."""
    known = {found.name: found for found in options}
    return {
        title: [known[name] for name in names if name in known]
        for title, names in OPTION_GROUPS.items()
    }
