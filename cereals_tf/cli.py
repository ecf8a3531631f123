"""The console script `cereals`, built with Fire.

Fire alone would run a command before it finds a misspelt option. So what Fire calls here only
returns a `Job`; the work begins after Fire has used up the whole command line.
"""

import difflib
import errno
import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import fire
from fire.decorators import SetParseFn

from cereals_tf import commands
from cereals_tf.campaign.options import Options, parse_option
from data_prep.errors import UserError

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
    """Return a command's parameters; `**options` stands for the options of a campaign."""
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
                annotation=option.type,
            )
            for option in fields(Options)
        ]
    return parameters


def _documentation(function: Callable) -> str:
    text = inspect.getdoc(function)
    if "options" not in inspect.signature(function).parameters:
        return text
    before, _, _ = text.partition("    **options:")
    options = (f"    {option.name}: {option.metadata['help']}" for option in fields(Options))
    return before + "\n".join(options)


def _fire_command(function: Callable) -> Callable:
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
    return SetParseFn(str)(command)


def _typed(parameter: inspect.Parameter, value: Any) -> Any:
    """Turn typed text into a value; Fire hands over defaults as they are."""
    if not isinstance(value, str) or parameter.annotation is str:
        return value
    return parse_option(parameter.name, parameter.annotation, value)


for _function in commands.COMMANDS:
    setattr(Cereals, _function.__name__, staticmethod(_fire_command(_function)))


def check_command_line(arguments: Sequence[str]) -> None:
    """Refuse unknown commands and options, too many arguments and missing ones, in one line.

    Raises:
        UserError: Names what was typed, and the nearest that exists.
    """
    by_name = {function.__name__: function for function in commands.COMMANDS}
    name, *rest = arguments
    if name not in by_name:
        raise UserError(f"{name}: no such command{_nearest(name, by_name)}")
    parameters = {parameter.name: parameter for parameter in _parameters(by_name[name])}
    positional, named = _split(rest)
    for option in named:
        if option.replace("-", "_") not in parameters:
            raise UserError(f"--{option}: no such option of {name}{_nearest(option, parameters)}")
    repeated = [option for option in named if named.count(option) > 1]
    if repeated:
        raise UserError(f"--{repeated[0]}: given twice")
    _check_positional(name, parameters, positional, [o.replace("-", "_") for o in named])


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
    given = {*named, *places[: len(positional)]}
    for parameter in parameters.values():
        if parameter.default is inspect.Parameter.empty and parameter.name not in given:
            by_place = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            missing = parameter.name.upper() if by_place else f"--{parameter.name}"
            raise UserError(f"{command}: {missing} is missing")


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide typed arguments into values by place and names of options, as Fire does."""
    positional, named = [], []
    takes_value = False
    for argument in arguments:
        if argument.startswith("-") and not _is_number(argument):
            name, equals, _ = argument.lstrip("-").partition("=")
            named.append(name)
            takes_value = not equals
        elif takes_value:
            takes_value = False
        else:
            positional.append(argument)
    return positional, named


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(name: str, known: Any) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {nearest[0]}?" if nearest else f"; there are {', '.join(known)}"


def parse(arguments: Sequence[str]) -> Job | None:
    """Turn a command line into a job; None if help was all that it asked for."""
    wants_help = not arguments or bool({"--help", "-h"} & set(arguments))
    if not wants_help:
        check_command_line(arguments)
    try:
        job = fire.Fire(
            Cereals, command=_one_help(arguments), name="cereals", serialize=lambda result: None
        )
    except fire.core.FireExit as stopped:
        if stopped.code:
            raise UserError(f"{' '.join(arguments)}: not understood, see --help") from None
        return None
    return job if isinstance(job, Job) else None


def _one_help(arguments: Sequence[str]) -> list[str]:
    """Ask Fire for help on the command alone, whatever else was typed."""
    if not {"--help", "-h"} & set(arguments):
        return list(arguments)
    return [part for part in arguments[:1] if part not in ("--help", "-h")] + ["--help"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    os.environ.setdefault("PAGER", "cat")
    try:
        job = parse(sys.argv[1:] if arguments is None else arguments)
        if job:
            job.function(**job.arguments)
    except UserError as error:
        message = " ".join(str(error).split())
    except KeyboardInterrupt:
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
