"""Golden cases of what trains: taggers, losses, optimizers, and the snippets around them."""

import keras
import numpy as np
from keras import ops

import keras_su.layers
from keras_su import losses, optimizers, snippets

TAGGERS = ("ConditionalRandomField", "MaximumEntropyMarkovModel")
FUNCTIONS = ("multilabel_categorical_crossentropy", "sparse_multilabel_categorical_crossentropy", "piecewise_linear")

_EXTENSIONS = {
    "adamw": ("weight_decay",),
    "ema": ("exponential_moving_average",),
    "lamb": ("weight_decay", "layer_adaptation"),
    "lamb_order2": ("layer_adaptation", "weight_decay"),
    "lazy": ("lazy_optimization",),
    "paramwise": ("parameter_wise_lr",),
    "piecewise": ("piecewise_linear_lr",),
    "piecewise_adamw": ("weight_decay", "piecewise_linear_lr"),
}
_PLAIN = {"adafactor": optimizers.AdaFactor, "lion": optimizers.Lion}


def knows(case):
    """Whether :func:`check` can judge a case of the kinds ``layer`` and ``snippets``."""
    return case["name"].startswith("optimizer_") or case["kind"] == "snippets" or case["layer"] in (*TAGGERS, *FUNCTIONS)


def check(case):
    """Judge a :class:`~golden_cases.Case`."""
    name = case.data["name"]
    if case.data["kind"] == "snippets":
        _check_snippets(case)
    elif name.startswith("optimizer_"):
        _check_optimizer(case, name.removeprefix("optimizer_"))
    elif case.data["layer"] in TAGGERS:
        _check_tagger(case)
    else:
        _check_function(case)


def _check_function(case):
    t, name = case.tensors(), case.data["layer"]
    compare = lambda key, value: case.compare(key, value, case.data["tolerance"])  # noqa: E731
    if name == "piecewise_linear":
        schedule = {int(step): factor for step, factor in case.data["kwargs"]["schedule"].items()}
        compare("y", optimizers.piecewise_linear(t["t"], schedule))
        return
    loss = getattr(losses, name)
    compare("loss", loss(t["y_true"], t["y_pred"]))
    if name.startswith("sparse"):
        compare("loss_mask_zero", loss(t["y_true_padded"], t["y_pred"], True))
        return
    hidden = ops.isinf(t["y_pred_inf"])
    compare("loss_inf", loss(ops.where(hidden, 0.0, t["y_true"]), t["y_pred_inf"]))
    compare("loss_soft", loss(t["y_soft"], t["y_pred"]))


def _check_tagger(case):
    t, tolerance = case.tensors(), case.data["tolerance"]
    layer = getattr(keras_su.layers, case.data["layer"])(**case.data["kwargs"])
    layer.build(t["logits"].shape)
    layer.set_weights([case.arrays[f"w_{i:02d}"] for i in range(len(case.data["weights"]))])
    y_pred = layer(t["logits"], mask=t["mask"])
    one_hot = ops.one_hot(t["y_true"], t["logits"].shape[-1])
    case.compare("y_pred", y_pred, tolerance)
    for kind, y_true in (("sparse", t["y_true"]), ("dense", one_hot)):
        for what in ("loss", "accuracy"):
            case.compare(f"{kind}_{what}", getattr(layer, f"{kind}_{what}")(y_true, y_pred), tolerance)
    if "out_viterbi" not in case.arrays:
        return
    case.compare("sparse_loss_nomask", layer.sparse_loss(t["y_true"], t["logits"]), tolerance)
    lengths = case.input("mask").astype(int).sum(axis=1)
    for name, options in (("viterbi", {}), ("viterbi_starts_ends", {"starts": [0, 2], "ends": [1, 2]})):
        decoder = snippets.ViterbiDecoder(ops.convert_to_numpy(layer.trans), **options)
        for row, scores, length in zip(case.arrays[f"out_{name}"], case.input("logits"), lengths):
            np.testing.assert_array_equal(decoder.decode(scores[:length]), row[:length])


def _check_optimizer(case, name):
    arguments = dict(case.data["kwargs"])
    if "lr_schedule" in arguments:
        arguments["lr_schedule"] = {int(step): factor for step, factor in arguments["lr_schedule"].items()}
    made = _PLAIN.get(name.split("_")[0], optimizers.Adam)
    for extension in _EXTENSIONS.get(name, ()):
        made = getattr(optimizers, f"extend_with_{extension}")(made)
    optimizer = made(**arguments)
    names = [key.removeprefix("traj_") for key in case.data["outputs"] if key.startswith("traj_")]
    variables = [keras.Variable(case.input(f"init_{key}"), name=key) for key in names]
    seen = []
    for gradients in zip(*(case.input(f"grads_{key}") for key in names)):
        optimizer.apply_gradients([(ops.convert_to_tensor(g), v) for g, v in zip(gradients, variables)])
        seen.append([ops.convert_to_numpy(v.value).copy() for v in variables])
    for i, key in enumerate(names):
        case.compare(f"traj_{key}", np.stack([step[i] for step in seen]), case.data["tolerance"])
    if name == "ema":
        for kind, corrected in (("corrected", True), ("raw", False)):
            optimizer.apply_ema_weights(bias_correction=corrected)
            for key, variable in zip(names, variables):
                case.compare(f"ema_{kind}_{key}", variable.value, case.data["tolerance"])
            optimizer.reset_old_weights()


def _plain(value):
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _check_snippets(case):
    for name, examples in case.data["functions"].items():
        function = getattr(snippets, name)
        for example in examples:
            arguments = example["args"]
            if name == "truncate_sequences":
                result = [list(sequence) for sequence in arguments["sequences"]]  # which are changed in place
                function(arguments["maxlen"], arguments["indices"], *result)
            elif name == "sequence_padding":
                rows = [np.array(row) for row in arguments["inputs"]]
                result = function(rows, **{key: value for key, value in arguments.items() if key != "inputs"})
            else:
                result = function(*arguments) if isinstance(arguments, list) else function(**arguments)
            assert _plain(result) == example["result"], (name, arguments)
    for shape in ((8, 9), (2, 6)):
        found = snippets.orthogonally_resize(case.input("resize"), shape)
        np.testing.assert_allclose(found, case.arrays["out_resize_{}_{}".format(*shape)], atol=1e-9)
