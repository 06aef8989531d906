"""Building the arrays of a prefix tree from items in any order, within a given amount of memory."""

import os
import tempfile

import numpy as np
from tqdm import tqdm

from keras_su.decoding.prefix_tree_collect import Collector
from keras_su.decoding.prefix_tree_layout import Layout, with_following
from keras_su.decoding.prefix_tree_runs import RowFile, merge
from keras_su.decoding.prefix_tree_sort import sort_rows
from keras_su.errors import bad_value

# Rows laid out at a time: enough for array operations to pay, and their index arrays still fit the cache.
WINDOW = 32768


def build_arrays(items, make, memory, progress, dtype):
    """The parts named in ``prefix_tree_layout``, each allocated by ``make(name, length, dtype)``.

    Rows wait in memory until they take a third of ``memory``, since sorting holds two copies and the order. Then they go to disk
    as a sorted run, and the runs are merged at the end.
    """
    if not memory >= 1:
        raise bad_value("PrefixTree: memory", memory, "a positive number of bytes")
    largest_id = np.iinfo(np.uint32 if dtype is None else token_dtype(dtype)).max - 1
    collector = Collector(largest_id, block=int(min(65536, 1 + memory // 128)))
    with tempfile.TemporaryDirectory(prefix="prefix_tree_") as scratch:
        runs = []

        def spill():
            rows, shared = sort_rows(collector.take())
            runs.append(RowFile(os.path.join(scratch, str(len(runs))), rows.tokens.dtype))
            runs[-1].append(rows, shared)

        for item in bar(progress, "Reading keys", items):
            if collector.add(item) and collector.nbytes > memory / 3:
                spill()
        if not runs:
            rows, shared = sort_rows(collector.take())
            layout = Layout(dtype or rows.tokens.dtype)
            starts = range(0, len(rows), WINDOW)
            blocks = [(window, shared[start : start + WINDOW]) for window, start in zip(rows.windows(WINDOW), starts)]
            for block in with_following(blocks):
                layout.count(*block)
            return lay_out(layout, blocks, make, progress)
        if collector.added_since_take:
            spill()
        layout = Layout(dtype or np.result_type(*(run.token_dtype for run in runs)))
        merged = RowFile(os.path.join(scratch, "merged"), layout.token_dtype)
        with bar(progress, "Merging keys", total=collector.added) as merging:
            for rows, shared, following in with_following(merge(runs, memory)):
                layout.count(rows, shared, following)
                merged.append(rows, shared)
                merging.update(len(rows))
        return lay_out(layout, merged.blocks(memory // 16), make, progress)


def lay_out(layout, blocks, make, progress):
    """Write all ``(rows, shared)`` blocks into newly made arrays."""
    arrays = layout.allocate(make)
    with bar(progress, "Writing keys", total=layout.keys) as writing:
        for rows, shared, following in with_following(blocks):
            layout.write(arrays, rows, shared, following)
            writing.update(len(rows))
    return arrays


def bar(progress, title, items=None, total=None):
    """A progress bar over keys; ``disable=None`` keeps it quiet where stderr is not a terminal."""
    return tqdm(items, title, total, unit="key", unit_scale=True, disable=None if progress else True)


def token_dtype(dtype):
    """uint16 or uint32, whatever way it is named."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.uint16, np.uint32):
        raise bad_value("PrefixTree: dtype", dtype, "uint16 (ids up to 65534), uint32, or None to choose by the largest id")
    return found
