"""Classification by the next-sentence head of BERT, with few labels or none (NSP-BERT, arXiv 2109.03564).

A text and a prompt, such as "这是一则体育新闻", are the two segments of one input; the head says whether they belong together.
Where classes have prompts, the best prompt wins (`candidate_contrast`). Where there is only a pair, texts compete with each
other: their scores are ranked and cut into classes (`sample_contrast`). See https://kexue.fm/archives/8671.

    pairs = [encode_pair(tokenizer, f"这是一则{label}新闻", text) for label in labels]
    scores = next_sentence_scores(model.predict(...))       # a model with with_nsp=True
    label = labels[candidate_contrast([scores])[0]]

Everything here works on NumPy arrays and lists of ids; scores may come from any model.
"""

from typing import NamedTuple

import numpy as np

from keras_su.errors import bad_value, unknown_name
from keras_su.tokenizers.truncation import losses

ORDERS = ("prefix", "suffix")
"""Where a prompt stands: in the first segment, in front of the text, or in the second."""


class Pair(NamedTuple):
    """A row of a model's inputs: three lists of one length. `position_ids` matter to models with ``custom_position_ids=True``."""

    token_ids: list
    segment_ids: list
    position_ids: list


def encode_pair(tokenizer, prompt, text, order="prefix", max_length=None, truncate_from="right"):
    """The input ``[CLS] prompt [SEP] text [SEP]``, or with the order ``"suffix"`` the text first.

    Args:
        tokenizer: a tokenizer with ``encode``.
        prompt: what is said about the text.
        text: the text.
        order: see `ORDERS`.
        max_length: most ids; the longer part, mostly the text, is cut.
        truncate_from: the side that is cut.

    Returns:
        `Pair`; positions are counted.

    >>> from keras_su.tokenizers import Tokenizer
    >>> tokenizer = Tokenizer({token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"好评很快"])})
    >>> encode_pair(tokenizer, "好评", "很快").token_ids
    [2, 4, 5, 3, 6, 7, 3]
    >>> encode_pair(tokenizer, "好评", "很快", "suffix").token_ids
    [2, 6, 7, 3, 4, 5, 3]
    """
    first, second = (prompt, text) if _is_prefix(order) else (text, prompt)
    token_ids, segment_ids = tokenizer.encode(first, second, maxlen=max_length, truncate_from=truncate_from)
    return Pair(token_ids, segment_ids, list(range(len(token_ids))))


def encode_blank(tokenizer, before, candidate, after, order="prefix", max_length=None):
    """A text with a blank, and what might fill it: the candidate is one segment, but has the positions of the blank.

    Args:
        tokenizer: a tokenizer with ``encode``, ``start_id`` and ``end_id``.
        before: the text before the blank.
        candidate: what might stand there; it is never cut.
        after: the text behind it.
        order: see `ORDERS`; the candidate is the prompt.
        max_length: most ids. What is far from the blank goes first.

    Returns:
        `Pair`, with positions as `soft_positions` says.

    Raises:
        KerasSuError: the candidate alone is too long.

    >>> from keras_su.tokenizers import Tokenizer
    >>> tokenizer = Tokenizer({token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"他很高兴"])})
    >>> pair = encode_blank(tokenizer, "他", "高兴", "很")
    >>> pair.token_ids
    [2, 6, 7, 3, 4, 5, 3]
    >>> pair.position_ids  # 他 高 兴 很
    [0, 3, 4, 1, 2, 5, 6]
    """
    before, candidate, after = (tokenizer.encode(part)[0][1:-1] for part in (before, candidate, after))
    if max_length is not None:
        room = max_length - 3 - len(candidate)
        if room < 0:
            raise bad_value("max_length", max_length, f"at least {len(candidate) + 3}, for the candidate and the special tokens")
        sizes = [len(before), len(after)]
        lost = losses(sizes, sizes, max(sum(sizes) - room, 0))
        before, after = before[lost[0] :], after[: len(after) - lost[1]]
    parts = [candidate, before + after] if _is_prefix(order) else [before + after, candidate]
    token_ids = [tokenizer.start_id, *parts[0], tokenizer.end_id, *parts[1], tokenizer.end_id]
    segment_ids = [0] * (len(parts[0]) + 2) + [1] * (len(parts[1]) + 1)
    return Pair(token_ids, segment_ids, soft_positions(len(before), len(candidate), len(after), order))


def soft_positions(before, candidate, after, order="prefix"):
    """Position ids of ``[CLS] candidate [SEP] text [SEP]`` that put the candidate into the blank of the text.

    To attention, which knows order by positions only, the text then reads as if the blank were filled.

    Args:
        before: number of tokens before the blank.
        candidate: number of tokens of the candidate.
        after: number of tokens behind the blank.
        order: see `ORDERS`.

    Returns:
        a list: every number from 0 to ``before + candidate + after + 2``, once.

    >>> soft_positions(2, 3, 1)  # [CLS], candidate, [SEP], text, [SEP]
    [0, 4, 5, 6, 1, 2, 3, 7, 8]
    >>> soft_positions(2, 3, 1, "suffix")  # [CLS], text, [SEP], candidate, [SEP]
    [0, 1, 2, 6, 7, 3, 4, 5, 8]
    """
    prefix = _is_prefix(order)
    start = 2 if prefix else 1  # of the text: behind [CLS], and behind the first [SEP] where there is one before it
    blank = start + before
    behind = blank + candidate
    text, filling = [*range(start, blank), *range(behind, behind + after)], [*range(blank, behind)]
    end = behind + after
    return [0, *filling, 1, *text, end] if prefix else [0, *text, end, *filling, end + 1]


def _is_prefix(order):
    if order not in ORDERS:
        raise unknown_name("order", order, ORDERS)
    return order == "prefix"


def next_sentence_scores(probabilities):
    """How much a model thinks that the segments belong together: the log odds of "is the next sentence".

    Probabilities near 1 are all the same in float32; the log odds still tell them apart, by the other probability.

    Args:
        probabilities: array ``(..., 2)``; index 0 is "is the next sentence".

    Returns:
        float64 array without the last axis.

    >>> next_sentence_scores([[0.5, 0.5], [0.9, 0.1]]).round(2).tolist()
    [0.0, 2.2]
    """
    values = np.asarray(probabilities, "float64")
    if values.ndim == 0 or values.shape[-1] != 2:
        raise bad_value("shape of probabilities", values.shape, "(..., 2): is the next sentence, is not")
    values = np.log(np.maximum(values, np.finfo("float32").tiny))
    return values[..., 0] - values[..., 1]


def candidate_contrast(scores):
    """For each sample, the number of the candidate with the highest score; of equal ones the first.

    Args:
        scores: for each sample, the scores of its candidates; not all need to have equally many.

    Returns:
        integer array ``(samples,)``.

    >>> candidate_contrast([[0.1, 2.0, 0.3], [1.0, 1.0, -5.0]]).tolist()
    [1, 0]
    """
    return np.array([int(np.argmax(_checked(row))) for row in scores], dtype="int64")


def sample_contrast(scores, parts):
    """Classes by rank: the samples with the lowest scores are class 0, the next ones class 1, and so on.

    Args:
        scores: one for each sample. Of equal ones the first counts as lower.
        parts: the number of classes, which then get equally many samples (what does not divide goes to the last one), or a list
            of how many each class gets.

    Returns:
        integer array ``(samples,)``.

    >>> sample_contrast([0.9, 0.1, 0.5, 0.7, 0.3, 0.2, 0.8], 3).tolist()
    [2, 0, 1, 2, 1, 0, 2]
    """
    scores = _checked(scores)
    classes = np.empty(len(scores), "int64")
    sizes = _sizes(len(scores), parts)
    classes[np.argsort(scores, kind="stable")] = np.repeat(np.arange(len(sizes)), sizes)
    return classes


def midpoint_thresholds(scores, parts):
    """Thresholds that cut other samples as `sample_contrast` cuts these: midway between the neighbours on both sides of a cut.

    Args:
        scores: of samples that stand for what will come, such as a development set; labels are not needed.
        parts: as for `sample_contrast`.

    Returns:
        float64 array ``(classes - 1,)``, ascending, for `classes_by_thresholds`.

    >>> thresholds = midpoint_thresholds([0.1, 0.2, 0.6, 0.8], 2)
    >>> thresholds.round(2).tolist(), classes_by_thresholds([0.3, 0.5, 0.2], thresholds).tolist()
    ([0.4], [0, 1, 0])
    """
    scores = np.sort(_checked(scores))
    cuts = np.cumsum(_sizes(len(scores), parts))[:-1]
    edges = np.concatenate([[-np.inf], scores, [np.inf]])  # classes that got no samples
    below, above = edges[cuts], edges[cuts + 1]
    middle = below / 2 + above / 2
    return np.where(middle > below, middle, above)  # between neighbouring numbers there is no middle


def classes_by_thresholds(scores, thresholds):
    """How many thresholds each score reaches: its class. The thresholds ascend.

    >>> classes_by_thresholds([-1.0, 0.0, 3.0], [0.0, 2.0]).tolist()
    [0, 1, 2]
    """
    return np.searchsorted(np.asarray(thresholds, "float64"), _checked(scores), side="right")


def _checked(scores):
    values = np.asarray(scores, "float64")
    if values.ndim != 1 or not len(values):
        raise bad_value("shape of scores", values.shape, "one score or more in a row")
    if not np.isfinite(values).all():
        raise bad_value("scores", values[~np.isfinite(values)][0], "finite numbers")
    return values


def _sizes(count, parts):
    """How many of ``count`` samples each class gets."""
    if np.ndim(parts):
        sizes = [int(size) for size in parts]
        if sum(sizes) != count or min(sizes) < 0:
            raise bad_value("parts", parts, f"sizes of classes that sum to the number of scores, {count}")
        return sizes
    if not 1 <= parts <= count:
        raise bad_value("parts", parts, f"1 to {count} classes, the number of scores")
    return [count // parts] * (parts - 1) + [count - count // parts * (parts - 1)]
