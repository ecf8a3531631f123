"""The documentation and the command line say the same; links lead somewhere."""

import os
import re
import shlex
import sys
from pathlib import Path
from unittest import mock

import pytest

from cereals_tf import cli
from cereals_tf.help import help_on, overview
from cereals_tf.usage import COMMANDS, command_named

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "commands.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
COLUMNS = "100"
"""Width of the help on the page."""


def commands_page() -> str:
    """Return what docs/commands.md is to hold: the help on everything."""
    with mock.patch.dict(os.environ, COLUMNS=COLUMNS):
        parts = {"Commands": overview()}
        parts |= {f"cereals {name}": help_on(name) for name in COMMANDS}
    first, *others = (f"# {title}\n\n```\n{text}\n```\n" for title, text in parts.items())
    return "\n".join([first, *(f"#{other}" for other in others)])


def typed_commands(text):
    """Return the command lines in a page's code blocks, without comments and placeholders."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"^(?:    |\$ )?(cereals [a-z]+ .*)$", joined, flags=re.MULTILINE):
        words = shlex.split(line, comments=True)[1:]
        yield [word for word in words if not re.search(r"[\[\]<>]|\.\.\.$|^&&|\|", word)]


def test_every_command_and_option_stands_in_the_docs():
    assert PAGE.read_text() == commands_page(), "run: make docs"
    for name in COMMANDS:
        _, _, section = PAGE.read_text().partition(f"\n## cereals {name}\n")
        section = section.partition("\n## ")[0]
        for option in command_named(name).all_options:
            assert f"--{option.name}" in section


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_in_the_docs_can_be_typed(page):
    for words in typed_commands(page.read_text()):
        cli.checked(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


if __name__ == "__main__":
    PAGE.write_text(commands_page())
    print(PAGE, file=sys.stderr)
