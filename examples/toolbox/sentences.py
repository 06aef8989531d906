"""One vector for a sentence: where in a model it comes from, and how a list of texts gets its vectors."""

import numpy as np
from keras import ops

from keras_su.layers import Pooling
from toolbox.batches import in_order, padded_pairs

POOLINGS = ("pooler", "cls", "last-avg", "first-last-avg")  # P1 to P4 in the tables of https://kexue.fm/archives/8454


def sentence_vector(handle, pooling):
    """The vector of the first sentence of a row, as a tensor of the model.

    Segment 1 is left out. Under the mask of UniLM the tokens of segment 0 do not see it either, so the vector of a sentence is
    the same whether or not another one follows, and one pass over a pair serves embedding and generation.
    """
    if pooling == "pooler":
        return handle.model.get_layer("Pooler-Dense").output
    first, last = (
        handle.model.get_layer(f"Transformer-{index}-FeedForward-Norm").output for index in (0, handle.spec.num_layers - 1)
    )
    if pooling == "cls":
        return last[:, 0]
    token_ids, segment_ids = handle.model.inputs[:2]
    counts = ops.logical_and(ops.greater(token_ids, 0), ops.equal(segment_ids, 0))
    average = Pooling("mean")
    return average([last, counts]) if pooling == "last-avg" else (average([first, counts]) + average([last, counts])) / 2


def unit(vectors):
    """Vectors of length 1: their products are cosines."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def vectors_of(model, tokenizer, texts, max_length, name="vectors"):
    """The vectors of texts, ``(texts, width)``, from a model of token ids and segment ids; equal texts are computed once."""
    different = list(dict.fromkeys(texts))
    samples = [tokenizer.encode(text, maxlen=max_length) for text in different]
    collate = lambda encoded: (padded_pairs(encoded, step=16), None)  # noqa: E731
    found = in_order(model, samples, collate, 128, length=lambda sample: len(sample[0]), name=name)
    vectors = dict(zip(different, found))
    return np.stack([vectors[text] for text in texts]).astype("float32")
