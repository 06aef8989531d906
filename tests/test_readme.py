"""The README keeps its promises: programs run and print what stands behind the lines, both languages agree, links exist."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from keras_su import masks

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "README_zh.md"]
DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
PRINT = re.compile(r"^ *print\(.*\)  # (.*)$")


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def promise(line):
    """What the comment behind a ``print`` says, or ``None``."""
    found = PRINT.match(line)
    return found and found[1]


def run_blocks(page):
    """Execute every block of a page in a namespace of its own; what ``print`` writes must be the comment behind it."""
    for number, block in enumerate(BLOCK.findall(text_of(page)), 1):
        lines = block.splitlines()
        name = f"{page}, block {number}"
        kept = set()

        def checked_print(*values, lines=lines, name=name, kept=kept):
            index = sys._getframe(1).f_lineno - 1
            promised, printed = promise(lines[index]), " ".join(map(str, values))
            if promised not in (None, printed):
                raise AssertionError(f"{name}, line {index + 1} promises {promised}\nbut prints {printed}")
            kept.add(index)

        exec(compile(block, name, "exec"), {"__name__": "block", "print": checked_print})
        broken = [line for index, line in enumerate(lines) if promise(line) and index not in kept]
        if broken:
            raise AssertionError(f"{name} never came to {broken}")


PROGRAMS = [page for page in DOCS if BLOCK.search(text_of(page)) and not page.endswith("_zh.md")]
MINE = PROGRAMS[["tensorflow", "jax", "torch"].index(keras.backend.backend()) :: 3]


@pytest.mark.parametrize("pages", [PAGES[:1], MINE], ids=["README", "docs"])
def test_every_program_runs_and_prints_what_it_promises(pages):
    """In processes of their own, with the names that a program imports itself.

    The README runs on every backend, each page of docs on one, in fixed rotation: what the pages show has tests of its own.
    """
    command = [sys.executable, "-m", "tests.test_readme", *pages]
    run = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]


def test_both_languages_have_the_same_programs():
    """The same statements and the same promises, so that running one page has run the other; other comments may differ."""

    def programs(page):
        return [(ast.dump(ast.parse(block)), list(map(promise, block.splitlines()))) for block in BLOCK.findall(text_of(page))]

    english, chinese = map(programs, PAGES)
    assert len(english) >= 10
    assert english == chinese


@pytest.mark.parametrize("page", [*PAGES, "ARCHITECTURE.md", *DOCS])
def test_links_into_the_repository_exist(page):
    links = re.findall(r"\]\(([^)#:]+)\)", text_of(page))
    assert links or page in DOCS
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    targets = re.findall(r"\bmake ([a-z]+)", text_of(page))
    assert {"demo", "test"} <= set(targets)
    makefile = text_of("Makefile")
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []


@pytest.mark.parametrize("page", PAGES)
def test_make_route_lists_the_files_of_the_reading_route(page):
    recipe = text_of("Makefile").split("\nroute:")[1].split("\n\n")[0]
    section = text_of(page).split("`make route`")[1].split("\n## ")[0]
    assert re.findall(r"\]\(keras_su/([^)]+\.py)\)", section) == re.findall(r"\S+\.py", recipe)


@pytest.mark.parametrize("page", PAGES)
def test_the_table_of_masks_is_complete(page):
    assert [name for name in masks.rule_names() if f'| `"{name}"` |' not in text_of(page)] == []


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run_blocks(name)
