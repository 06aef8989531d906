"""Pairs of sentences: both layouts of files, and the marks that say what occurs in the other sentence."""

import pytest
from example_modules import load

from keras_su.tokenizers import Tokenizer

readers, example = load("readers.sentence_pairs"), load("task_text_pairs")
SentencePair, read_pairs, marks = readers.SentencePair, readers.read_pairs, example.marks

VOCABULARY = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"甲乙丙丁"])}


@pytest.fixture
def encoder():
    """An encoder for texts of at most 9 tokens, which swaps sentences."""
    arguments = example.parse(["--smoke"])
    arguments.max_length = 9
    return example.Encoder(Tokenizer(VOCABULARY), readers.TASKS["lcqmc"], arguments)


def test_marks():
    assert marks("abcd", "xbay") == [1, 1, 0, 0]
    assert marks("abcd", "cdab") == [2, 2, 2, 2]
    assert marks("abca", "abxc") == [2, 2, 1, 1]
    assert marks("", "a") == [] and marks("a", "") == [0]


def test_all_inputs_have_one_length_and_unknown_characters_are_compared(encoder):
    assert encoder.encode("甲子", "子丑") == ([2, 4, 1, 3, 1, 1, 3], [0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 1, 0, 0])
    assert [len(ids) for ids in encoder.encode("甲乙丙丁甲乙", "丙丁")] == [9, 9, 9]


def test_a_swap_keeps_labels_with_their_pairs(encoder):
    pairs = [SentencePair("甲", "乙丙", 0), SentencePair("丁", "丙丙丙", 1)] * 20
    (token_ids, segment_ids, _), labels = encoder.training_batch(pairs)
    assert labels.tolist() == [pair.label for pair in pairs]
    assert ((token_ids == 7).any(axis=1) == labels).all()  # 丁 stands in the pairs with label 1
    assert 0 < (token_ids[labels == 0, 1] == 4).sum() < 20  # 甲 comes first in some
    (token_ids, _, _), _ = encoder.batch(pairs)
    assert (token_ids[labels == 0, 1] == 4).all()


def test_both_layouts(tmp_path):
    readers.write_synthetic(tmp_path)
    pairs = read_pairs(tmp_path / "LCQMC.train.data", "lcqmc")
    assert len(pairs) == 8 and pairs[0] == SentencePair("怎么去火车站", "火车票多少钱", 0)
    pairs = read_pairs(tmp_path / "train.3k.json", "ocnli")
    assert [pair.label for pair in pairs] == [2, 0, 1, 2, 1]  # the pair that nobody agreed about is left out
    (tmp_path / "crlf.data").write_bytes("甲\t乙\t1\r\n\r\n丙\t丁\t0".encode())
    assert read_pairs(tmp_path / "crlf.data", "lcqmc") == [("甲", "乙", 1), ("丙", "丁", 0)]
