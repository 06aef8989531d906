"""Merging sorted runs: the keys are cut into ranges that fit the memory, and each range is merged on its own.

Ranges are merged by sorting: the rows of a range, run after run, are a few ascending stretches, which a stable sort joins
fast and with the values of equal keys in the order of the runs. Any number of ranges can be merged at the same time.
"""

from dataclasses import dataclass

from keras_su.decoding.prefix_tree_rows import joined
from keras_su.decoding.prefix_tree_runs import SavedRows
from keras_su.decoding.prefix_tree_sort import shared_with, sort_rows


@dataclass
class Plan:
    """Where the ranges are.

    Attributes:
        starts: for each range and for the end, the first row in every run.
        shared: for each range and for the end, how many leading ids the first key shares with the last key before it.
    """

    starts: list
    shared: list

    def __len__(self):
        return len(self.starts) - 1


def planned(runs, nbytes):
    """A ``Plan`` with ranges of about ``nbytes`` bytes, but of one key at least."""
    samples = [sample for run in runs for sample in zip(run.sample_keys, run.sample_bytes().tolist())]
    samples.sort()
    cuts, size = [], 0
    for key, weight in samples:
        if size and size + weight > nbytes and (not cuts or key != cuts[-1]):
            cuts.append(key)
            size = 0
        size += weight
    if cuts and cuts[0] == samples[0][0]:
        del cuts[0]  # nothing comes before it
    starts = [[run.position(key) for run in runs] for key in cuts]
    shared = [shared_with(last_before(runs, start), key) for start, key in zip(starts, cuts)]
    return Plan([[0] * len(runs), *starts, [run.rows for run in runs]], [0, *shared, 0])


def last_before(runs, start):
    """The largest key before the rows ``start`` of all runs."""
    return max(run.key(row - 1) for run, row in zip(runs, start) if row)


def merged(runs, plan, number, folder, checksums):
    """Range ``number`` as ``SavedRows`` in ``folder``."""
    spans = zip(runs, plan.starts[number], plan.starts[number + 1])
    rows, shared = sort_rows(joined([run.read(start, stop)[0] for run, start, stop in spans if start < stop]))
    shared[0] = plan.shared[number]
    return SavedRows.write(folder, rows, shared, checksums)
