"""PrefixTree against a plain dictionary of all prefixes, over random keys and by hand."""

import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_su.decoding import PrefixTree
from keras_su.decoding.prefix_tree_layout import offset_dtype
from keras_su.errors import KerasSuError

# Small alphabets make shared prefixes, repeated keys and keys that begin other keys common; 65534 and above need uint32.
ids_of_keys = st.one_of(
    st.lists(st.integers(0, 2), max_size=6),
    st.lists(st.integers(0, 1), max_size=12),
    st.lists(st.sampled_from([0, 7, 65533, 65534, 65535, 2**32 - 2]), max_size=4),
)
items_of_trees = st.lists(st.tuples(ids_of_keys, st.one_of(st.none(), st.text(max_size=3))), max_size=40)


class Reference:
    """The same answers by looking at every key."""

    def __init__(self, items):
        self.values = {}
        for ids, value in items:
            self.values.setdefault(tuple(ids), []).extend([] if value is None else [value])
        self.prefixes = {key[:length] for key in self.values for length in range(len(key) + 1)} | {()}

    def below(self, prefix):
        return sorted(key for key in self.values if key[: len(prefix)] == prefix)

    def children(self, prefix):
        return sorted({key[len(prefix)] for key in self.below(prefix) if len(key) > len(prefix)})


def segments(ids, bounds):
    return [tuple(ids[start:stop].tolist()) for start, stop in zip(bounds, bounds[1:])]


@settings(max_examples=200, deadline=None)
@given(items_of_trees, st.integers(0, 4), st.integers(0, 4))
def test_every_answer_equals_brute_force(items, limit, start):
    tree, reference = PrefixTree.build(items), Reference(items)
    assert len(tree) == len(reference.values)
    assert tree.num_values == sum(map(len, reference.values.values()))
    assert [tuple(key.tolist()) for key in tree.keys()] == sorted(reference.values)
    for prefix in reference.prefixes:
        state, below = tree.find(prefix), reference.below(prefix)
        assert state != tree.dead
        assert tree.children(state).tolist() == reference.children(prefix)
        assert tree.is_key(state) == (prefix in tree) == (prefix in reference.values)
        assert tree.values(state) == reference.values.get(prefix, [])
        assert tree.count(state) == len(below)
        suffixes = [key[len(prefix) :] for key in below]
        completions = [(tuple(ids.tolist()), values) for ids, values in tree.completions(state)]
        assert completions == [(suffix, reference.values[key]) for suffix, key in zip(suffixes, below)]
        assert [tuple(ids.tolist()) for ids, _ in tree.completions(state, limit)] == suffixes[:limit]
        assert segments(*tree.completion_arrays(state, limit, start)) == suffixes[start : start + limit]


@settings(max_examples=200, deadline=None)
@given(items_of_trees, st.lists(st.integers(-1, 3) | st.sampled_from([65534, 65535, 65536, 2**32 - 1, 2**40]), min_size=1))
def test_advance_accepts_exactly_the_children(items, tokens):
    tree, reference = PrefixTree.build(items), Reference(items)
    for prefix in reference.prefixes:
        state = tree.find(prefix)
        for token in tokens:
            after = tree.advance(state, token)
            assert (after != tree.dead) == (token in reference.children(prefix))
            assert after == tree.find([token], state) == tree.find([*prefix, token])


@settings(max_examples=200, deadline=None)
@given(items_of_trees, st.randoms(use_true_random=False))
def test_many_states_equal_one_by_one(items, chance):
    tree = PrefixTree.build(items)
    states = [tree.find(prefix) for prefix in Reference(items).prefixes] + [tree.dead, tree.root]
    chance.shuffle(states)
    children = [tree.children(state).tolist() for state in states]
    tokens = [chance.choice([*after, chance.randrange(-1, 4), 65535, 2**40]) for after in children]
    assert tree.advance_many(states, tokens).tolist() == [tree.advance(*pair) for pair in zip(states, tokens)]
    found, spans = tree.children_many(states)
    assert [found[start:stop].tolist() for start, stop in spans] == children
    assert len(found) == sum(len(tree.children(state)) for state in set(states))


def test_dead_stays_dead_and_knows_nothing():
    tree = PrefixTree.build([([1, 2], "a"), ([1], "b")])
    assert tree.find([9, 1, 2]) == tree.dead == -1
    for token in (0, 1, 2, 65535):
        assert tree.advance(tree.dead, token) == tree.dead
    assert tree.children(tree.dead).tolist() == [] and not tree.is_key(tree.dead)
    assert tree.values(tree.dead) == [] and tree.count(tree.dead) == 0 and list(tree.completions(tree.dead)) == []


def test_eight_sentences():
    """Two first characters, three second ones, two third ones, as in the figure of https://kexue.fm/archives/8802."""
    sentences = ["春天来了", "春天走了", "春风又绿江南岸", "春雨贵如油", "秋天来了", "秋高气爽", "秋水共长天一色", "秋收冬藏"]
    tree = PrefixTree.build((list(map(ord, sentence)), sentence) for sentence in sentences)

    def children(prefix):
        return {chr(token) for token in tree.children(tree.find(map(ord, prefix)))}

    assert children("") == {"春", "秋"}
    assert children("春") == {"天", "风", "雨"}
    assert children("春天") == {"来", "走"}
    assert children("秋水共长天") == {"一"}
    assert children("春天来了") == set()
    assert sorted(value for _, values in tree.completions(tree.find(map(ord, "秋"))) for value in values) == sorted(sentences[4:])


def test_completions_of_many_strings_are_those_that_start_with_the_prefix():
    chance = random.Random(0)
    strings = ["".join(chance.choices("abcde", k=chance.randint(1, 12))) for _ in range(100_000)]
    tree = PrefixTree.build((list(map(ord, string)), string) for string in strings)
    distinct = sorted(set(strings))
    assert len(tree) == len(distinct) and tree.num_values == len(strings)
    for prefix in ["", "a", "ca", "deb", "abcde", "zz", *chance.sample(strings, 50)]:
        expected = [string for string in distinct if string.startswith(prefix)]
        found = ["".join(map(chr, ids)) for ids, _ in tree.completions(tree.find(map(ord, prefix)))]
        assert [prefix + suffix for suffix in found] == expected
        assert tree.count(tree.find(map(ord, prefix))) == len(expected)


def test_values_keep_their_order():
    items = [([5], str(number)) for number in range(50)]
    items[10:10] = [([5, 6], "longer"), ([4], "other")]
    tree = PrefixTree.build(items)
    assert tree.values(tree.find([5])) == [str(number) for number in range(50)]


def test_values_come_back_as_they_were():
    texts = ["", "tab\there", "换行\n", "🀄", "\ud800 alone", "a" * 10_000]
    tree = PrefixTree.build(([1], text) for text in texts)
    assert tree.values(tree.find([1])) == texts


def test_no_keys_one_key_and_the_empty_key():
    nothing = PrefixTree.build([])
    assert len(nothing) == 0 and [] not in nothing and list(nothing.keys()) == []
    assert nothing.children(nothing.root).tolist() == [] and nothing.advance(nothing.root, 0) == nothing.dead
    one = PrefixTree.build([[3, 4]])
    assert one.children(one.root).tolist() == [3] and [3, 4] in one and [3] not in one and one.num_values == 0
    empty = PrefixTree.build([([], "at once"), ([1], "later")])
    assert empty.is_key(empty.root) and empty.values(empty.root) == ["at once"] and empty.children(empty.root).tolist() == [1]


def test_items_may_be_lists_tuples_arrays_and_other_sequences():
    forms = [[1, 2], (1, 2), np.array([1, 2], np.uint16), range(1, 3)]
    pairs = [([1, 2], None), [np.array([1, 2]), "x"], (np.array([], float), "y")]
    tree = PrefixTree.build(iter(forms + pairs))
    assert [tuple(key.tolist()) for key in tree.keys()] == [(), (1, 2)]
    assert tree.values(tree.find(np.array([1, 2]))) == ["x"] and tree.values(tree.root) == ["y"]


def test_tokens_take_two_bytes_until_an_id_needs_four():
    small, large = PrefixTree.build([[65534, 1]]), PrefixTree.build([[65535, 1]])
    assert small.children(small.root).dtype == np.uint16 and small.children(small.root).tolist() == [65534]
    assert large.children(large.root).dtype == np.uint32 and large.children(large.root).tolist() == [65535]
    assert PrefixTree.build([[1]], dtype="uint32").children(0).dtype == np.uint32
    assert small.advance(small.root, 65535) == small.dead  # the end mark is no token


def test_offsets_grow_to_eight_bytes(monkeypatch):
    assert offset_dtype(2**32 - 1) == np.uint32 and offset_dtype(2**32) == np.uint64
    items = [([1, 2], "a"), ([1, 2, 3], "b"), ([1, 4], "c"), ([1, 4], "d"), ([5], "e")]
    narrow = PrefixTree.build(items)
    monkeypatch.setattr("keras_su.decoding.prefix_tree_layout.offset_dtype", lambda largest: np.dtype(np.uint64))
    wide = PrefixTree.build(items)
    assert wide.nbytes > narrow.nbytes
    states = [wide.root, wide.dead, *(wide.find(ids) for ids, _ in items)]
    assert states == [narrow.root, narrow.dead, *(narrow.find(ids) for ids, _ in items)]
    assert [wide.values(state) for state in states] == [narrow.values(state) for state in states]
    assert [wide.count(state) for state in states] == [narrow.count(state) for state in states]
    assert wide.advance_many(states, [1] * 7).tolist() == narrow.advance_many(states, [1] * 7).tolist()
    assert segments(*wide.completion_arrays(wide.root)) == segments(*narrow.completion_arrays(narrow.root))


def test_arrays_of_the_tree_cannot_be_written():
    tree = PrefixTree.build([[1, 2], [1, 3]])
    with pytest.raises(ValueError, match="read-only"):
        tree.children(tree.root)[0] = 9


def test_pickle():
    tree = pickle.loads(pickle.dumps(PrefixTree.build([([1, 2], "a"), ([1, 3], "b")])))
    assert [(ids.tolist(), values) for ids, values in tree.completions(tree.root)] == [([1, 2], ["a"]), ([1, 3], ["b"])]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([[1], [2, -3]], "token id of item 1: got -3, expected an integer from 0 to 4294967294"),
        ([[1], [2], [2**32 - 1]], "item 2: got 4294967295"),
        ([[2**70]], "token id of item 0: got 1180591620717411303424"),
        ([[1, 2], [], [4, 1.5]], "token id of item 2: got 1.5"),
        ([np.array([1.0])], r"item 0 is array\(\[1.\]\). Expected token ids"),
        ([np.zeros((2, 2), int)], "item 0 is"),
        ([[1], "text"], "item 1: got 't'"),
        ([[1], 5], "item 1 is 5. Expected token ids"),
        ([([1], 5)], r"item 0: got \[1\]"),
        ([[1], None], "item 1 is None"),
    ],
)
def test_wrong_items_are_named(items, message):
    with pytest.raises(KerasSuError, match=message):
        PrefixTree.build(items)


def test_wrong_items_are_counted_across_blocks():
    for wrong in (-1, 2**32 - 1):
        with pytest.raises(KerasSuError, match=f"item 70001: got {wrong}"):
            PrefixTree.build([*([7] for _ in range(70001)), [wrong]])
        with pytest.raises(KerasSuError, match=f"item 70001: got {wrong}"):
            PrefixTree.from_arrays([7] * 70001 + [wrong], np.arange(70003))


@pytest.mark.parametrize("dtype", [np.int64, np.uint16])
def test_arrays_give_the_same_tree_as_lists(dtype):
    chance = random.Random(1)
    keys = [[chance.randrange(5) for _ in range(chance.randrange(8))] for _ in range(30_000)]
    values = [chance.choice([None, "", f"v{number}"]) for number in range(len(keys))]
    bounds = np.cumsum([0, *map(len, keys)])
    ids = np.fromiter((token for key in keys for token in key), dtype)
    for memory in (300_000, 10**8):
        built = PrefixTree.build(zip(keys, values), memory=memory)
        tree = PrefixTree.from_arrays(ids, bounds, values, memory=memory)
        assert [(key.tolist(), found) for key, found in tree.completions(0)] == [(k.tolist(), f) for k, f in built.completions(0)]
    inner = PrefixTree.from_arrays(ids, bounds[100:200])  # bounds need not begin at 0 or end at the last id
    assert [key.tolist() for key in inner.keys()] == [key.tolist() for key in PrefixTree.build(keys[100:199]).keys()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.5], [0, 1]), "must be 1-d integer arrays"),
        (([[1]], [0, 1]), "must be 1-d integer arrays"),
        (([1], [0, 2]), "do not divide 1 ids"),
        (([1, 2], [0, 2, 1]), "do not divide"),
        (([1, 2], [-1, 2]), "do not divide"),
        (([1, 2], []), "do not divide"),
        (([1, 2], [0, 2], ["a", "b"]), "number of values: got 2, expected one for each of the 1 keys"),
        (([1, 2], [0, 2], [5]), "Expected str or None"),
    ],
)
def test_wrong_arrays(arguments, message):
    with pytest.raises(KerasSuError, match=message):
        PrefixTree.from_arrays(*arguments)


def test_wrong_arguments():
    with pytest.raises(KerasSuError, match="dtype: got 'int32', expected uint16"):
        PrefixTree.build([[1]], dtype="int32")
    with pytest.raises(KerasSuError, match="got 70000, expected an integer from 0 to 65534"):
        PrefixTree.build([[70000]], dtype=np.uint16)
    with pytest.raises(KerasSuError, match="memory: got 0"):
        PrefixTree.build([[1]], memory=0)
    with pytest.raises(KerasSuError, match="advance_many"):
        PrefixTree.build([[1]]).advance_many([0, 0], [1])
    for limit, start in [(-1, 0), (None, -1)]:
        with pytest.raises(KerasSuError, match="limit and start"):
            PrefixTree.build([[1]]).completion_arrays(0, limit, start)
