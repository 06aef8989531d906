"""Building the arrays of a prefix tree from items in any order, within a given amount of memory and on several cores."""

import os
import shutil
import tempfile
from functools import partial

import numpy as np
from tqdm import tqdm

from keras_su.decoding.prefix_tree_files import new_part, write_meta
from keras_su.decoding.prefix_tree_folder import building, put_in_place, replaceable
from keras_su.decoding.prefix_tree_layout import Counts, Layout, with_following
from keras_su.decoding.prefix_tree_parallel import number_of_workers, ordered_map
from keras_su.decoding.prefix_tree_resume import Scratch
from keras_su.decoding.prefix_tree_rows import joined
from keras_su.decoding.prefix_tree_runs import WINDOW, SavedRows
from keras_su.decoding.prefix_tree_sort import sort_rows
from keras_su.decoding.prefix_tree_stream import RowStream
from keras_su.errors import bad_value

SMALLEST = 256  # bytes of a run or of a range at least, however little memory there is


class Build:
    """The settings of one build, checked.

    Args:
        memory: bytes to work with.
        workers: threads, or ``None``.
        progress: whether to show progress bars.
        dtype: of the token ids, or ``None``.
        total: number of keys for the progress bar, or ``None`` if not known.
    """

    def __init__(self, memory, workers, progress, dtype, total):
        if not memory >= 1:
            raise bad_value("PrefixTree: memory", memory, "a positive number of bytes")
        self.memory, self.progress, self.total = memory, progress, total
        self.workers = number_of_workers(workers, memory)
        self.dtype = None if dtype is None else token_dtype(dtype)
        # Sorting needs three times the bytes of its rows, each worker sorts, and the next rows are read meanwhile.
        self.piece_bytes = max(SMALLEST, memory // (5 * self.workers))

    def in_memory(self, source):
        """``{name: array}`` of the fields of ``Parts``; ``source`` as for ``arrays``."""
        with tempfile.TemporaryDirectory(prefix="prefix_tree_") as folder:
            return self.arrays(source, Scratch(folder, durable=False), lambda name, length, dtype: np.empty(length, dtype))

    def in_folder(self, source, folder):
        """Write the files of a tree, going on with what a killed process left beside ``folder``, whose full path is returned."""
        folder = replaceable(folder)
        with building(folder) as place:
            fresh = os.path.join(place, "tree")
            shutil.rmtree(fresh, ignore_errors=True)
            os.mkdir(fresh)
            write_meta(fresh, self.arrays(source, Scratch(place, durable=True), partial(new_part, fresh)))
            put_in_place(fresh, folder)
        return folder

    def arrays(self, source, scratch, make):
        """``{name: array}`` of the fields of ``Parts``.

        Args:
            source: ``source(largest_id=..., block=...)`` iterates over the keys as ``Rows`` of about ``block`` ids (see
                ``prefix_tree_collect``).
            scratch: a ``Scratch``, for more keys than fit the memory.
            make: ``make(name, length, dtype)`` gives the array for a part of the tree.
        """
        largest_id = np.iinfo(np.uint32 if self.dtype is None else self.dtype).max - 1
        with self.bar("Reading keys", self.total) as reading:
            blocks = source(largest_id=largest_id, block=int(min(65536, 1 + self.memory // 128)))
            stream = RowStream(counted(blocks, reading))
            pieces, size = stream.take_bytes(self.memory / 4)
            runs = None
            if size > self.memory / 4:
                stream.put_back(pieces)
                runs = scratch.kept_runs(stream, self.memory / 2)
                groups = enumerate(stream.groups(self.piece_bytes), len(runs))
                runs += ordered_map(partial(spilled, scratch), groups, self.workers)
        if runs is None:
            pieces, dtype = self.sorted_at_once(pieces)
        else:
            pieces, dtype = self.merged(runs, scratch)
        return self.laid_out(pieces, dtype if self.dtype is None else self.dtype, make)

    def sorted_at_once(self, pieces):
        """``(pieces, dtype)``: what ``laid_out`` wants, from unsorted rows in memory."""
        rows, shared = sort_rows(joined(pieces))
        size = WINDOW * max(1, len(rows) // WINDOW // self.workers)
        pieces = [(piece, following, counted_piece(piece, following)) for piece, following in slices(rows, shared, size)]
        return pieces, rows.tokens.dtype

    def merged(self, runs, scratch):
        """``(pieces, dtype)``: what ``laid_out`` wants, from sorted runs."""
        plan = scratch.merge_plan(runs, self.piece_bytes)
        rows = np.diff(np.sum(plan.starts, axis=1)).tolist()  # of each range, equal keys of different runs not yet joined

        def merged(number):
            piece, following = scratch.merged(runs, plan, number), plan.shared[number + 1]
            return piece, following, counted_piece(piece, following)

        pieces = []
        with self.bar("Merging keys", sum(rows)) as merging:
            for size, piece in zip(rows, ordered_map(merged, range(len(plan)), self.workers)):
                pieces.append(piece)
                merging.update(size)
        return pieces, np.result_type(*(run.token_dtype for run in runs))

    def laid_out(self, pieces, dtype, make):
        """The arrays of the tree.

        Args:
            pieces: list of ``(piece, following, counts)`` in order: ``piece.blocks()`` iterates over its ``(rows, shared)``,
                ``following`` is what the first row of the next piece shares with its last, and ``counts`` is ``Counts`` of it.
            dtype: of the token ids.
            make: as for ``arrays``.
        """
        layout = Layout(dtype, [counts for _, _, counts in pieces])
        arrays = layout.allocate(make)

        def write(task):
            (piece, following, counts), cursor = task
            for block in with_following(piece.blocks(), following):
                layout.write(arrays, cursor, *block)
            return counts.keys

        with self.bar("Writing keys", layout.counts.keys) as writing:
            for keys in ordered_map(write, zip(pieces, layout.cursors()), self.workers):
                writing.update(keys)
        return arrays

    def bar(self, title, total):
        """A progress bar over keys; ``disable=None`` keeps it quiet where stderr is not a terminal."""
        return tqdm(desc=title, total=total, unit="key", unit_scale=True, disable=None if self.progress else True)


class Slice:
    """Sorted rows in memory, in the form of ``SavedRows``."""

    def __init__(self, rows, shared):
        self.rows, self.shared = rows, shared

    def blocks(self):
        starts = range(0, len(self.rows), WINDOW)
        return ((rows, self.shared[start : start + WINDOW]) for start, rows in zip(starts, self.rows.windows(WINDOW)))


def slices(rows, shared, size):
    """Iterate over ``(piece, following)`` of ``size`` rows."""
    for start, window in zip(range(0, len(rows), size), rows.windows(size)):
        yield Slice(window, shared[start : start + size]), int(shared[start + size]) if start + size < len(rows) else 0


def counted(blocks, bar):
    for rows in blocks:
        bar.update(len(rows))
        yield rows


def spilled(scratch, task):
    """A sorted run on disk, from its number and the list of its rows, which is emptied."""
    number, pieces = task
    digest, size = scratch.digest(pieces), sum(rows.nbytes for rows in pieces)
    rows = joined(pieces)
    taken = len(rows)
    return SavedRows.write(scratch.path("run", number), *sort_rows(rows), scratch.durable, digest, taken, size)


def counted_piece(piece, following):
    counts = Counts()
    for block in with_following(piece.blocks(), following):
        counts.add(*block)
    return counts


def token_dtype(dtype):
    """uint16 or uint32, whatever way it is named."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.uint16, np.uint32):
        raise bad_value("PrefixTree: dtype", dtype, "uint16 (ids up to 65534), uint32, or None to choose by the largest id")
    return found
