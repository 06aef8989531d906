"""Similar texts: readers, the layout of SimBERT's batches, noise, whitening, classes in blocks."""

import json

import keras
import numpy as np
import pytest
from example_modules import load

from keras_su.tokenizers import Tokenizer

readers, simbert, roformer_sim, similarity = (
    load(name) for name in ("readers.similarity", "simbert_train", "roformer_sim_train", "sentence_similarity")
)
TEXTS = ["今天天气好吗", "天气怎么样", "我想买手机", "哪里有手机卖"]


@pytest.fixture(scope="module")
def tokenizer():
    characters = sorted(set("".join(TEXTS)))
    return Tokenizer({token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters])})


def test_groups_have_two_different_texts(tmp_path):
    rows = [{"text": "甲", "synonyms": ["乙 ", "甲", "丙"]}, {"text": "甲", "synonyms": ["甲"]}, {"text": "丁", "synonyms": [""]}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "groups.json").write_text(lines + "\n\n", encoding="utf-8")
    assert readers.read_groups(tmp_path / "groups.json") == [["甲", "乙", "丙"]]


def test_pairs_of_all_kinds(tmp_path):
    (tmp_path / "STS-B").mkdir()
    (tmp_path / "STS-B" / "STS-B.train.data").write_text("一 个\t一“个\t3\n甲\t乙\t0\n", encoding="utf-8")
    first, second = readers.read_pairs(tmp_path, "STS-B", "train")
    assert first == readers.Pair("一 个", "一“个", 3.0, "STS-B")
    assert [similarity.similarity_label(pair) for pair in (first, second)] == [0.6, 0.0]
    assert [similarity.class_label(pair) for pair in (first, second)] == [1.0, 0.0]
    rows = [("gold_label", "neutral"), ("gold_label", "-"), ("label", "contradiction")]
    lines = [json.dumps({key: label, "sentence1": "甲", "sentence2": "乙"}) for key, label in rows]
    (tmp_path / "nli.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [similarity.class_label(pair) for pair in readers.read_nli(tmp_path / "nli.jsonl")] == [4, 2]


def test_what_is_held_out_is_fixed_and_not_learned():
    rows = list(range(100))
    learned, kept = readers.hold_out(rows)
    assert sorted(learned + kept) == rows and len(kept) == 6
    assert readers.hold_out(rows) == (learned, kept)


def test_rows_are_pairs_in_both_orders(tokenizer):
    batches = simbert.Batches(tokenizer, max_length=6, seed=0)
    groups = [[batches.encode(text) for text in TEXTS[:2]], [batches.encode(text) for text in TEXTS[2:]]]
    (token_ids, segment_ids), (labels, targets), (rows, weights) = batches(groups)
    assert token_ids.shape == segment_ids.shape == (4, simbert.STEP)
    assert labels.shape == rows.shape == (4,)
    assert (targets == token_ids).all() and (weights == segment_ids).all()

    def halves(row):
        first = token_ids[row][(segment_ids[row] == 0) & (token_ids[row] > 0)].tolist()
        return first, [tokenizer.start_id, *token_ids[row][segment_ids[row] == 1].tolist()]

    for row in (0, 2):
        assert halves(row) == halves(row + 1)[::-1]
        assert sorted(halves(row)) == sorted(groups[row // 2])


def test_noise_is_on_half_of_the_sources_and_on_no_target(tokenizer):
    batches = roformer_sim.NoisyBatches(tokenizer, 8, 0)
    encoded = [batches.encode(text) for text in TEXTS]
    changed = 0
    for _ in range(500):
        for one in encoded:
            noisy = batches.source(one)
            assert len(noisy) == len(one[1]) and noisy[0] == one[1][0] and noisy[-1] == one[1][-1]
            changed += noisy != one[1]
    assert encoded[0][1] == batches.target(encoded[0]) == tokenizer.encode(TEXTS[0], maxlen=8)[0]
    words = np.mean([len(words) for words, _ in encoded])
    assert 0.3 < changed / 2000 / (0.5 * (1 - (1 - 0.135) ** words)) < 1.3


def test_the_teachers_vector_is_that_of_the_source(tokenizer):
    batches = roformer_sim.TaughtBatches(tokenizer, 8, 0, dict(zip(TEXTS, np.eye(4))))
    (token_ids, _), (labels, _), _ = batches([[batches.encode(text) for text in TEXTS[:2]]])
    for row in range(2):
        text = TEXTS[int(labels[row].argmax())]
        expected = tokenizer.encode(text, maxlen=8)[0]
        assert token_ids[row, : len(expected)].tolist() == expected


def test_retrieval_leaves_out_the_question_itself():
    groups = [["a", "b"], ["c", "d", "e"]]
    scores = np.eye(5) * 9
    scores[0, 1] = scores[1, 0] = scores[2, 3] = scores[3, 4] = scores[4, 0] = 1
    figures = simbert.retrieval(scores, groups)
    assert figures["recall@1"] == pytest.approx(100 * np.mean([1, 1, 0.5, 0.5, 0]))
    assert figures["recall@5"] == 100


def test_whitening_makes_the_covariance_the_identity():
    dice = np.random.default_rng(0)
    vectors = dice.normal(size=(500, 6)) @ dice.normal(size=(6, 6)) + 3
    mean, matrix = similarity.whitening(vectors)
    white = (vectors - mean) @ matrix
    assert np.allclose(white.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(np.cov(white.T), np.eye(6), atol=1e-6)


def test_classes_compete_within_their_block_only():
    labels = np.repeat([[1.0], [3.0]], 2, axis=0)
    logits = np.array([[0.0, 0.0, 50.0, 50.0, 50.0], [50.0, 50.0, 0.0, 0.0, 0.0]], "float32")
    losses = keras.ops.convert_to_numpy(similarity.BlockCrossentropy(reduction=None)(labels, logits))
    assert np.allclose(losses, np.log([2, 3]), atol=1e-5)
