"""Noise on what a model reads: whole words are hidden, and the length stays."""

import numpy as np

from keras_su.errors import bad_value

HIDDEN, REPLACED = 0.8, 0.1  # parts of the chosen words; the rest stays as it is, and yet is chosen


def whole_word_mask(words, tokenizer, rate=0.15, dice=None):
    """Ids of a text in which some words are hidden, all tokens of a word together.

    Of the chosen words 80 % become ``[MASK]`` tokens, 10 % other tokens by chance, and 10 % stay as they are.

    Args:
        words: the words of a text, as `keras_su.tokenizers.segmenter` cuts them.
        tokenizer: a tokenizer with a mask token.
        rate: probability that a word is chosen.
        dice: ``numpy.random.Generator``; default is a new one.

    Returns:
        Two lists of ids of the same length without special tokens around them: the noisy ones and the clean ones.

    Raises:
        KerasSuError: ``rate`` is no probability, or the tokenizer has no mask token.

    >>> from keras_su.tokenizers import Tokenizer
    >>> tokenizer = Tokenizer({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3, "天": 4, "气": 5, "好": 6})
    >>> noisy, clean = whole_word_mask(["天气", "好"], tokenizer, rate=0.5)
    >>> clean, len(noisy)
    ([4, 5, 6], 3)

    Reference: https://arxiv.org/abs/1906.08101; as the noise of RoFormer-Sim: https://kexue.fm/archives/8454.
    """
    if not 0 <= rate <= 1:
        raise bad_value("rate", rate, "a probability, from 0 to 1")
    if tokenizer.mask_id is None:
        raise bad_value("tokenizer.mask_id", None, "the id of a mask token")
    dice = np.random.default_rng() if dice is None else dice
    special = {tokenizer.pad_id, tokenizer.unk_id, tokenizer.mask_id, tokenizer.start_id, tokenizer.end_id}
    around = {tokenizer.start_id, tokenizer.end_id}
    noisy, clean = [], []
    for word, chosen, fate in zip(words, dice.random(len(words)) < rate, dice.random(len(words))):
        ids = [i for i in tokenizer.encode(word)[0] if i not in around]
        clean += ids
        if chosen and fate < HIDDEN:
            ids = [tokenizer.mask_id] * len(ids)
        elif chosen and fate < HIDDEN + REPLACED:
            others = dice.integers(tokenizer.vocab_size, size=len(ids)).tolist()
            ids = [own if other in special else other for own, other in zip(ids, others)]
        noisy += ids
    return noisy, clean
