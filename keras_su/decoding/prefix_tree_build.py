"""Building the arrays of a prefix tree from items in any order, within a given amount of memory."""

import os
import tempfile

import numpy as np
from tqdm import tqdm

from keras_su.decoding.prefix_tree_layout import Layout, with_following
from keras_su.decoding.prefix_tree_rows import concatenate
from keras_su.decoding.prefix_tree_runs import RowFile, merge
from keras_su.decoding.prefix_tree_sort import sort_rows
from keras_su.errors import bad_value

# Rows laid out at a time: enough for array operations to pay, and their index arrays still fit the cache.
WINDOW = 32768


def build_arrays(source, make, memory, progress, dtype, scratch=None):
    """The fields of ``Parts``, each allocated by ``make(name, length, dtype)``.

    ``source(largest_id=..., block=...)`` iterates over the keys as ``Rows`` of about ``block`` ids (see ``prefix_tree_collect``).
    Rows wait in memory until they take a quarter of ``memory``, since sorting needs about three times as much in all. Then they
    go to disk as a sorted run, below the folder ``scratch`` or that of the system for temporary files. At the end all runs are
    merged.
    """
    if not memory >= 1:
        raise bad_value("PrefixTree: memory", memory, "a positive number of bytes")
    dtype = None if dtype is None else token_dtype(dtype)
    largest_id = np.iinfo(np.uint32 if dtype is None else dtype).max - 1
    with tempfile.TemporaryDirectory(prefix="prefix_tree_", dir=scratch) as scratch:
        runs, waiting, waiting_bytes = [], [], 0
        with bar(progress, "Reading keys") as reading:
            for rows in source(largest_id=largest_id, block=int(min(65536, 1 + memory // 128))):
                waiting.append(rows)
                waiting_bytes += rows.nbytes
                reading.update(len(rows))
                if waiting_bytes > memory / 4:
                    runs.append(spilled(waiting, os.path.join(scratch, str(len(runs)))))
                    waiting_bytes = 0
        if not runs:
            return arrays_in_memory(waiting, make, progress, dtype)
        if waiting:
            runs.append(spilled(waiting, os.path.join(scratch, str(len(runs)))))
        return merged_arrays(runs, os.path.join(scratch, "merged"), make, memory, progress, dtype)


def joined(waiting):
    """One ``Rows`` of all that wait; the list is then empty, so that the pieces can be freed."""
    rows = concatenate(waiting)
    waiting.clear()
    return rows


def spilled(waiting, folder):
    """A sorted run on disk of all rows that wait."""
    rows, shared = sort_rows(joined(waiting))
    run = RowFile(folder, rows.tokens.dtype)
    run.append(rows, shared)
    return run


def arrays_in_memory(waiting, make, progress, dtype):
    rows, shared = sort_rows(joined(waiting))
    layout = Layout(rows.tokens.dtype if dtype is None else dtype)
    starts = range(0, len(rows), WINDOW)
    blocks = [(window, shared[start : start + WINDOW]) for window, start in zip(rows.windows(WINDOW), starts)]
    for rows, shared, following in with_following(blocks):
        layout.count(rows, shared, following)
    return laid_out(layout, blocks, make, progress)


def merged_arrays(runs, folder, make, memory, progress, dtype):
    layout = Layout(np.result_type(*(run.token_dtype for run in runs)) if dtype is None else dtype)
    merged = RowFile(folder, layout.token_dtype)
    with bar(progress, "Merging keys", total=sum(run.rows for run in runs)) as merging:
        for rows, shared, following in with_following(merge(runs, memory)):
            layout.count(rows, shared, following)
            merged.append(rows, shared)
            merging.update(len(rows))
    return laid_out(layout, merged.blocks(memory // 16), make, progress)


def laid_out(layout, blocks, make, progress):
    """Newly made arrays with all ``(rows, shared)`` blocks written into them."""
    arrays = layout.allocate(make)
    with bar(progress, "Writing keys", total=layout.keys) as writing:
        for rows, shared, following in with_following(blocks):
            layout.write(arrays, rows, shared, following)
            writing.update(len(rows))
    return arrays


def bar(progress, title, total=None):
    """A progress bar over keys; ``disable=None`` keeps it quiet where stderr is not a terminal."""
    return tqdm(desc=title, total=total, unit="key", unit_scale=True, disable=None if progress else True)


def token_dtype(dtype):
    """uint16 or uint32, whatever way it is named."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.uint16, np.uint32):
        raise bad_value("PrefixTree: dtype", dtype, "uint16 (ids up to 65534), uint32, or None to choose by the largest id")
    return found
