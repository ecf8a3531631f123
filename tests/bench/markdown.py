"""`python -m tests.bench.markdown bench.json`: the tables of a run as Markdown."""

import json
import sys
from pathlib import Path
from typing import Any


def tables(content: dict[str, Any]) -> str:
    """Return the machine and a table per group.

    Args:
        content: What `tests.bench` wrote.
    """
    about = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    parts = [f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB; {versions}."]
    for name, group in content["groups"].items():
        lines = [f"### {name}", "", "| measured | | compared with | ratio | target |"]
        lines += ["| --- | ---: | --- | ---: | --- |", *map(_line, group["rows"])]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(row: dict[str, Any]) -> str:
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    verdict = {None: "", True: " met", False: " **missed**"}[row["met"]]
    value = f"{row['value']:.4g} {row['unit']}"
    cells = (row["what"], value, row["floor"], ratio, row["target"] + verdict)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1]).read_bytes())), end="")
