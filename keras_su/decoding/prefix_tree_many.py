"""Array steps on the parts of a prefix tree: many states, or many keys, in a handful of numpy calls."""

import numpy as np

from keras_su.decoding.prefix_tree_parts import DEAD
from keras_su.decoding.prefix_tree_rows import running_bounds, spread


def next_states(parts, states, tokens):
    """The state after ``tokens[i]`` from ``states[i]``, ``(n,)`` int64."""
    after = np.full(len(states), DEAD, np.int64)
    valid = (tokens >= 0) & (tokens < parts.end)
    tail = np.flatnonzero(valid & (states < 0))
    tail = tail[parts.tail_token[~states[tail]] == tokens[tail]]
    after[tail] = states[tail] - 1
    inner = np.flatnonzero(valid & (states >= 0))
    low, sizes = parts.edges(states[inner])
    if not sizes.all():
        some = np.flatnonzero(sizes)
        inner, low, sizes = inner[some], low[some], sizes[some]
    wanted = tokens[inner]
    # A binary search in every node, side by side: the last edge whose token is not larger is among ``sizes`` edges from ``low``.
    for _ in range(int(sizes.max(initial=0)).bit_length()):
        half = sizes >> 1
        middle = low + half
        low = np.where(parts.edge_token[middle] <= wanted, middle, low)
        sizes -= half
    found = np.flatnonzero(parts.edge_token[low] == wanted)
    after[inner[found]] = parts.states_at(low[found])
    return after


def children_of(parts, states):
    """Children of ``states`` as ``(tokens, spans)``, each distinct state expanded once."""
    distinct, index = np.unique(states, return_inverse=True)
    first_node = np.searchsorted(distinct, 0)
    tail_tokens = parts.tail_token[~distinct[:first_node]]
    goes_on = tail_tokens != parts.end
    starts, sizes = parts.edges(distinct[first_node:])
    bounds = running_bounds(np.concatenate([goes_on, sizes]))
    tokens = np.concatenate([tail_tokens[goes_on], parts.edge_token[spread(starts, sizes)]])
    return tokens, np.stack([bounds[:-1], bounds[1:]], axis=1)[index]


def suffixes(parts, node, first_row, last_row):
    """Ids after the prefix of ``node`` of the keys ``first_row:last_row``, which lie below it.

    One array step per level of shared prefixes. Nodes without a wanted key are left out on the way, so the cost grows with the
    output only.

    Returns:
        ``(ids, bounds)``: ragged, in the order of the keys.
    """
    heads = []  # (rows, path): keys that leave the shared prefixes at one level, and their ids up to there
    nodes, path = np.array([node]), np.empty((1, 0), parts.edge_token.dtype)
    while len(nodes):
        # The node before the first that begins after ``first_row`` may hold that row; those before it cannot.
        starts_at = parts.first_row[nodes].astype(np.int64)
        nearby = slice(max(np.searchsorted(starts_at, first_row, side="right") - 1, 0), np.searchsorted(starts_at, last_row))
        nodes, path = nodes[nearby], path[nearby]
        starts = parts.edge_start[nodes].astype(np.int64)
        sizes = parts.edge_start[nodes + 1].astype(np.int64) - starts
        edges = spread(starts, sizes)
        path = np.concatenate([np.repeat(path, sizes, axis=0), parts.edge_token[edges, None]], axis=1)
        targets = parts.edge_target[edges].astype(np.int64)
        rows = targets - parts.nodes
        wanted = (rows >= first_row) & (rows < last_row)
        heads.append((rows[wanted] - first_row, path[wanted]))
        inner = rows < 0
        nodes, path = targets[inner], path[inner]

    head_sizes = np.empty(last_row - first_row, np.int64)
    for rows, path in heads:
        head_sizes[rows] = path.shape[1] - (path[:, -1] == parts.end)
    tail_starts = parts.tail_start[first_row : last_row + 1].astype(np.int64)
    tail_sizes = np.diff(tail_starts) - 1
    bounds = running_bounds(head_sizes + tail_sizes)
    ids = np.empty(bounds[-1], parts.edge_token.dtype)
    for rows, path in heads:
        columns = np.arange(path.shape[1])
        is_id = columns < head_sizes[rows][:, None]
        ids[(bounds[rows][:, None] + columns)[is_id]] = path[is_id]
    ids[spread(bounds[:-1] + head_sizes, tail_sizes)] = parts.tail_token[spread(tail_starts[:-1], tail_sizes)]
    return ids, bounds
