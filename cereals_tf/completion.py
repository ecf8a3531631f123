"""Completion of the command line in bash and zsh: scripts that the shells read."""

import shlex
from collections.abc import Callable, Iterable

from cereals_tf.data_prep.option import Option
from cereals_tf.usage import COMMANDS, Command, command_named, summary_of


def bash() -> str:
    """Return a script for bash, 3.2 or newer."""
    options, values = [], []
    for command in map(command_named, COMMANDS):
        names = [f"--{found.name}{'' if found.bare else '='}" for found in command.all_options]
        options.append(f"{command.name}) words={_quoted(names)} ;;")
        values += [
            f"{command.name}:{place}) words={_quoted(found.choices)} ;;"
            for place, found in _with_places(command)
            if found.choices
        ]
    return (
        _BASH.replace("@COMMANDS@", _quoted(COMMANDS))
        .replace("@OPTIONS@", "\n            ".join(options))
        .replace("@VALUES@", "\n            ".join(values))
    )


def zsh() -> str:
    """Return a script for zsh."""
    names = [shlex.quote(f"{name}:{summary_of(name)}") for name in COMMANDS]
    cases = [
        f"{command.name}) _arguments {' '.join(_zsh_specs(command))} ;;"
        for command in map(command_named, COMMANDS)
    ]
    return _ZSH.replace("@COMMANDS@", "\n        ".join(names)).replace(
        "@CASES@", "\n        ".join(cases)
    )


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "zsh": zsh}
"""What writes the script of each shell."""


def _with_places(command: Command) -> list[tuple[str, Option]]:
    """Return what can be typed, with its place or its name."""
    places = [(str(place), found) for place, found in enumerate(command.arguments, 1)]
    return places + [(found.name, found) for found in command.all_options]


def _quoted(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))


def _zsh_specs(command: Command) -> list[str]:
    """Return what can be typed as zsh's `_arguments` reads it."""
    specs = []
    for place, found in _with_places(command):
        action = f"({' '.join(found.choices)})" if found.choices else "_files"
        text = found.help.partition(". ")[0].rstrip(".")
        for character in "\\[]:":
            text = text.replace(character, f"\\{character}")
        if place.isdigit():
            place = "*" if found.repeated else place
            specs.append(f"{place}:{found.name}:{action}")
        elif found.bare:
            specs.append(f"--{found.name}[{text}]")
        else:
            specs.append(f"--{found.name}=[{text}]:{found.name}:{action}")
    return [shlex.quote(spec) for spec in specs]


_BASH = """\
_cereals() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words= name
    case $before:$word in
        *:=) name=$before word= ;;
        =:*) name=${COMP_WORDS[COMP_CWORD-2]} ;;
        -*) name=$before ;;
        *) name=$(( COMP_CWORD - 1 )) ;;
    esac
    name=${name#--}
    if (( COMP_CWORD == 1 )); then
        words=@COMMANDS@
    elif [[ $word == -* ]]; then
        case ${COMP_WORDS[1]} in
            @OPTIONS@
        esac
    else
        case ${COMP_WORDS[1]}:${name//-/_} in
            @VALUES@
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -o default -F _cereals cereals
"""

_ZSH = """\
#compdef cereals
_cereals() {
    local -a commands=(
        @COMMANDS@
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    shift words
    (( CURRENT-- ))
    case $words[1] in
        @CASES@
    esac
}
compdef _cereals cereals
"""
