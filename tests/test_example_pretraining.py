"""Pre-training example: reading texts, pairs of pieces, and which tokens are hidden and how."""

import lzma
from itertools import chain

import numpy as np
import pytest
from example_modules import load

from keras_su.tokenizers import Tokenizer

corpus = load("readers.corpus")
example = load("pretraining_mlm")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = Tokenizer({token: i for i, token in enumerate([*SPECIAL, *(chr(0x4E00 + i) for i in range(200))])})


def sentence(ids, words=None):
    return np.array([ids, range(len(ids)) if words is None else words], np.int32)


def documents(count=40):
    """Document ``i`` holds the tokens ``5 + 4 i`` and following, one in each sentence, three times each."""
    return [[sentence([5 + 4 * i + j] * 3) for j in range(4)] for i in range(count)]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.xz"])
def test_documents_of_a_file(tmp_path, name):
    with (lzma.open if name.endswith("xz") else open)(tmp_path / name, "wt", encoding="utf-8") as file:
        file.write("\n\n一。\n 二。 \n\n \n\n三。\n四。")
    (tmp_path / "notes.md").write_text("no text")
    assert corpus.text_files(tmp_path) == [tmp_path / name]
    assert corpus.read_documents(tmp_path / name) == [["一。", "二。"], ["三。", "四。"]]
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"no file \.txt"):
        corpus.text_files(tmp_path)


def test_held_out_documents():
    rows = [[str(i)] for i in range(100)]
    learned, kept = corpus.hold_out(rows)
    assert len(kept) == 2 and sorted(learned + kept) == sorted(rows)
    assert corpus.hold_out(rows) == (learned, kept)
    assert len(corpus.hold_out(rows[:3])[1]) == 1


def test_whole_words_keep_their_numbers():
    tokenizer = Tokenizer({token: i for i, token in enumerate([*SPECIAL, *"今天很好"])})
    [[encoded]] = corpus.encode_documents([["今天很好"]], tokenizer, whole_word=True)
    assert encoded[0].tolist() == tokenizer.encode("今天很好")[0][1:-1]
    assert encoded[1, 0] == encoded[1, 1] < encoded[1, 2]  # 今天 is a word
    [[plain]] = corpus.encode_documents([["今天", ""]], tokenizer)
    assert plain.tolist() == [[5, 6], [0, 1]]


def test_pairs_follow_or_come_from_elsewhere():
    rows = [row for _ in range(20) for row in corpus.Rows(documents(), TOKENIZER, 20, seed=0)]
    labels = [label for *_, label in rows if label is not None]
    assert 0.4 < np.mean(labels) < 0.7  # what is left of a document after a random pair is a pair less often
    for (ids, words), first, label in rows:
        assert len(ids) <= 20 and ids[0] == TOKENIZER.start_id and ids[first - 1] == ids[-1] == TOKENIZER.end_id
        assert words.max() < len(ids) and (np.diff(words) >= 0).all()
        if label is None:
            assert first == len(ids)
            continue
        a, b = ids[1 : first - 1], ids[first:-1]
        assert not set(TOKENIZER.tokens_to_ids(SPECIAL)) & {*a, *b}
        same = (a[-1] - 5) // 4 == (b[0] - 5) // 4
        assert same == (label == corpus.IS_NEXT)
        if same:
            assert b[0] == a[-1] + 1  # the very next sentence


def test_nothing_is_lost():
    """Apart from what is cut to fit: every sentence is in segment 0 or follows it."""
    rows = corpus.Rows(documents(), TOKENIZER, 64, seed=1)
    read = set()
    for (ids, _), first, label in rows:
        read |= set((ids if label == corpus.IS_NEXT else ids[:first]).tolist())
    assert {*chain.from_iterable(part[0] for document in documents() for part in document)} <= read


def test_titles_are_packed():
    titles = [[sentence([10 + i] * 5)] for i in range(7)]
    rows = list(corpus.Rows(titles, TOKENIZER, 20, seed=0))
    assert [len(ids) for (ids, _), *_ in rows] == [19, 19, 7]
    assert all(label is None for *_, label in rows)
    [(row, first, label)] = corpus.Rows([[sentence([9] * 50)]], TOKENIZER, 20, seed=0)
    assert row.shape == (2, 20) and first == 20 and row[0, -1] == TOKENIZER.end_id


def hidden(rate=0.15, rows=400, length=40, word=1, real=30):
    token_ids = np.zeros((rows, length), np.int32)
    token_ids[:, 1 : real + 1] = np.random.default_rng(0).integers(5, 205, (rows, real))
    token_ids[:, 0], token_ids[:, real + 1], token_ids[:, 5] = TOKENIZER.start_id, TOKENIZER.end_id, TOKENIZER.unk_id
    words = np.broadcast_to(np.arange(length) // word, (rows, length))
    return token_ids, *example.mask(token_ids, words, rate, TOKENIZER, np.random.default_rng(1))


def test_masking_rates_and_labels():
    clean, masked, positions, labels, weights = hidden()
    assert positions.shape == labels.shape == weights.shape == (400, 6)
    assert (weights.sum(axis=1) == round(0.15 * 29)).all()
    chosen = weights > 0
    rows = np.nonzero(chosen)[0]
    assert (clean[rows, positions[chosen]] == labels[chosen]).all() and (labels[chosen] >= 5).all()
    assert len(set(zip(rows.tolist(), positions[chosen].tolist()))) == len(rows)  # none twice
    elsewhere = np.ones(clean.shape, bool)
    elsewhere[rows, positions[chosen]] = False
    assert (masked == clean)[elsewhere].all()
    now = masked[rows, positions[chosen]]
    assert abs(np.mean(now == TOKENIZER.mask_id) - 0.8) < 0.03
    assert abs(np.mean(now == labels[chosen]) - 0.1) < 0.03
    assert (now >= TOKENIZER.mask_id).all()  # a random token is no special one
    counts = np.bincount(positions[chosen], minlength=40)
    assert counts[[0, 5, *range(31, 40)]].sum() == 0 and counts[1:5].min() > 0


def test_whole_words_are_hidden_as_a_whole():
    clean, _, positions, _, weights = hidden(rate=0.3, word=3)
    for row, place, weight in zip(clean, positions, weights):
        taken = set(place[weight > 0].tolist())
        assert 1 <= len(taken) <= 9
        for position in taken:
            word = [i for i in range(position // 3 * 3, position // 3 * 3 + 3) if row[i] >= 5]
            assert taken >= set(word)
    _, _, _, _, weights = hidden(rate=0.05, word=40)  # a single word, longer than what may be hidden
    assert (weights.sum(axis=1) == 1).all()


def test_rows_without_any_real_token():
    token_ids = np.array([[2, 1, 3, 0]])
    masked, _, _, weights = example.mask(token_ids, np.arange(4)[None], 0.5, TOKENIZER, np.random.default_rng(0))
    assert weights.sum() == 0 and (masked == token_ids).all()


def test_batches_know_their_pairs():
    rows = [(sentence([2, 7, 3, 8, 3]), 3, corpus.IS_RANDOM), (sentence([2, 9, 3]), 3, None)]
    (ids, segments, _), (follows, _), (is_pair, weights) = example.collate(rows, 8, 0.15, TOKENIZER, np.random.default_rng(0))
    assert ids.shape == (2, 8) and segments.tolist() == [[0, 0, 0, 1, 1, 0, 0, 0], [0] * 8]
    assert follows.tolist() == [corpus.IS_RANDOM, 0] and is_pair.tolist() == [1, 0] and weights.sum(axis=1).tolist() == [1, 1]
