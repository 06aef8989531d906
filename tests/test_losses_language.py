"""Cross entropy of tokens and of the next token, R-Drop and flooding; and what all losses owe: saving, compiling, training."""

import keras
import numpy as np
import pytest
from compiling import compiled
from helpers import assert_close, backend, gradient, to_numpy
from keras import ops

import keras_su.losses as losses
from keras_su.errors import KerasSuError
from keras_su.losses import (
    RDrop,
    Seq2SeqCrossentropy,
    flooding,
    masked_mean,
    next_token_crossentropy,
    r_drop,
    seq2seq_crossentropy,
    symmetric_divergence,
    token_crossentropy,
)

INF = float("inf")
DICE = np.random.default_rng(31)
IDS = DICE.integers(0, 7, size=(2, 5))
LOGITS = DICE.normal(size=(2, 5, 7), scale=2).astype("float32")
SEGMENTS = np.array([[0, 0, 1, 1, 0], [0, 1, 1, 1, 1]])


def logs(logits):
    logits = logits.astype("float64")
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def smoothed(logits, label, amount):
    """Cross entropy of one token with the smoothed distribution written out."""
    exists = logits > -INF
    target = amount * exists / exists.sum() + (1 - amount) * (np.arange(len(logits)) == label)
    return -np.sum(target[exists] * logs(logits)[exists])


@pytest.mark.parametrize(("amount", "dtype"), [(0.0, "float32"), (0.1, "float16"), (0.1, "bfloat16")])
def test_tokens_one_by_one(amount, dtype):
    """With classes that do not exist, labels of padding that are no classes, and weights."""
    logits, weights = np.array(LOGITS), np.array([[1, 1, 0.5, 0, 0], [1, 2, 0, 1, 1]], "float32")
    labels = np.where(weights == 0, -100, IDS)
    logits[0, 0, (IDS[0, 0] + 1) % 7] = logits[1, 0, (IDS[1, 0] + 2) % 7] = -INF
    tensor = ops.cast(ops.convert_to_tensor(logits), dtype)
    rounded = to_numpy(tensor)
    expected = [[smoothed(x, max(y, 0), amount) for x, y in zip(*row)] for row in zip(rounded, labels)]
    found = token_crossentropy(labels, tensor, weights, amount)
    assert_close(found, weights * expected, 1e-5)
    assert_close(masked_mean(found, np.ones((2, 5))), np.mean(weights * expected), 1e-5)
    slope = gradient(lambda x: token_crossentropy(labels, x, weights, amount), logits, dtype)
    assert np.all(np.isfinite(slope)) and not slope[weights == 0].any() and np.all(np.abs(slope[weights > 0]).sum(-1) > 0)


def test_probabilities_instead_of_logits():
    probabilities = np.exp(logs(LOGITS)).astype("float32")
    assert_close(token_crossentropy(IDS, probabilities, from_logits=False), token_crossentropy(IDS, LOGITS), 1e-4)
    certain = np.array([[1.0, 0.0]], "float32")
    assert_close(token_crossentropy([1], certain, from_logits=False), -np.log(np.array([keras.config.epsilon()])), 1e-4)
    with pytest.raises(KerasSuError, match="label_smoothing: got 1, expected"):
        token_crossentropy(IDS, LOGITS, label_smoothing=1)


def expected_next(mask, amount=0.0):
    """Sums over predicted tokens: losses and weights."""
    pairs = [(b, t) for b in range(2) for t in range(1, 5)]
    total = sum(mask[b, t] * smoothed(LOGITS[b, t - 1], IDS[b, t], amount) for b, t in pairs)
    return total / sum(mask[b, t] for b, t in pairs)


@pytest.mark.parametrize("amount", [0.0, 0.2])
def test_the_next_token_is_predicted_and_the_mean_goes_over_tokens(amount):
    expected = expected_next(SEGMENTS, amount)
    assert_close(seq2seq_crossentropy(IDS, LOGITS, SEGMENTS, amount), expected, 1e-5)
    assert_close(Seq2SeqCrossentropy(amount)(IDS, LOGITS, sample_weight=SEGMENTS), expected, 1e-5)
    everything = np.ones((2, 5))
    assert_close(seq2seq_crossentropy(IDS, LOGITS, everything, amount), expected_next(everything, amount), 1e-5)
    assert_close(seq2seq_crossentropy(IDS, LOGITS, None, amount), expected_next(everything, amount), 1e-5)
    assert_close(Seq2SeqCrossentropy(amount)(IDS, LOGITS), expected_next(everything, amount), 1e-5)
    rows = np.array([[3.0], [1.0]])
    found = Seq2SeqCrossentropy(amount)(IDS, LOGITS, sample_weight=rows[:, 0])
    assert_close(found, expected_next(rows * everything, amount), 1e-5)


def test_the_mask_of_keras_counts_at_the_token_that_is_predicted():
    tokens = keras.layers.Masking()(np.where(SEGMENTS[..., None] == 1, LOGITS, 0.0).astype("float32"))
    plain = np.array(to_numpy(tokens))
    expected = seq2seq_crossentropy(IDS, plain, SEGMENTS)
    assert_close(Seq2SeqCrossentropy()(IDS, tokens), expected, 1e-5)


def test_padding_and_what_the_mask_hides_change_nothing():
    padded_ids, padded_mask = (np.pad(x, [(0, 0), (0, 3)]) for x in (IDS, SEGMENTS))
    padded = np.pad(LOGITS, [(0, 0), (0, 3), (0, 0)], constant_values=9)
    padded[:, -1] = np.nan
    assert_close(seq2seq_crossentropy(padded_ids, padded, padded_mask), seq2seq_crossentropy(IDS, LOGITS, SEGMENTS), 1e-6)
    assert float(seq2seq_crossentropy(IDS, LOGITS, 0 * SEGMENTS)) == 0.0
    slope = gradient(lambda x: seq2seq_crossentropy(IDS, x, 0 * SEGMENTS), LOGITS)
    assert not slope.any()
    single = next_token_crossentropy(IDS, LOGITS, SEGMENTS)
    assert single.shape == (2, 5) and not to_numpy(single)[SEGMENTS == 0].any()


def test_disagreement_by_its_definition():
    """KL in both directions, from probabilities and from logits; a shift of all logits changes nothing."""
    p, q = np.exp(logs(LOGITS[0])), np.exp(logs(LOGITS[1]))
    expected = (p * np.log(p / q) + q * np.log(q / p)).sum(-1)
    found = symmetric_divergence(LOGITS)
    assert_close(found, expected[None], 1e-4)
    assert_close(symmetric_divergence(np.stack([p, q]).astype("float32"), "concat", from_logits=False), expected[None], 1e-4)
    shifted = LOGITS + np.array([5, -90])[:, None, None].astype("float32")
    assert_close(symmetric_divergence(shifted), expected[None], 1e-4)
    assert_close(gradient(symmetric_divergence, LOGITS).sum(-1), np.zeros((2, 5)), 1e-5)
    assert to_numpy(symmetric_divergence(np.repeat(LOGITS, 2, axis=0))).max() < 1e-10
    assert float(symmetric_divergence([[0.7, 0.3], [0.6, 0.4]], from_logits=False)[0]) == pytest.approx(0.044183, abs=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_disagreement_at_extremes(dtype):
    rows = np.array([[6e4, -6e4, -INF], [-6e4, 6e4, 0.0], [1, 2, -INF], [2, 1, -INF]], "float32")
    found = to_numpy(symmetric_divergence(ops.cast(ops.convert_to_tensor(rows), dtype)))
    size = float(to_numpy(ops.cast(ops.convert_to_tensor(6e4), dtype)))
    p = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(found, [4 * size, 2 * (2 * p - 1)], rtol=1e-5)
    assert np.all(np.isfinite(gradient(symmetric_divergence, rows, dtype)))


def test_r_drop_in_both_layouts():
    """The mean over rows is half of: two cross entropies plus alpha times the mean of two divergences."""
    logits, labels = DICE.normal(size=(6, 4)).astype("float32"), np.repeat([3, 0, 2], 2)
    p, q = np.exp(logs(logits[::2])), np.exp(logs(logits[1::2]))
    entropy = -logs(logits)[np.arange(6), labels]
    kl = (p * np.log(p / q)).sum(-1), (q * np.log(q / p)).sum(-1)
    paper = entropy[::2] + entropy[1::2] + 4 * (kl[0] + kl[1]) / 2
    assert_close(RDrop()(labels, logits), paper.mean() / 2, 1e-5)
    assert_close(RDrop()(labels[:, None], logits), paper.mean() / 2, 1e-5)
    order = [0, 2, 4, 1, 3, 5]
    assert_close(RDrop(layout="concat")(labels[order], logits[order]), paper.mean() / 2, 1e-5)
    assert_close(RDrop("categorical_crossentropy")(np.eye(4)[labels], logits), paper.mean() / 2, 1e-5)
    assert_close(RDrop(from_logits=False)(labels, np.exp(logs(logits)).astype("float32")), paper.mean() / 2, 1e-4)
    assert_close(RDrop(base=None, alpha=1.0)(labels, logits), (kl[0] + kl[1]).mean() / 4, 1e-5)
    hinge = RDrop(base=keras.losses.categorical_hinge, alpha=0.0)
    assert_close(hinge(np.eye(4)[labels], logits), ops.mean(keras.losses.categorical_hinge(np.eye(4)[labels], logits)), 1e-5)
    restored = RDrop.from_config(hinge.get_config())
    assert_close(restored(np.eye(4)[labels], logits), hinge(np.eye(4)[labels], logits), 1e-6)
    with pytest.raises(KerasSuError, match="Unknown base loss 'categorical_crossentropi'. Did you mean"):
        RDrop("categorical_crossentropi")


def test_r_drop_of_tokens_counts_the_tokens_of_the_target():
    logits, labels, mask = LOGITS, np.where([[0, 0, 1, 1, 1]], IDS[[0, 0]], -100), np.array([[0, 0, 1, 1, 1]] * 2)
    divergence = to_numpy(symmetric_divergence(logits))
    expected = np.stack([[smoothed(x, max(y, 0), 0) for x, y in zip(*row)] for row in zip(logits, labels)]) + divergence
    values = r_drop(labels, logits, mask=mask)
    assert_close(values, mask * expected, 1e-5)
    assert_close(masked_mean(values, mask), expected[mask == 1].mean(), 1e-5)
    loss = RDrop(reduction="mean_with_sample_weight")(np.maximum(labels, 0), logits, sample_weight=mask)
    assert_close(loss, expected[mask == 1].mean(), 1e-5)
    slope = gradient(lambda x: r_drop(labels, x, mask=mask), logits)
    assert np.all(np.isfinite(slope)) and not slope[mask == 0].any()


def test_flooding_turns_the_gradient_round():
    assert [float(flooding(x, 0.5)) for x in (2.0, 0.5, 0.25)] == [2.0, 0.5, 0.75]
    slope = gradient(lambda x: flooding(x, 0.5), np.array([2.0, 0.25], "float32"))
    assert slope.tolist() == [1, -1]


CLASSES = {
    "CoSENT": {"scale": 3.0, "layout": "concat"},
    "FlatNCE": {"temperature": 0.3, "monitor": "infonce"},
    "GlobalPointerCrossentropy": {"sparse": True, "heads": "sum"},
    "InBatchPairContrastive": {"scale": 3.0, "layout": "concat"},
    "InfoNCE": {"temperature": 0.3},
    "MultilabelCategoricalCrossentropy": {},
    "RDrop": {"base": None, "alpha": 2.0, "layout": "concat", "from_logits": False},
    "Seq2SeqCrossentropy": {"label_smoothing": 0.3, "from_logits": False},
    "SimilarityDistillation": {"scale": 3.0},
    "SparseMultilabelCategoricalCrossentropy": {"mask_zero": True},
}


def test_all_classes_are_restored_from_their_configuration():
    assert set(CLASSES) == {name for name in losses.__all__ if name[0].isupper()}
    for name, settings in CLASSES.items():
        loss = getattr(losses, name)(reduction="sum", **settings)
        saved = keras.saving.serialize_keras_object(loss)
        restored = keras.saving.deserialize_keras_object(saved)
        assert saved["registered_name"] == f"keras_su>{name}" and type(restored) is type(loss)
        assert restored.get_config() == loss.get_config()
        assert restored.get_config().items() >= {**settings, "reduction": "sum"}.items()


def run_compiled(function, *arrays):
    """``function`` compiled by the backend; on TensorFlow, traced with sizes that are not known."""
    if backend() != "tensorflow":
        return compiled(function)(*map(ops.convert_to_tensor, arrays))
    import tensorflow as tf

    signature = [tf.TensorSpec([None] * x.ndim, x.dtype) for x in arrays]
    return tf.function(function, input_signature=signature, jit_compile=True)(*arrays)


def test_all_losses_compile():
    """As one program, which may not look at values, nor, on TensorFlow, at sizes."""
    vectors = DICE.normal(size=(4, 4)).astype("float32")
    labels = np.array([1, 0, 2, 1], "int32")
    table = DICE.normal(size=(2, 2, 3, 3)).astype("float32")
    pairs = DICE.integers(0, 3, size=(2, 2, 2, 2)).astype("int32")

    def everything(vectors, labels, table, pairs, ids, logits):
        values = [
            losses.GlobalPointerCrossentropy()(table > 0, table),
            losses.GlobalPointerCrossentropy(sparse=True)(pairs, table),
            losses.FlatNCE()(labels, vectors),
            losses.InBatchPairContrastive(layout="concat")(labels, vectors),
            losses.CoSENT()(labels, vectors),
            losses.SimilarityDistillation()(ops.square(vectors), vectors),
            losses.RDrop(layout="concat")(labels, vectors),
            losses.Seq2SeqCrossentropy(0.1)(ids, logits),
        ]
        return ops.stack(values)

    found = to_numpy(run_compiled(everything, vectors, labels, table, pairs, IDS.astype("int32"), LOGITS))
    assert found.shape == (8,) and np.all(np.isfinite(found))
    assert found[-1] == pytest.approx(expected_next(np.ones((2, 5)), 0.1), abs=1e-5)


def test_training_a_saved_model(tmp_path):
    """A model with a loss and a metric of this package goes on where it stopped, and its loss falls."""
    inputs = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(7, 8)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(7)(hidden))
    model.compile(keras.optimizers.Adam(0.1), Seq2SeqCrossentropy(0.1))
    first = model.train_on_batch(IDS, IDS, sample_weight=SEGMENTS)
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(restored.loss, Seq2SeqCrossentropy) and restored.loss.label_smoothing == 0.1
    assert float(restored.test_on_batch(IDS, IDS, sample_weight=SEGMENTS)) < float(first)
