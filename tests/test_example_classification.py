"""What the examples on classification could get wrong in silence: reading, pieces, calibration, tokens taken out."""

import numpy as np
import pytest
from example_modules import load

from keras_su.tokenizers import Tokenizer

classification, can, gradients = map(
    load, ("task_classification", "task_classification_can", "task_sentiment_integrated_gradients")
)


def test_reading(tmp_path):
    (tmp_path / "train_0.json").write_text('{"label": 7, "sentence": "\ufeff甲"}\r\n{"label": 3, "sentence": "乙"}\n', "utf-8")
    (tmp_path / "train_few_all.json").write_text('{"label": 3, "sentence": "乙"}\n{"label": 9, "sentence": "丙"}\n', "utf-8")
    (tmp_path / "dev_0.json").write_text('{"label": "7", "sentence": "丙"}\n', "utf-8")
    corpus = load("readers.classification").read_corpus(tmp_path, "iflytek")
    assert corpus.train == [("甲", 1), ("乙", 0)]  # once each, and not what will be asked
    assert corpus.valid == [("丙", 1)] and corpus.classes == [3, 7]


def test_pieces_are_characters_and_pairs_without_the_ends():
    first, second, third = (
        classification.pieces_of([2, 30, 3]),
        classification.pieces_of([2, 31, 3]),
        classification.pieces_of([2, 30, 31, 3]),
    )
    assert len(first) == 1 and third[:2] == first + second and len(set(third)) == 3
    assert classification.pieces_of([2, 3]) == [1] and min(third) > 0  # 0 is padding


def test_long_texts_keep_their_end_and_short_ones_are_whole():
    tokenizer = Tokenizer({token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "甲", "乙", "丙"])})
    short, long = classification.encode(tokenizer, [("甲乙", 0), ("甲乙丙甲", 1)], 4)
    assert short.ids == [2, 4, 5, 3] and long.ids == [2, 4, 5, 3] and len(long.pieces) == 7


def test_calibration():
    rows = np.array([[0.8, 0.2]] * 10)
    assert can.calibration_error(rows, np.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert can.calibration_error(rows, np.array([0] * 3 + [1] * 7)) == pytest.approx(50)
    labels = np.random.default_rng(0).random(4000) < 0.2  # the second class
    scores = np.log(np.array([[0.8, 0.2]] * 4000)) * 4  # four times too sure
    temperature = can.fitted_temperature(scores, labels.astype(int))
    assert 3.3 < temperature < 4.8
    assert can.calibration_error(can.probabilities_of(scores, temperature), labels) < 3


def test_the_most_important_tokens_are_taken_out():
    sample = classification.Sample([2, 10, 11, 12, 13, 3], [1], 0)
    assert gradients.without([sample], [np.array([99, 0.1, 0.9, -2, 0.5, 99])], part=0.5)[0].ids == [2, 10, 12, 3]
    assert gradients.show(["[CLS]", "很", "##好", "吗", "[SEP]"], np.array([0, 0.3, 1, -0.6, 0]), colors=False) == "很+ 好++ 吗--"
