"""Decoding of tags against all paths."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_su.decoding.viterbi import ViterbiDecoder
from keras_su.errors import KerasSuError


def score(path, nodes, trans):
    return sum(nodes[step][tag] for step, tag in enumerate(path)) + sum(trans[a][b] for a, b in zip(path, path[1:]))


def best_path(nodes, trans, starts, ends):
    paths = itertools.product(range(len(trans)), repeat=len(nodes))
    allowed = [path for path in paths if path[0] in starts and path[-1] in ends]
    return max(allowed, key=lambda path: score(path, nodes, trans))


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 3))
def test_every_path_of_every_row(seed, length, tags):
    dice = np.random.default_rng(seed)
    nodes, trans = dice.normal(size=(3, length, tags)), dice.normal(size=(tags, tags))
    mask = dice.random((3, length)) < 0.7
    some = {name: [tag for tag in range(tags) if dice.random() < 0.6] or [0] for name in ("starts", "ends")}
    for limits in ({}, some, {"ends": some["ends"]}):
        decoder = ViterbiDecoder(trans, **limits)
        found = decoder.decode_batch(nodes, mask)
        assert np.all(found[~mask] == -1)
        for row in range(3):
            every = range(tags)
            starts, ends = limits.get("starts", every), limits.get("ends", every)
            if len(steps := nodes[row][mask[row]]) == 1 and not set(starts) & set(ends):
                continue  # no path is allowed
            expected = list(best_path(steps, trans, starts, ends)) if len(steps) else []
            assert found[row][mask[row]].tolist() == expected
            assert not len(steps) or decoder.decode(steps).tolist() == expected


def test_lengths_stand_for_masks_and_nothing_is_changed():
    dice = np.random.default_rng(0)
    nodes = dice.integers(0, 9, size=(3, 4, 2))
    before = nodes.copy()
    decoder = ViterbiDecoder(ops.convert_to_tensor(dice.normal(size=(2, 2)), dtype="float32"), starts=[1])
    lengths = np.array([4, 0, 2])
    np.testing.assert_array_equal(
        decoder.decode_batch(nodes, lengths), decoder.decode_batch(nodes, np.arange(4) < lengths[:, None])
    )
    assert decoder.decode(nodes[0])[0] == 1
    np.testing.assert_array_equal(nodes, before)
    decoder.trans = np.array([[0, -99], [0, 0]])
    assert decoder.decode([[0, 0], [9, 1], [0, 15]]).tolist() == [1, 1, 1]
    assert decoder.decode(np.zeros((0, 2))).tolist() == []


def test_what_is_refused():
    with pytest.raises(KerasSuError, match=r"starts: got \[0, 2\], expected tags between 0 and 1"):
        ViterbiDecoder(np.zeros((2, 2)), starts=[0, 2])
    with pytest.raises(KerasSuError, match=r"shape of the nodes: got \(1, 4, 3\), expected \(batch, length, 2\)"):
        ViterbiDecoder(np.zeros((2, 2))).decode(np.zeros((4, 3)))
