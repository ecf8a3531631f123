"""A running server of an annotation tool, as the user names it."""

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cereals_tf.data_prep.errors import UserError


@dataclass(frozen=True)
class Server:
    """A project of a running server.

    Attributes:
        url: Its address, without a slash at the end.
        project: The project's number, or its name.
        token: An access token of one of its users.
    """

    url: str
    project: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Pushed:
    """What a project has after regions were sent to it.

    Attributes:
        project: The project's number.
        new: How many regions became tasks.
        before: How many regions were tasks before.
    """

    project: int
    new: int
    before: int


def server_of(tool: str, variable: str, url: str, project: str, token: str = "") -> Server:
    """Check what the user typed of a server.

    Args:
        tool: What runs there.
        variable: The environment variable that holds the token if none is typed.
        url: The server's address.
        project: The number or the name of a project.
        token: An access token.

    Raises:
        UserError: The address is none, or the project or the token is missing or cannot be one.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        if parts.username or parts.password or parts.query or parts.fragment or parts.port == 0:
            valid = False
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise UserError(
            f"--url: expected the address of a running {tool} without user, password or query, as "
            "http://localhost:8080"
        )
    if not project.strip():
        raise UserError("--project: missing, expected the number or the name of a project")
    token = token or os.environ.get(variable, "")
    if not token:
        raise UserError(
            f"--token: missing, expected an access token of {tool} here or in {variable}"
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UserError("--token: holds characters that no access token has")
    return Server(url.rstrip("/"), project.strip(), token)
