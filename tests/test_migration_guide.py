"""The guides for users of bert4keras name everything that bert4keras 0.11.5 has, and are right about where it is."""

import importlib
import json
import re
from pathlib import Path

import pytest
from test_readme import BLOCK

ROOT = Path(__file__).parent.parent
NAMES = json.loads((Path(__file__).parent / "data" / "bert4keras_names.json").read_text())
"""Every name that a module of the package defines or hands out for scripts, module by module; ``""`` is the package itself."""

PAGES = ["migration.md", "migration_zh.md"]
LEFT_OUT = "–"


def tables(page):
    """Module -> name -> (place, what changed)."""
    found = {}
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for section in re.split(r"^### ", text, flags=re.M)[1:]:
        heading, *lines = section.splitlines()
        module = re.fullmatch(r"`bert4keras\.?(\w*)`", heading)
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]
        assert all(len(row) == 3 for row in rows), heading
        assert len({row[0] for row in rows}) == len(rows)
        found[module[1]] = {row[0].strip("`"): (row[1].strip("`"), row[2]) for row in rows}
    return found


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_have_every_name_and_no_other(page):
    assert {module: sorted(rows) for module, rows in tables(page).items()} == NAMES


@pytest.mark.parametrize("page", PAGES)
def test_every_name_is_where_the_table_says(page):
    for rows in tables(page).values():
        for name, (place, change) in rows.items():
            assert change, name
            if place != LEFT_OUT:
                module, attribute = place.rsplit(".", 1)
                assert hasattr(importlib.import_module(module), attribute), place


def test_names_stay_in_their_modules():
    """`from bert4keras.X import Y` becomes `from keras_su.X import Y`; the exceptions are those that the table names."""
    rows = tables(PAGES[0])
    for module, names in NAMES.items():
        here = importlib.import_module(f"keras_su.{module}".rstrip("."))
        for name in names:
            assert hasattr(here, name) or rows[module][name][0] == LEFT_OUT, f"{module}.{name}"


def test_both_languages_say_the_same():
    english, chinese = map(tables, PAGES)
    places = [{m: {n: place for n, (place, _) in rows.items()} for m, rows in page.items()} for page in (english, chinese)]
    assert places[0] == places[1]
    texts = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES]
    assert BLOCK.findall(texts[0]) == BLOCK.findall(texts[1]) != []
    headings = [len(re.findall(r"^## ", text, re.M)) for text in texts]
    lines = [len(re.findall(r"^\| ", text, re.M)) for text in texts]
    assert headings[0] == headings[1] and lines[0] == lines[1]


def test_a_name_that_is_left_out_has_a_reason():
    left_out = {name: change for rows in tables(PAGES[0]).values() for name, (place, change) in rows.items() if place == LEFT_OUT}
    assert sorted(left_out) == ["Node", "NodeBase"]
    assert all("left out:" in change for change in left_out.values())
