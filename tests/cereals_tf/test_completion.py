"""Completion in the shells that are here, at a terminal."""

import os
import pty
import select
import shutil
import time

import pytest

from cereals_tf.completion import SHELLS

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
BEFORE = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u -D; "}
SECONDS = 60


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, shell, folder):
        self.process, self.screen = pty.fork()
        if not self.process:
            os.chdir(folder)
            environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb"}
            os.execvpe(shell, START[shell], environment)

    def types(self, text):
        os.write(self.screen, text.encode())

    def shows(self, expected):
        """Read until something is shown, and return whether that came."""
        shown, end = "", time.monotonic() + SECONDS
        while expected not in shown and time.monotonic() < end:
            if select.select([self.screen], [], [], 1)[0]:
                shown += os.read(self.screen, 1 << 16).decode(errors="replace")
        return expected in shown

    def close(self):
        os.close(self.screen)
        os.waitpid(self.process, 0)


@pytest.fixture(params=SHELLS)
def terminal(request, tmp_path):
    """A shell that has read its script, in a folder with a folder `streets`."""
    if not shutil.which(request.param):
        pytest.skip(f"no {request.param} here")
    (tmp_path / "script").write_text(SHELLS[request.param]())
    (tmp_path / "streets").mkdir()
    opened = Terminal(request.param, tmp_path)
    opened.types(f"{BEFORE[request.param]}source ./script; echo ready-$((1 + 1))\n")
    assert opened.shows("ready-2")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("cereals insp", "cereals inspect "),
        ("cereals help pre", "cereals help prepare "),
        ("cereals completion z", "cereals completion zsh "),
        ("cereals start new --inf", "--information="),
        ("cereals start new --warm", "--warm_start "),
        ("cereals start new --cost=e", "--cost=est "),
        ("cereals start new --data=str", "--data=streets/"),
        ("cereals prepare str", "cereals prepare streets/"),
        ("cereals prepare a b --dataset=city", "--dataset=cityscapes "),
        ("cereals tasks new --format=labels", "--format=labelstudio "),
    ],
)
def test_the_tab_key_completes(terminal, typed, completed):
    terminal.types(f"{typed}\t")
    assert terminal.shows(completed)
