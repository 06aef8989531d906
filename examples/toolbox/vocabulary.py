"""A vocabulary for models that are trained from scratch."""

from collections import Counter

from keras_su.tokenizers import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def character_vocabulary(texts, least=1, special=SPECIAL):
    """Single characters, with a second form for characters inside words and numbers, as WordPiece wants it: ``{token: id}``.

    Args:
        texts: what the vocabulary is for.
        least: leave out characters that occur less often. What is left out is ``[UNK]``, which a model can learn about only if
            training texts have it: 2 is a good value where new characters are to be expected.
        special: tokens in front.
    """
    words = Tokenizer({token: i for i, token in enumerate(special)}, do_lower_case=True)  # knows no word, so keeps all whole
    single, inside = Counter(), Counter()
    for text in texts:
        for word in words.tokenize(text)[1:-1]:
            single.update(word)
            inside.update(word if len(word) > 1 else "")
    tokens = [*special, *(character for character, count in single.most_common() if count >= least)]
    tokens += sorted(f"##{character}" for character, count in inside.items() if count >= least)
    return {token: i for i, token in enumerate(tokens)}
