"""What the commands print on the terminal."""

import re

from rich.table import Table

from cereals_tf.tables import print_table


def test_names_that_do_not_fit_are_whole_and_apart(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"photographs/aachen_{number:06}_{'long' * 20}" for number in (19, 20)]
    table = Table("region", "image")
    for name in names:
        table.add_row("0:1", name)
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    column = "".join(re.split("[│┃]", line)[2].strip() for line in lines if line[0] in "│┃")
    assert column == "image" + "".join(names)
