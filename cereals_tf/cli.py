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
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import fire
from fire.decorators import SetParseFn

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import BOOLEANS, Option, parse_option, refuse_without_effect
from cereals_tf.data_prep.progress import show_progress
from cereals_tf.data_prep.remote import plug_in_loaded
from cereals_tf.usage import COMMANDS, REQUIRED, Command, command_named

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
_HELP = ("--help", "-h")
_VERSION = "--version"


@dataclass(frozen=True)
class Job:
    """A checked command line: what to call, and with what."""

    function: Callable[..., str | None]
    arguments: dict[str, Any]


def _job_maker(command: Command) -> Callable[..., Job]:
    """Return what Fire calls for a command: a function of its signature that returns a `Job`."""
    signature = inspect.Signature(
        [
            *(
                inspect.Parameter(found.name, _kind(found), default=found.default)
                for found in command.arguments
            ),
            *(
                inspect.Parameter(found.name, inspect.Parameter.KEYWORD_ONLY, default=found.default)
                for found in command.all_options
            ),
        ]
    )

    def make(*positional: str, **named: str) -> Job:
        given = signature.bind(*positional, **named).arguments
        return Job(command.function, _checked_values(command, given))

    make.__signature__ = signature
    make.__name__ = command.name
    return SetParseFn(str)(make)


def _kind(argument: Option) -> Any:
    """Return how a function takes an argument."""
    parameter = inspect.Parameter
    return parameter.VAR_POSITIONAL if argument.repeated else parameter.POSITIONAL_OR_KEYWORD


def _checked_values(command: Command, typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was typed as values of its types; Fire hands over defaults as they are.

    Raises:
        UserError: A value is none of its option's, or a command's own option has no effect.
    """
    known = command.by_name
    values = {
        name: parse_option(name, known[name].form, value) if isinstance(value, str) else value
        for name, value in typed.items()
    }
    own = command.arguments + command.options
    for found in own:
        if not found.repeated and values.get(found.name, found.default) != found.default:
            values[found.name] = found.read(values[found.name])
    defaults = {found.name: found.default for found in own}
    refuse_without_effect(own, values, defaults | values)
    return values


def checked(arguments: Sequence[str]) -> list[str]:
    """Return a command line as Fire understands it without guessing: `--option=value` throughout.

    Raises:
        UserError: An unknown command or option, an argument too many or too few, an option without
            a value; names what was typed, and the nearest that exists.
    """
    name, *rest = arguments
    command = _command(name)
    known = command.by_name
    positional, named = [], {}
    left = list(rest)
    while left:
        argument = left.pop(0)
        if not _is_option(argument):
            positional.append(argument)
            continue
        typed, equals, value = argument.lstrip("-").partition("=")
        name = typed.replace("-", "_")
        if name not in known:
            raise UserError(
                f"--{typed}: no such option of {command.name}{_nearest(typed, known, '--')}"
            )
        if name in named:
            raise UserError(f"--{typed}: given twice")
        named[name] = value if equals else _value_after(known[name], left)
    _check_positional(command, positional, list(named))
    return [command.name, *positional, *(f"--{name}={value}" for name, value in named.items())]


def _command(name: str) -> Command:
    if name not in COMMANDS:
        raise UserError(f"{name}: no such command{_nearest(name, COMMANDS)}")
    return command_named(name)


def _value_after(found: Option, left: list[str]) -> str:
    """Take an option's value from the arguments after it, or what it is without one."""
    if found.bare:
        return left.pop(0) if left and left[0].lower() in BOOLEANS else found.bare
    if not left or _is_option(left[0]):
        raise UserError(f"--{found.name}: expected a value, as --{found.name}=VALUE")
    return left.pop(0)


def _check_positional(command: Command, positional: Sequence[str], named: Sequence[str]) -> None:
    places = [found.name for found in command.arguments if found.name not in named]
    repeated = bool(command.arguments) and command.arguments[-1].repeated
    if len(positional) > len(places) and not repeated:
        raise UserError(f"{positional[len(places)]}: {command.name} takes no such argument")
    for place, value in zip(places, positional, strict=False):
        if not value:
            raise UserError(f"{command.name}: {place.upper()} is empty")
    given = {*named, *places[: len(positional)]}
    for found in command.arguments + command.options:
        if found.default is REQUIRED and found.name not in given:
            missing = found.name.upper() if found in command.arguments else f"--{found.name}"
            raise UserError(f"{command.name}: {missing} is missing")


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


def parse(arguments: Sequence[str]) -> Job:
    """Turn a command line into a job.

    Raises:
        UserError: It is no command line of ours.
    """
    if not arguments or set(_HELP) & set(arguments):
        arguments = ["help", *[part for part in arguments if part not in _HELP][:1]]
    elif arguments[0] == _VERSION:
        arguments = ["version", *arguments[1:]]
    line = checked(arguments)
    makers = {line[0]: _job_maker(command_named(line[0]))}
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return fire.Fire(makers, command=line, name="cereals", serialize=lambda result: None)
    except fire.core.FireExit:
        raise UserError(f"{' '.join(arguments)}: not understood, see --help") from None


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
        status = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _readers_are_gone():
            raise
        return 128 + signal.SIGPIPE
    return status


def _run(arguments: Sequence[str]) -> int:
    try:
        job = parse(arguments)
        show_progress()
        following = job.function(**job.arguments)
        if following:
            print(f"next: {following}", file=sys.stderr)
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


def _readers_are_gone() -> bool:
    """Whether a pipe that we print to is closed, as by `head`; nothing is printed to it then."""
    gone = select.poll()
    for stream in (sys.stdout, sys.stderr):
        gone.register(stream, 0)
    closed = [number for number, _ in gone.poll(0)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in closed:
        os.dup2(nowhere, number)
    return bool(closed)
