"""The console script `cereals`, built with Fire.

Fire alone would run a command before it finds a misspelt option. So what Fire calls here only
returns a `Job`; the work begins after Fire has used up the whole command line.
"""

import contextlib
import difflib
import errno
import inspect
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import fire
from fire.decorators import SetParseFn
from fire.helptext import HelpText
from fire.trace import FireTrace

from cereals_tf import commands
from cereals_tf.campaign.options import OPTIONS
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import BOOLEANS, Option, parse_option
from cereals_tf.data_prep.progress import show_progress
from cereals_tf.data_prep.remote import plug_in_loaded
from cereals_tf.demo import demo
from cereals_tf.reproduce.grid import SET_BY_GRID

_MENDABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)


_WITHOUT = {commands.reproduce: {*SET_BY_GRID, "annotator", "cost_unit"}}
"""Options of a campaign that a command which starts campaigns does not take."""


@dataclass(frozen=True)
class Job:
    """A checked command line: what to call, and with what."""

    function: Callable[..., None]
    arguments: dict[str, Any]


class Cereals:
    """Cost-effective region-based active learning for semantic segmentation.

    The main job: cereals prepare, cereals start, cereals run, cereals report, cereals export.
    """


def _parameters(function: Callable) -> list[inspect.Parameter]:
    """Return a command's parameters; `**options` stands for those of a campaign or a source."""
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            parameters.append(parameter)
            continue
        parameters += [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=option.form,
            )
            for option in _options(function)
        ]
    return parameters


def _options(function: Callable) -> list[Option]:
    if function is commands.prepare:
        from cereals_tf.data_prep.sources.registry import all_options

        return list(all_options())
    left_out = _WITHOUT.get(function, ())
    return [option for option in OPTIONS if option.name not in left_out]


def _documentation(function: Callable) -> str:
    text = inspect.getdoc(function)
    if "options" not in inspect.signature(function).parameters:
        return text
    before, _, _ = text.partition("    **options:")
    options = (f"    {option.name}: {option.help}" for option in _options(function))
    return _with_kinds(before) + "\n".join(options)


def _with_kinds(text: str) -> str:
    """Name the kinds of data sets where a command's help stands `{kinds}`."""
    if "{kinds}" not in text:
        return text
    from cereals_tf.data_prep.sources.registry import KINDS

    return text.replace(
        "{kinds}", "; ".join(f"{kind.name} ({kind.help})" for kind in KINDS.values())
    )


def _job_maker(function: Callable) -> Callable:
    """Return what Fire calls for a command: a function of its signature that returns a `Job`."""
    parameters = _parameters(function)

    def command(*positional: str, **named: str) -> Job:
        bound = signature.bind(*positional, **named)
        arguments = {
            name: _typed(signature.parameters[name], value)
            for name, value in bound.arguments.items()
        }
        return Job(function, arguments)

    signature = inspect.Signature(parameters)
    command.__signature__ = signature
    command.__name__ = function.__name__
    command.__doc__ = _documentation(function)
    return command


def _typed(parameter: inspect.Parameter, value: Any) -> Any:
    """Turn typed text into a value; Fire hands over defaults as they are."""
    if not isinstance(value, str) or parameter.annotation is str:
        return value
    return parse_option(parameter.name, parameter.annotation, value)


_COMMANDS = {function.__name__: function for function in (*commands.COMMANDS, demo)}

for _name, _function in _COMMANDS.items():
    setattr(Cereals, _name, staticmethod(_function))


def checked(arguments: Sequence[str]) -> list[str]:
    """Return a command line as Fire understands it without guessing: `--option=value` throughout.

    Raises:
        UserError: An unknown command or option, an argument too many or too few, an option without
            a value; names what was typed, and the nearest that exists.
    """
    command, *rest = arguments
    if command not in _COMMANDS:
        raise UserError(f"{command}: no such command{_nearest(command, _COMMANDS)}")
    parameters = {parameter.name: parameter for parameter in _parameters(_COMMANDS[command])}
    positional, named = [], {}
    left = list(rest)
    while left:
        argument = left.pop(0)
        if not _is_option(argument):
            positional.append(argument)
            continue
        typed, equals, value = argument.lstrip("-").partition("=")
        name = typed.replace("-", "_")
        if name not in parameters:
            raise UserError(
                f"--{typed}: no such option of {command}{_nearest(typed, parameters, '--')}"
            )
        if name in named:
            raise UserError(f"--{typed}: given twice")
        named[name] = value if equals else _value_after(parameters[name], left)
    _check_positional(command, parameters, positional, list(named))
    return [command, *positional, *(f"--{name}={value}" for name, value in named.items())]


def _value_after(parameter: inspect.Parameter, left: list[str]) -> str:
    """Take an option's value from the arguments after it; a bare boolean option is true."""
    if parameter.annotation is bool:
        return left.pop(0) if left and left[0].lower() in BOOLEANS else "true"
    if not left or _is_option(left[0]):
        raise UserError(f"--{parameter.name}: expected a value, as --{parameter.name}=VALUE")
    return left.pop(0)


def _check_positional(
    command: str,
    parameters: dict[str, inspect.Parameter],
    positional: Sequence[str],
    named: Sequence[str],
) -> None:
    places = [
        parameter.name
        for parameter in parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and parameter.name not in named
    ]
    if len(positional) > len(places):
        raise UserError(f"{positional[len(places)]}: {command} takes no such argument")
    for place, value in zip(places, positional, strict=False):
        if not value:
            raise UserError(f"{command}: {place.upper()} is empty")
    given = {*named, *places[: len(positional)]}
    for parameter in parameters.values():
        if parameter.default is inspect.Parameter.empty and parameter.name not in given:
            by_place = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            missing = parameter.name.upper() if by_place else f"--{parameter.name}"
            raise UserError(f"{command}: {missing} is missing")


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and not _is_number(argument)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {prefix}{nearest[0]}?" if nearest else f"; there are {', '.join(known)}"


def parse(arguments: Sequence[str]) -> Job | None:
    """Turn a command line into a job; None if help was all that it asked for.

    Raises:
        UserError: It is no command line of ours.
    """
    if not arguments or {"--help", "-h"} & set(arguments):
        print(help_on([part for part in arguments if part not in ("--help", "-h")]))
        return None
    typed = checked(arguments)
    command = typed[0]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return fire.Fire(
                {command: SetParseFn(str)(_job_maker(_COMMANDS[command]))},
                command=typed,
                name="cereals",
                serialize=lambda result: None,
            )
    except fire.core.FireExit:
        raise UserError(f"{' '.join(arguments)}: not understood, see --help") from None


def help_on(arguments: Sequence[str]) -> str:
    """Return the help on the command that is typed first, or on all of them.

    Raises:
        UserError: There is no such command.
    """
    trace = FireTrace(Cereals, name="cereals")
    if not arguments:
        return HelpText(Cereals, trace)
    command = arguments[0]
    if command not in _COMMANDS:
        raise UserError(f"{command}: no such command{_nearest(command, _COMMANDS)}")
    component = _job_maker(_COMMANDS[command])
    trace.AddAccessedProperty(component, command, [command], None, None)
    return re.sub(r"^( *)-\w, --", r"\1--", HelpText(component, trace), flags=re.MULTILINE)


def console() -> NoReturn:
    """Run the command line that was typed, and leave with its exit status."""
    try:
        status = main()
    except Exception:
        traceback.print_exc()
        status = 1
    if plug_in_loaded():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    try:
        job = parse(sys.argv[1:] if arguments is None else arguments)
        if job:
            show_progress()
            job.function(**job.arguments)
    except UserError as error:
        message = " ".join(str(error).split())
    except KeyboardInterrupt:
        sys.unraisablehook = lambda unraisable: None  # half-made objects complain when they go
        print("cereals: stopped; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        message = f"{error.filename or 'writing'}: {error.strerror}"
    else:
        return 0
    print(f"cereals: error: {message}", file=sys.stderr)
    return 2
