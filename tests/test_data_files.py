"""Files by line number give the lines that Python's files give, and `open` stays what scripts know."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_su.data import files
from keras_su.data.files import IndexedTextFile
from keras_su.errors import KerasSuError
from keras_su.snippets import open as scripts_open


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "text.txt"


@given(
    text=st.text("红a\n\r\u2028", max_size=20),
    block=st.sampled_from([1, 2, 3, 1 << 24]),
    encoding=st.sampled_from(["utf-8", "gb18030"]),
)
def test_lines_are_those_of_python(path, text, block, encoding):
    path.write_bytes(text.encode(encoding))
    files.BLOCK, size = block, files.BLOCK
    try:
        lines = IndexedTextFile(path, encoding)
    finally:
        files.BLOCK = size
    wanted = list(io.TextIOWrapper(io.BytesIO(path.read_bytes()), encoding))
    assert len(lines) == len(wanted)
    assert list(lines) == [lines[i] for i in range(len(lines))] == lines[:] == wanted
    assert lines[-2:] == wanted[-2:] and lines[::-1] == wanted[::-1]
    assert lines.readline() == "".join(wanted[:1])
    assert next(lines, None) == (wanted[1] if len(wanted) > 1 else None)
    assert lines.read() == "".join(wanted[2:]) and lines.readline() == ""
    for index in (len(lines), -len(lines) - 1):
        with pytest.raises(IndexError):
            lines[index]


def test_a_file_that_holds_more_than_one_use(path):
    path.write_text("一\n二\n", encoding="utf-8")
    with scripts_open(path, encoding="utf-8", indexable=True) as lines:
        assert (len(lines), lines[1], lines.readlines(), lines.name) == (2, "二\n", ["一\n", "二\n"], path)
    assert len(lines) == 0
    assert len(scripts_open(path, encoding="utf-8", indexable=str(path) + ".index")) == 2
    assert list(path.parent.iterdir()) == [path]


def test_open_in_the_ways_of_scripts(path):
    with scripts_open(path, "w", encoding="utf-8") as file:
        file.write('{"一": 1}\n{"二": 2}\n')
        file.flush()
    with scripts_open(path, encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == [{"一": 1}, {"二": 2}]
    assert scripts_open(path, "r", "utf-8").readlines()[1] == '{"二": 2}\n'
    path.write_text('["一"]', encoding="utf-8")
    assert json.load(scripts_open(path, encoding="utf-8")) == ["一"]
    assert scripts_open(path, "rb").read() == path.read_bytes()
    path.write_text("一\n二", encoding="utf-8-sig")
    assert list(scripts_open(path, encoding="utf-8-sig", indexable=True)) == ["一\n", "二"]
    path.write_bytes(b"a\xffb")
    assert scripts_open(path, encoding="utf-8", errors="ignore").read() == "ab"
    with pytest.raises(UnicodeDecodeError):
        scripts_open(path, encoding="utf-8").read()


def test_what_cannot_be_indexed(path):
    path.write_text("一")
    with pytest.raises(KerasSuError, match="mode"):
        scripts_open(path, "w", indexable=True)
    with pytest.raises(KerasSuError, match="encoding: got 'utf-16'"):
        scripts_open(path, encoding="utf-16", indexable=True)
    assert path.read_text() == "一"
