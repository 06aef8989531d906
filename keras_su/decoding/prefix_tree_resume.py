"""Going on with a build that was killed: which of the sorted runs and merged ranges on disk still hold what the source gives.

Every run carries a digest of the keys and values that went into it. The source is read again from its beginning, which costs
little beside sorting, and while it gives the same keys as before, runs are kept. From the first difference on everything is made
anew. So a changed source, other values or another order cannot go unnoticed, and memory and workers may differ from before.
"""

import hashlib
import os
import shutil

import numpy as np

from keras_su.decoding.prefix_tree_merge import Plan, merged, planned
from keras_su.decoding.prefix_tree_runs import SavedRows, read_json, write_json

PLAN = "plan.json"


class Scratch:
    """The folder in which a build keeps its sorted runs, the plan of the merge, and the merged ranges.

    Attributes:
        folder: exists, and is no one else's.
        durable: whether another process may go on with what is there. It costs two checksums of all keys.
    """

    def __init__(self, folder, durable):
        self.folder, self.durable = folder, durable

    def path(self, kind, number=None):
        return os.path.join(self.folder, kind if number is None else f"{kind}-{number:05d}")

    def digest(self, pieces):
        return digest(pieces) if self.durable else ""

    def kept_runs(self, stream, most_bytes):
        """The runs of an earlier build that hold exactly the next keys of ``stream``, which is then behind those.

        Runs of which more than ``most_bytes`` would have to wait in memory to be compared are made anew. So is all after them.
        """
        runs = []
        while self.durable:
            run = SavedRows.reopen(self.path("run", len(runs)))
            if run is None or run.taken_bytes > most_bytes:
                break
            pieces = stream.take_rows(run.taken)
            if sum(map(len, pieces)) < run.taken or digest(pieces) != run.digest:
                stream.put_back(pieces)
                break
            runs.append(run)
        self._remove("run", len(runs))
        return runs

    def merge_plan(self, runs, nbytes):
        """The plan of an earlier build if it is for these runs, else a new one; the ranges of another plan are removed."""
        digests, path = [run.digest for run in runs], self.path(PLAN)
        earlier = read_json(path) if self.durable else None
        if earlier is not None and earlier["runs"] == digests:
            return Plan(earlier["starts"], earlier["shared"])
        self._remove("range", 0)  # before the plan is there, as a range does not say of which plan it is
        plan = planned(runs, nbytes)
        if self.durable:
            write_json(path, {"runs": digests, "starts": plan.starts, "shared": plan.shared})
        return plan

    def merged(self, runs, plan, number):
        """A range of the plan as ``SavedRows``, which an earlier build may have made."""
        folder = self.path("range", number)
        earlier = SavedRows.reopen(folder) if self.durable else None
        return earlier or merged(runs, plan, number, folder, self.durable)

    def _remove(self, kind, first):
        """Remove what has this number or a larger one. There may be gaps: threads do not end in order."""
        for entry in list(os.scandir(self.folder)):
            name, _, number = entry.name.partition("-")
            if name == kind and int(number) >= first:
                shutil.rmtree(entry)


def digest(pieces):
    """SHA-256 of rows as hexadecimal text. It depends neither on how they are divided into pieces nor on their token dtype."""
    columns = [hashlib.sha256() for _ in range(4)]
    for rows in pieces:
        values = (
            rows.tokens.astype("<u4"),
            rows.counts.astype("<u4"),
            np.diff(rows.text_bounds).astype("<u8"),
            np.ascontiguousarray(rows.text),
        )
        for column, value in zip(columns, values):
            column.update(value)
    return hashlib.sha256(b"".join(column.digest() for column in columns)).hexdigest()
