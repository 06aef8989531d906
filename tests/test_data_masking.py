"""Whole words are hidden: how many, which way, and never half of one."""

import numpy as np
import pytest

from keras_su.data import whole_word_mask
from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {token: i for i, token in enumerate([*SPECIAL, *map(chr, range(0x4E00, 0x4E00 + 300))])}


def test_lengths_stay_and_the_rates_are_those_of_the_paper():
    tokenizer, dice = Tokenizer(VOCABULARY), np.random.default_rng(7)
    hidden = changed = words = 0
    for _ in range(10_000):
        text = ["".join(chr(0x4E00 + i) for i in dice.integers(300, size=n)) for n in (1, 2, 3)]
        noisy, clean = whole_word_mask(text, tokenizer, dice=dice)
        assert clean == tokenizer.encode("".join(text))[0][1:-1]
        assert len(noisy) == 6
        for start, stop in ((0, 1), (1, 3), (3, 6)):
            masked = [token == tokenizer.mask_id for token in noisy[start:stop]]
            assert all(masked) or not any(masked)
            words += 1
            hidden += masked[0]
            changed += not masked[0] and noisy[start:stop] != clean[start:stop]
        assert min(noisy) >= 4
    assert abs(hidden / words - 0.15 * 0.8) < 0.005
    assert abs(changed / words - 0.15 * 0.1) < 0.003


def test_everything_or_nothing_and_errors():
    tokenizer, dice = Tokenizer(VOCABULARY), np.random.default_rng(0)
    assert whole_word_mask(["一丁"], tokenizer, rate=0) == ([5, 6], [5, 6])
    assert whole_word_mask([], tokenizer, rate=1) == ([], [])
    one, other = (whole_word_mask(["一丁", "丂七"], tokenizer, 0.5, np.random.default_rng(3)) for _ in range(2))
    assert one == other
    with pytest.raises(KerasSuError, match="rate"):
        whole_word_mask(["一"], tokenizer, rate=2, dice=dice)
    with pytest.raises(KerasSuError, match="mask"):
        whole_word_mask(["一"], Tokenizer({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}), dice=dice)
