"""The best sequence of tags, from scores of tags and of transitions between them."""

import numpy as np
from keras import ops

from keras_su.errors import bad_value


class ViterbiDecoder:
    """The path of tags with the highest sum of node scores and transition scores.

    Args:
        trans: transition scores ``(tags, tags)``, from the row's tag to the column's. It may be replaced later:
            ``decoder.trans = new``.
        starts: tags that a sequence may start with; ``None`` = any.
        ends: tags that it may end with; ``None`` = any.

    For scores that live in a model, on any backend and in batches, see :meth:`keras_su.layers.ConditionalRandomField.decode`.

    >>> decoder = ViterbiDecoder([[0.0, -9.0], [-9.0, 0.0]])
    >>> decoder.decode([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]).tolist()
    [0, 0, 0]
    """

    def __init__(self, trans, starts=None, ends=None):
        self.trans = trans
        self.num_labels = len(trans)
        self.non_starts = self._forbidden(starts, "starts")
        self.non_ends = self._forbidden(ends, "ends")

    def _forbidden(self, allowed, name):
        """All tags but the allowed ones."""
        allowed = range(self.num_labels) if allowed is None else allowed
        for tag in allowed:
            if not 0 <= tag < self.num_labels:
                raise bad_value(f"ViterbiDecoder: {name}", list(allowed), f"tags between 0 and {self.num_labels - 1}")
        return [tag for tag in range(self.num_labels) if tag not in set(allowed)]

    def decode(self, nodes):
        """Tags ``(length,)`` for the node scores ``(length, tags)`` of one sequence; ``nodes`` is left as it was."""
        return self.decode_batch(np.asarray(nodes)[None])[0]

    def decode_batch(self, nodes, mask=None):
        """Tags for several sequences at once.

        Args:
            nodes: scores ``(batch, length, tags)``.
            mask: ``(batch, length)``, nonzero = the step exists; or lengths ``(batch,)``; ``None`` = all exist. Steps that do not
                exist may stand anywhere; the path runs through the others.

        Returns:
            int64 ``(batch, length)``, -1 where there is no step.
        """
        nodes, trans = np.asarray(nodes), np.asarray(ops.convert_to_numpy(self.trans))
        if nodes.ndim != 3 or nodes.shape[2] != self.num_labels:
            raise bad_value("ViterbiDecoder: shape of the nodes", nodes.shape, f"(batch, length, {self.num_labels})")
        nodes = nodes.astype(np.result_type(nodes, trans, np.float32))
        batch, length = nodes.shape[:2]
        exists = np.ones((batch, length), bool) if mask is None else np.asarray(mask)
        exists = np.arange(length) < exists[:, None] if exists.ndim == 1 else exists.astype(bool)
        tags = np.full((batch, length), -1)
        if not length:
            return tags
        # Steps that exist move to the front, in order: what follows knows padding at the end only.
        order = np.argsort(~exists, axis=1, kind="stable")
        found = self._paths(np.take_along_axis(nodes, order[..., None], axis=1), exists.sum(axis=1), trans)
        np.put_along_axis(tags, order, found, axis=1)
        return tags

    def _paths(self, nodes, lengths, trans):
        """The best paths; row i has ``lengths[i]`` steps at its beginning. ``nodes`` belongs to this method."""
        rows, last = np.arange(len(nodes)), np.maximum(lengths - 1, 0)
        nodes[:, 0, self.non_starts] = -np.inf
        nodes[rows[:, None], last[:, None], self.non_ends] = -np.inf
        best, scores, before = nodes[:, 0], [nodes[:, 0]], []
        for step in range(1, nodes.shape[1]):
            paths = best[:, :, None] + trans + nodes[:, step, None, :]
            before.append(paths.argmax(axis=1))
            best = paths.max(axis=1)
            scores.append(best)
        tag = np.stack(scores)[last, rows].argmax(axis=1)
        tags = np.full(nodes.shape[:2], -1)
        for step in range(nodes.shape[1] - 1, -1, -1):
            if step < len(before):
                tag = np.where(step < last, before[step][rows, tag], tag)
            tags[:, step] = np.where(step < lengths, tag, -1)
        return tags
