"""From lists of ids to arrays, and from batches back to samples."""

import keras
import numpy as np
from tqdm import tqdm

from keras_su.data import BucketedDataset, sequence_padding

STEP = 32  # lengths are multiples of this: XLA, on JAX and TensorFlow, compiles a program for every length


def padded(rows, value=0, step=STEP):
    """An array ``(rows, length)`` of lists of ids; the length is rounded up."""
    longest = max(map(len, rows))
    return sequence_padding(rows, length=-(-longest // step) * step, value=value)


def padded_pairs(encoded, step=STEP):
    """Token ids and segment ids of a batch, from what ``tokenizer.encode`` returned for each of its texts."""
    token_ids, segment_ids = zip(*encoded)
    return [padded(token_ids, step=step), padded(segment_ids, step=step)]


def in_order(model, samples, collate, batch_size=64, *, length=len, name="predict"):
    """What a model returns for each sample, in the order of the samples: a list of arrays, or of tuples for several outputs.

    Batches hold samples of similar length, so outputs of different batches may differ in shape.

    Args:
        model: Keras model.
        samples: what `collate` takes a list of.
        collate: function to ``(inputs, labels)``, as for training, or to a single array. Several inputs come with labels, or with
            ``None`` in their place.
        batch_size: samples in a batch.
        length: function from a sample to its length.
        name: what the progress bar says.
    """
    dataset = BucketedDataset(samples, collate, batch_size, length=length, shuffle=False)
    results = [None] * len(samples)
    for index, rows in enumerate(tqdm(dataset.plan, desc=name, unit=" batches", disable=None)):
        batch = dataset[index]
        inputs = batch[0] if isinstance(batch, tuple) else batch
        outputs = model.predict_on_batch(inputs)
        outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)
        for place, row in enumerate(rows):
            results[row] = keras.tree.map_structure(lambda output, place=place: np.asarray(output[place]), outputs)
    return results
