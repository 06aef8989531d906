"""What can be converted: the families, and public checkpoints that are known to fit one of them."""

import json
from pathlib import Path

from keras_su.models.registry import families
from weights_convert.conversion import formats_of

VERIFIED = {
    "golden": "outputs of small random checkpoints of the same family equal those of bert4keras or transformers; the published "
    "file itself was not run",
    "real weights": "outputs of the published file itself equal those of transformers",
    "layout only": "the tables follow the published tensor names; no outputs of such a file were compared",
}
"""What the last column means."""

_COLUMNS = ("name", "hub", "family", "formats", "quirks", "verified")
_TITLES = ("checkpoint", "where", "`model=`", "files", "to know", "checked")


def checkpoints():
    """The rows of ``checkpoints.json``: dictionaries with name, hub, family, formats, quirks, verified."""
    return json.loads(Path(__file__).with_name("checkpoints.json").read_text(encoding="utf-8"))["checkpoints"]


def text():
    """Families and checkpoints as plain text."""
    rows = [("family", "also called", "model_type", "can be written as")]
    for family in families():
        rows.append((family.name, ", ".join(family.aliases), ", ".join(family.model_types), ", ".join(formats_of(family))))
    listed = [("checkpoint", "family", "checked", "where")]
    listed += [(row["name"], row["family"], row["verified"], row["hub"]) for row in checkpoints()]
    meaning = [f"  {word}: {told}" for word, told in VERIFIED.items()]
    return "\n".join(["FAMILIES", *_table(rows), "", "PUBLIC CHECKPOINTS", *_table(listed), "", *meaning]) + "\n"


def markdown():
    """The checkpoints as a page."""
    lines = [
        "# Public checkpoints",
        "",
        "Made by `python -m weights_convert --list --markdown` from `weights_convert/checkpoints.json`; do not edit this page.",
        "",
        "What `build_transformer_model` and `python -m weights_convert` take as they are published. T is a TensorFlow",
        "checkpoint, B a PyTorch `.bin`, S safetensors, H a `tf_model.h5`. Other files of the same layout load, too.",
        "",
        "The last column says what was checked, and no more:",
        "",
        *[f"- **{word}**: {told}." for word, told in VERIFIED.items()],
        "",
    ]
    groups = {}
    for row in checkpoints():
        groups.setdefault(row["group"], []).append(row)
    for group, rows in groups.items():
        lines += [f"## {group}", "", _row(_TITLES), _row(["---"] * len(_TITLES))]
        lines += [_row([_cell(row, column) for column in _COLUMNS]) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _cell(row, column):
    value = row[column]
    if column == "hub":
        return ", ".join(f"`{place}`" for place in value.split(", "))
    return f"`{value}`" if column == "family" else value


def _row(cells):
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _table(rows):
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
