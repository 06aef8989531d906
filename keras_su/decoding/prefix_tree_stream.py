"""Blocks of rows as they come from the source, taken by bytes or by number, and put back when they were taken too early."""

from collections import deque


class RowStream:
    """An iterator over ``Rows`` that can be asked for several at once.

    The lists that it gives away hold the only references, so that whoever empties them frees the memory.
    """

    def __init__(self, blocks):
        self._blocks, self._ahead = iter(blocks), deque()

    def __iter__(self):
        return self

    def __next__(self):
        return self._ahead.popleft() if self._ahead else next(self._blocks)

    def put_back(self, pieces):
        """Let ``pieces``, a list that is emptied, come first again."""
        self._ahead.extendleft(reversed(pieces))
        pieces.clear()

    def take_bytes(self, nbytes):
        """``(pieces, size)``: the next rows until they have more than ``nbytes`` bytes; fewer only at the end."""
        pieces, size = [], 0
        for rows in self:
            pieces.append(rows)
            size += rows.nbytes
            if size > nbytes:
                break
        return pieces, size

    def take_rows(self, count):
        """A list of the next ``count`` rows; fewer only at the end."""
        pieces = []
        while count:
            rows = next(self, None)
            if rows is None:
                break
            if len(rows) > count:
                rows, rest = rows.split(count)
                self._ahead.appendleft(rest)
            pieces.append(rows)
            count -= len(rows)
        return pieces

    def groups(self, nbytes):
        """Iterate over lists of ``take_bytes(nbytes)`` to the end."""
        while True:
            pieces, _ = self.take_bytes(nbytes)
            if not pieces:
                return
            yield pieces
            del pieces
