"""``K``: the functions of Keras 2's backend that scripts use, on ``keras.ops``.

Names, arguments and meaning are those of ``keras.backend`` 2.3, with bert4keras' richer :func:`reshape`, :func:`flatten` and
:func:`where`. Differences that scripts notice:

- shapes are tuples instead of tensors;
- :func:`zeros` and :func:`ones` return tensors instead of variables;
- dtypes may be mixed, booleans are summed, and the mean of integers is a float;
- there are no sessions, no placeholders and no symbolic gradients.

A name that is missing here is looked up in ``keras.ops``.
"""

# ruff: noqa: F401  (this module collects the names of the others)

import keras
from keras import ops

from keras_su.backend.crossentropy import binary_crossentropy, categorical_crossentropy, sparse_categorical_crossentropy
from keras_su.backend.elementwise import (
    abs,
    clip,
    cos,
    elu,
    equal,
    exp,
    greater,
    greater_equal,
    hard_sigmoid,
    less,
    less_equal,
    log,
    maximum,
    minimum,
    not_equal,
    ones_like,
    pow,
    relu,
    round,
    sigmoid,
    sign,
    sin,
    softmax,
    softplus,
    softsign,
    sqrt,
    square,
    stop_gradient,
    tanh,
    zeros_like,
)
from keras_su.backend.graph import symbolic
from keras_su.backend.phases import in_test_phase, in_train_phase, learning_phase
from keras_su.backend.random import (
    dropout,
    random_bernoulli,
    random_binomial,
    random_normal,
    random_uniform,
    truncated_normal,
)
from keras_su.backend.reductions import (
    all,
    any,
    argmax,
    argmin,
    cumprod,
    cumsum,
    in_top_k,
    l2_normalize,
    logsumexp,
    max,
    mean,
    min,
    prod,
    std,
    sum,
    var,
)
from keras_su.backend.several import batch_dot, bias_add, concatenate, dot, gather, map_fn, one_hot, stack, switch, where
from keras_su.backend.shapes import (
    batch_flatten,
    cast,
    cast_to_floatx,
    count_params,
    dtype,
    expand_dims,
    flatten,
    int_shape,
    ndim,
    permute_dimensions,
    repeat,
    repeat_elements,
    reshape,
    reverse,
    shape,
    slice,
    squeeze,
    temporal_padding,
    tile,
    transpose,
)
from keras_su.backend.variables import (
    arange,
    batch_get_value,
    batch_set_value,
    constant,
    eval,
    eye,
    get_value,
    identity,
    moving_average_update,
    ones,
    set_value,
    update,
    update_add,
    update_sub,
    variable,
    zeros,
)
from keras_su.errors import KerasSuError, did_you_mean

floatx = keras.config.floatx
set_floatx = keras.config.set_floatx
epsilon = keras.config.epsilon
set_epsilon = keras.config.set_epsilon
image_data_format = keras.config.image_data_format
set_image_data_format = keras.config.set_image_data_format
backend = keras.config.backend
name_scope = keras.name_scope
clear_session = keras.utils.clear_session
is_keras_tensor = keras.backend.is_keras_tensor

_NO_SESSIONS = "There are no sessions in Keras 3: everything runs at once."
_GONE = {
    "gradients": "Use keras_su.training: gradients(function, inputs), adversarial_training, virtual_adversarial_training, "
    "gradient_penalty, gradients_of_layer, integrated_gradients.",
    "function": "Make a model, keras.models.Model(inputs, outputs), and call predict. For gradients use keras_su.training: "
    "gradients_of_layer, integrated_gradients.",
    "get_session": _NO_SESSIONS,
    "set_session": _NO_SESSIONS,
    "placeholder": "Use keras.Input.",
    "set_learning_phase": "Pass training=True or training=False when you call the model.",
    "rnn": "Use keras.layers.RNN, or keras.ops.scan.",
    # Keras 3 has these names in keras.ops, with other arguments.
    "batch_normalization": "Use keras.layers.BatchNormalization, or keras.ops.batch_normalization with its arguments.",
    "ctc_decode": "Use keras.ops.ctc_decode with its arguments.",
}


def __getattr__(name):
    if name in _GONE:

        def gone(*args, **kwargs):
            raise KerasSuError(f"K.{name} does not exist on Keras 3. {_GONE[name]}")

        return gone
    if not name.startswith("_") and hasattr(ops, name):
        return getattr(ops, name)
    known = [*globals(), *dir(ops), *_GONE]
    raise AttributeError(f"K has no {name!r}.{did_you_mean(name, [k for k in known if not k.startswith('_')])}")
