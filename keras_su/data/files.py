"""Text files whose lines are reached by number."""

import builtins
import locale
import os

import numpy as np

from keras_su.errors import bad_value

BLOCK = 1 << 24  # bytes that are searched for line ends at a time


class IndexedTextFile:
    """The lines of a text file as a sequence: ``f[i]``, ``f[-1]``, ``f[10:20]``, ``len(f)``, iteration.

    The file is mapped, not read: a line costs its own bytes, threads and forked processes may share one object, and files may be
    larger than the memory. Opening it looks for line ends once, at about a gigabyte a second. Lines are those of Python's text
    files: they end at ``\\n``, ``\\r`` or ``\\r\\n``, and keep the end as ``\\n``.

    Args:
        name: path.
        encoding: one in which a line end is one byte, as in UTF-8 and GBK; default is that of the platform.
        errors: how bytes that do not decode are treated, as for ``open``.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write("一\\n二\\n三".encode()), file.flush()
    ...     lines = IndexedTextFile(file.name, "utf-8")
    ...     len(lines), lines[1], lines[-1]
    (3, '二\\n', '三')
    """

    def __init__(self, name, encoding=None, errors="strict"):
        self.name = name
        self.mode = "r"
        self.encoding = encoding or locale.getencoding()
        self.errors = errors
        if not "\n\r".encode(self.encoding).endswith(b"\n\r"):
            raise bad_value("encoding", encoding, "one in which a line end is one byte; open the file without indexable=True")
        self._bytes = np.memmap(name, np.uint8, "r") if os.path.getsize(name) else np.empty(0, np.uint8)
        self._starts = _line_starts(self._bytes)
        self._next = 0

    def __len__(self):
        return len(self._starts) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} lines, there is no line {index}")
        index = index % len(self)
        return self._text(self._starts[index], self._starts[index + 1])

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def readline(self):
        """The next line, or an empty string behind the last one."""
        self._next += 1
        return self[self._next - 1] if self._next <= len(self) else ""

    def readlines(self):
        """The lines that were not read yet."""
        lines, self._next = self[self._next :], len(self)
        return lines

    def read(self):
        """The text of the lines that were not read yet."""
        return "".join(self.readlines())

    def close(self):
        """Release the file; no line can be read afterwards."""
        self._bytes, self._starts = np.empty(0, np.uint8), np.zeros(1, np.int64)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _text(self, start, stop):
        text = self._bytes[start:stop].tobytes().decode(self.encoding, self.errors)
        return text.replace("\r\n", "\n").replace("\r", "\n")


def _line_starts(data):
    """Where each line begins, and the end of the last one."""
    ends = []
    for start in range(0, len(data), BLOCK):
        block = np.asarray(data[start : start + BLOCK + 1])  # one byte more: what follows a \r decides
        here, following = block[:BLOCK], np.append(block[1:], 0)[:BLOCK]
        ends.append(np.flatnonzero((here == 10) | (here == 13) & (following != 10)) + start + 1)
    starts = np.concatenate([[0], *ends]).astype(np.int64)
    return starts if starts[-1] == len(data) else np.append(starts, len(data))


def open(name, mode="r", encoding=None, errors="strict", indexable=False):
    """Python's ``open``, or an `IndexedTextFile`.

    Args:
        name: path.
        mode: as for Python's ``open``.
        encoding, errors: of text files; ignored in binary modes.
        indexable: true for a file whose lines are reached by number. Scripts may give the path of an index file, which is not
            needed any more: nothing is read from it or written there.
    """
    if indexable:
        if mode not in ("r", "rt"):
            raise bad_value("mode", mode, "'r' where indexable is true")
        return IndexedTextFile(name, encoding, errors)
    if "b" in mode:
        return builtins.open(name, mode)
    return builtins.open(name, mode, encoding=encoding, errors=errors)
