"""ROUGE and BLEU of generated texts. Chinese is compared character by character, unless another tokenizer is given."""

from collections import Counter

from keras_su.errors import KerasSuError, require
from keras_su.metrics.answers import lcs_f1


def characters(text):
    """The characters of a text without white space.

    >>> characters("红楼 梦")
    ['红', '楼', '梦']
    """
    return [character for character in text if not character.isspace()]


def rouge(predictions, references, tokenize=characters):
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L over all texts.

    Args:
        predictions: generated texts.
        references: one for each.
        tokenize: function from a text to a list of tokens, e.g. ``jieba.lcut``. Case is not changed.

    Returns:
        ``{"rouge1": ..., "rouge2": ..., "rougeL": ...}`` in 0 to 1. N-grams count as often as both texts have them. A text with
        no n-gram at all scores 0.

    >>> {name: round(value, 4) for name, value in rouge(["红楼一梦"], ["红楼梦"]).items()}
    {'rouge1': 0.8571, 'rouge2': 0.4, 'rougeL': 0.8571}

    Reference: C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries", 2004.
    """
    pairs = [(tokenize(a), tokenize(b)) for a, b in _texts(predictions, references)]
    scores = {
        "rouge1": [_ngram_f1(a, b, 1) for a, b in pairs],
        "rouge2": [_ngram_f1(a, b, 2) for a, b in pairs],
        "rougeL": [lcs_f1(a, b) for a, b in pairs],
    }
    return {name: sum(values) / len(values) for name, values in scores.items()}


def _ngram_f1(prediction, reference, size):
    first, second = (Counter(zip(*(tokens[n:] for n in range(size)))) for tokens in (prediction, reference))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def bleu(predictions, references, tokenize=characters):
    """BLEU-4 of all texts together, with sacrebleu's smoothing (``pip install "keras_su[metrics]"``).

    Args:
        predictions: generated texts.
        references: one for each.
        tokenize: function from a text to a list of tokens, e.g. ``jieba.lcut``. Case is not changed.

    Returns:
        A float in 0 to 1, one hundredth of what sacrebleu prints.

    Raises:
        MissingDependencyError: sacrebleu is not installed.

    Reference: M. Post, "A call for clarity in reporting BLEU scores", arXiv 1804.08771.
    """
    library = require("sacrebleu", extra="metrics", purpose="BLEU")
    pairs = [(" ".join(tokenize(a)), " ".join(tokenize(b))) for a, b in _texts(predictions, references)]
    found, wanted = zip(*pairs)
    # The tokens are final, and sacrebleu is told not to warn that they look like tokens.
    return library.corpus_bleu(found, [wanted], tokenize="none", force=True).score / 100


def _texts(predictions, references):
    """Pairs of texts."""
    for name, texts in (("predictions", predictions), ("references", references)):
        if isinstance(texts, str):
            raise KerasSuError(f"{name}: got one text, expected a list of texts.")
    predictions, references = list(predictions), list(references)
    if len(predictions) != len(references) or not predictions:
        raise KerasSuError(f"Got {len(predictions)} predictions and {len(references)} references, expected as many, at least 1.")
    return zip(predictions, references)
