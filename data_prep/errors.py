"""Errors that are no mistake of the program."""


class UserError(Exception):
    """Something the user can mend: a wrong option, a missing or damaged file, a busy campaign.

    The message is one line. It names the file or option, what was found and what was expected.
    The command line prints it as `cereals: error: MESSAGE` and exits with status 2.
    """


class StoppedError(Exception):
    """Work ended before its time, not because of its input; what is finished stays."""
