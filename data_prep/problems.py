"""What is wrong with parts of a source, and what else its reader has to say."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cereals_tf.data_prep.errors import UserError

SHOWN = 20
"""So many problems are shown; a file lists all."""


class Problem(NamedTuple):
    """A part of a source that cannot be used, although the rest can be without it.

    Attributes:
        kind: What is wrong, in the plural, as `images that cannot be read`.
        text: A line that names the file, what was found and what was expected.
    """

    kind: str
    text: str


class InvalidError(UserError):
    """A problem, where it is met."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.problem = Problem(kind, text)

    def __str__(self) -> str:
        return self.problem.text


class ProblemsError(UserError):
    """A source has problems, and they are not to be left out.

    Attributes:
        problems: All of them.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        first, *others = self.problems
        if not others:
            return f"{first.text} (--invalid=skip leaves it out)"
        return (
            f"{first.text}; {len(self.problems)} problems in all: {summary(self.problems)} "
            "(--problems=FILE lists them, --invalid=skip leaves them out)"
        )


def summary(problems: Sequence[Problem]) -> str:
    """Return how many problems there are of each kind, the commonest first."""
    counts = Counter(problem.kind for problem in problems)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def listed(problems: Sequence[Problem]) -> bytes:
    """Return problems as a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(Problem._fields)
    writer.writerows(problems)
    return text.getvalue().encode("utf-8", "backslashreplace")


def report(
    problems: Sequence[Problem], note: Callable[[str], object], skip: bool, file: Path | None
) -> None:
    """Show problems.

    Args:
        problems: All that were found.
        note: Told the first of them, if there are several or they are left out.
        skip: Whether they are to be left out.
        file: Where all are listed as CSV, also if there are none.

    Raises:
        ProblemsError: There are some, and they are not to be left out.
    """
    if file:
        file.write_bytes(listed(problems))
    if len(problems) > 1 or skip:
        for problem in problems[:SHOWN]:
            note(f"  {problem.text}")
        if len(problems) > SHOWN:
            note(f"  and {len(problems) - SHOWN} more")
    if not skip:
        refuse(problems)


def refuse(problems: Sequence[Problem]) -> None:
    """Raise ProblemsError if there are problems."""
    if problems:
        raise ProblemsError(problems)


@dataclass
class SourceLog:
    """What is met while a source is read.

    Attributes:
        problems: What cannot be used and is left out.
        remarks: What the user should know of how the rest is read.
    """

    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def invalid(self, kind: str, text: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, text))

    def nothing_left(self, text: str) -> UserError:
        """Return an error that says so, and what was wrong first if anything was."""
        return UserError(f"{text}: {self.problems[0].text}" if self.problems else text)

    @contextmanager
    def noted(self, kind: str) -> Iterator[None]:
        """Note what ends the block as a problem, of this kind unless it says another."""
        try:
            yield
        except InvalidError as error:
            self.problems.append(error.problem)
        except UserError as error:
            self.problems.append(Problem(kind, str(error)))
