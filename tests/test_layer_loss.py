"""Losses inside of models: they train, their metrics are reported, masks arrive, files load."""

import keras
import numpy as np
import pytest
from helpers import to_numpy
from keras import ops

from keras_su.errors import KerasSuError
from keras_su.layers import Embedding, Loss

IDS = np.random.default_rng(0).integers(1, 7, size=(6, 4)).astype("int32")
IDS[2:5, 2:] = 0
LABELS = np.random.default_rng(1).integers(0, 3, size=(6, 4)).astype("int32")


class CrossEntropy(Loss):
    """As scripts write it: labels and predictions in, masked mean out, with two numbers to watch."""

    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def compute_loss(self, inputs, mask=None):
        labels, predictions = inputs
        valid = ops.cast(mask[1], "float32")
        self.add_metric(ops.sum(valid), name="tokens", aggregation="mean")
        loss = keras.losses.sparse_categorical_crossentropy(labels, predictions)
        loss = ops.sum(loss * valid) / ops.sum(valid) * self.scale
        self.add_metric(loss, "entropy")
        return loss


def model_with(loss_layer, **compiling):
    """Tokens and labels in; the loss sees labels, and predictions with the mask of the tokens."""
    ids, labels = (keras.Input((None,), dtype="int32", name=name) for name in ("ids", "labels"))
    x = Embedding(7, 8, mask_zero=True, embeddings_initializer="glorot_uniform")(ids)
    predictions = keras.layers.Dense(3, activation="softmax")(x)
    model = keras.Model([ids, labels], loss_layer([labels, predictions]))
    model.compile("adam", **compiling)
    return model


def entropies(model, rows):
    """What each batch of ``rows`` must report, from the predictions alone."""
    found = []
    for part in rows:
        predictions = model.predict_on_batch([IDS[part], LABELS[part]])
        picked = -np.log(np.take_along_axis(predictions, LABELS[part][..., None], -1)[..., 0])
        found.append(picked[IDS[part] > 0].mean())
    return found


BATCHES = [slice(0, 2), slice(2, 4), slice(4, 6)]


class Batches(keras.callbacks.Callback):
    """What is shown after each batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append({name: float(value) for name, value in logs.items()})


@pytest.mark.parametrize("compiling", [{}, {"run_eagerly": True}, {"metrics": ["mae"]}])
def test_reported_numbers_are_means_over_the_batches_of_an_epoch(compiling):
    model = model_with(CrossEntropy(2.0, output_axis=1), **compiling)
    model.optimizer.learning_rate = 0.0
    targets = np.zeros((6, 4, 3)) if "metrics" in compiling else None
    expected = 2 * np.array(entropies(model, BATCHES))
    shown = Batches()
    history = model.fit([IDS, LABELS], targets, batch_size=2, epochs=2, shuffle=False, verbose=0, callbacks=[shown]).history
    assert history["tokens"] == [6.0, 6.0]  # 8, 4 and 6
    assert history["entropy"] == pytest.approx([expected.mean()] * 2, rel=1e-5)
    assert history["loss"] == pytest.approx(history["entropy"], rel=1e-5)
    assert [logs["tokens"] for logs in shown.seen] == [8.0, 6.0, 6.0] * 2
    assert [logs["entropy"] for logs in shown.seen[3:]] == pytest.approx(np.cumsum(expected) / [1, 2, 3], rel=1e-5)
    one = slice(2, 4)
    logs = model.evaluate([IDS[one], LABELS[one]], targets if targets is None else targets[one], verbose=0, return_dict=True)
    assert (logs["tokens"], logs["entropy"]) == pytest.approx((4.0, expected[1]), rel=1e-5)


def test_it_trains_and_returns_what_was_chosen():
    model = model_with(CrossEntropy(output_axis=1))
    before = np.mean(entropies(model, [slice(0, 6)]))
    model.predict([IDS, LABELS], verbose=0)  # leaves nothing behind in the numbers that follow
    history = model.fit([IDS, LABELS], batch_size=6, epochs=3, verbose=0, validation_data=([IDS[:2], LABELS[:2]], None)).history
    assert history["loss"][0] == pytest.approx(before, rel=1e-5)
    assert history["loss"][2] < history["loss"][1] < history["loss"][0]
    assert history["val_tokens"] == [8.0] * 3 and history["tokens"] == [18.0] * 3
    assert model.predict([IDS, LABELS], verbose=0).shape == (6, 4, 3)


def test_a_model_with_its_loss_survives_a_file(tmp_path):
    model = model_with(CrossEntropy(0.5, output_axis=1, name="loss_layer"))
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", custom_objects={"CrossEntropy": CrossEntropy})
    assert again.get_layer("loss_layer").scale == 0.5 and again.get_layer("loss_layer").output_axis == 1
    np.testing.assert_allclose(again.predict_on_batch([IDS, LABELS]), model.predict_on_batch([IDS, LABELS]), rtol=1e-6)
    assert again.weights and len(again.weights) == len(model.weights)
    logs = again.evaluate([IDS, LABELS], batch_size=6, verbose=0, return_dict=True)
    assert logs["entropy"] == pytest.approx(0.5 * np.mean(entropies(model, [slice(0, 6)])), rel=1e-5)


class PerToken(Loss):
    def compute_loss(self, inputs, mask=None):
        self.seen = [None if one is None else tuple(one.shape) for one in mask] if isinstance(mask, list) else mask
        return keras.losses.sparse_categorical_crossentropy(*inputs)


@pytest.mark.parametrize("axis, count", [(None, 2), (0, None), ([1], 1), ([1, 0, 1], 3)])
def test_chosen_inputs_and_their_masks(axis, count):
    labels, predictions = keras.Input((4,), dtype="int32"), keras.layers.Masking()(keras.Input((4, 3)))
    chosen = PerToken(output_axis=axis)([labels, predictions])
    chosen = chosen if isinstance(chosen, list) else [chosen]
    wanted = [[labels, predictions][place] for place in ([0, 1] if axis is None else [axis] if axis == 0 else axis)]
    assert len(chosen) == (count or 1)
    for one, other in zip(chosen, wanted):
        assert one is not other and (one.shape, one.dtype) == (other.shape, other.dtype)
        assert (getattr(one, "_keras_mask", None) is None) == (getattr(other, "_keras_mask", None) is None)
    assert PerToken.from_config(PerToken(output_axis=axis).get_config()).output_axis == axis


def test_the_mean_of_a_loss_per_token_is_the_loss():
    x = ops.convert_to_tensor(np.random.default_rng(0).dirichlet([1, 1, 1], size=(6, 4)).astype("float32"))
    layer = PerToken(output_axis=1)
    layer([LABELS, x])
    wanted = -np.log(np.take_along_axis(to_numpy(x), LABELS[..., None], -1)).mean()
    assert [float(to_numpy(loss)) for loss in layer.losses] == [pytest.approx(wanted, rel=1e-5)]
    assert layer.seen == [None, None] or layer.seen is None


class EveryOtherRow(Loss):
    def compute_loss(self, inputs, mask=None):
        self.add_metric(ops.mean(inputs[::2]), name="even")
        return ops.mean(ops.square(inputs[::2] - inputs[1::2]))


def test_a_loss_may_compare_neighbouring_rows_and_keeps_the_dtype_of_its_input():
    inputs = keras.Input((3,), dtype="float32")
    layer = EveryOtherRow(dtype="mixed_float16")
    output = layer(inputs)
    assert (output.shape, output.dtype) == ((None, 3), "float32")
    assert [metric.name for metric in layer.metrics] == ["even"]
    layer(np.array([[3.0], [1.0]], "float32"))
    assert float(to_numpy(layer.losses[0])) == 4.0


def test_metrics_of_a_layer_that_is_called_directly():
    layer = EveryOtherRow()
    for value in (1.0, 3.0):
        layer(np.full((2, 1), value, "float32"))
    (metric,) = layer.metrics
    assert float(to_numpy(metric.result())) == 2.0
    metric.reset_state()
    assert float(to_numpy(metric.result())) == 0.0


def test_what_is_refused():
    with pytest.raises(KerasSuError, match="output_axis: got 'x', expected a number, a list of numbers, or None"):
        Loss(output_axis="x")
    with pytest.raises(NotImplementedError, match="Loss: override compute_loss"):
        Loss()(IDS)
    with pytest.raises(KerasSuError, match="aggregation: got 'sum', expected 'mean' or None"):
        Loss().add_metric(1.0, aggregation="sum")

    class Nothing(Loss):
        def compute_loss(self, inputs, mask=None):
            pass

    with pytest.raises(KerasSuError, match="compute_loss returned None"):
        Nothing()(IDS)
