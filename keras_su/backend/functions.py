"""``K``: the functions of Keras 2's backend that scripts use, on ``keras.ops``.

Names, arguments and meaning are those of ``keras.backend`` 2.3. Differences that scripts notice: shapes are tuples instead of
tensors, :func:`zeros` and :func:`ones` return tensors instead of variables, and there are no sessions, no placeholders and no
symbolic gradients. A name that is missing here is looked up in ``keras.ops``.
"""

import builtins

import keras
import numpy as np
from keras import ops

from keras_su.backend.calls import current_call
from keras_su.backend.random import (  # noqa: F401
    dropout,
    random_bernoulli,
    random_binomial,
    random_normal,
    random_uniform,
    truncated_normal,
)
from keras_su.errors import KerasSuError, did_you_mean

# ---- settings

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

# ---- elementwise functions that Keras 3 has under the same name with the same meaning

abs = ops.abs
cos = ops.cos
elu = ops.elu
equal = ops.equal
exp = ops.exp
greater = ops.greater
greater_equal = ops.greater_equal
less = ops.less
less_equal = ops.less_equal
log = ops.log
maximum = ops.maximum
minimum = ops.minimum
not_equal = ops.not_equal
relu = ops.relu
sigmoid = ops.sigmoid
sign = ops.sign
sin = ops.sin
softplus = ops.softplus
softsign = ops.softsign
sqrt = ops.sqrt
square = ops.square
stop_gradient = ops.stop_gradient
tanh = ops.tanh
zeros_like = ops.zeros_like
ones_like = ops.ones_like
clip = ops.clip


def pow(x, a):
    """``x`` to the power ``a``."""
    return ops.power(x, a)


def round(x):
    """The nearest integer, halves to the even one."""
    return ops.round(x)


def softmax(x, axis=-1):
    """Softmax over an axis."""
    return ops.softmax(x, axis=axis)


def hard_sigmoid(x):
    """``clip(0.2 x + 0.5, 0, 1)``, as Keras 2 has it (Keras 3 divides by 6)."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


# ---- reductions


def _numbers(x):
    """Booleans as numbers."""
    return ops.cast(x, floatx()) if dtype(x) == "bool" else x


def sum(x, axis=None, keepdims=False):
    """Sum over an axis, a list of them, or everything."""
    return ops.sum(_numbers(x), axis=_axes(axis), keepdims=keepdims)


def mean(x, axis=None, keepdims=False):
    """Mean over an axis, a list of them, or everything; of booleans, too."""
    return ops.mean(_numbers(x), axis=_axes(axis), keepdims=keepdims)


def prod(x, axis=None, keepdims=False):
    """Product over an axis, a list of them, or everything; ``x`` may be a shape."""
    return ops.prod(_numbers(_tensor(x)), axis=_axes(axis), keepdims=keepdims)


def max(x, axis=None, keepdims=False):
    """Largest value."""
    return ops.max(x, axis=_axes(axis), keepdims=keepdims)


def min(x, axis=None, keepdims=False):
    """Smallest value."""
    return ops.min(x, axis=_axes(axis), keepdims=keepdims)


def std(x, axis=None, keepdims=False):
    """Standard deviation."""
    return ops.std(x, axis=_axes(axis), keepdims=keepdims)


def var(x, axis=None, keepdims=False):
    """Variance."""
    return ops.var(x, axis=_axes(axis), keepdims=keepdims)


def any(x, axis=None, keepdims=False):
    """Whether any entry is not zero."""
    return ops.any(ops.cast(x, "bool"), axis=_axes(axis), keepdims=keepdims)


def all(x, axis=None, keepdims=False):
    """Whether no entry is zero."""
    return ops.all(ops.cast(x, "bool"), axis=_axes(axis), keepdims=keepdims)


def logsumexp(x, axis=None, keepdims=False):
    """``log(sum(exp(x)))`` without overflow."""
    return ops.logsumexp(x, axis=_axes(axis), keepdims=keepdims)


def argmax(x, axis=-1):
    """Place of the largest value."""
    return ops.argmax(x, axis=axis)


def argmin(x, axis=-1):
    """Place of the smallest value."""
    return ops.argmin(x, axis=axis)


def cumsum(x, axis=0):
    """Sums of everything up to each place."""
    return ops.cumsum(x, axis=axis)


def cumprod(x, axis=0):
    """Products of everything up to each place."""
    return ops.cumprod(x, axis=axis)


def l2_normalize(x, axis=None):
    """``x`` divided by its length; zeros stay zeros."""
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), 1e-12))


def _axes(axis):
    return tuple(axis) if isinstance(axis, list) else axis


# ---- shapes and dtypes


def _tensor(x):
    return x if hasattr(x, "dtype") and hasattr(x, "shape") else ops.convert_to_tensor(x)


def dtype(x):
    """The dtype as a string, ``None`` for what has none."""
    return keras.backend.standardize_dtype(x.dtype) if hasattr(x, "dtype") else None


def cast(x, dtype):
    """``x`` in another dtype; Python numbers, lists and shapes become tensors."""
    return ops.cast(_tensor(x), dtype)


def shape(x):
    """The shape as a tuple; a length that is known at run time only is a number or a scalar tensor then."""
    return ops.shape(x)


def int_shape(x):
    """The static shape, ``None`` where it is not known."""
    return tuple(x.shape)


def ndim(x):
    """Number of axes."""
    return len(x.shape)


def reshape(x, shape):
    """``x`` in another shape; one entry may be -1."""
    return ops.reshape(x, tuple(shape) if isinstance(shape, list) else shape)


def flatten(x):
    """All values in one axis."""
    return ops.reshape(x, (-1,))


def batch_flatten(x):
    """All values of each sample in one axis."""
    return ops.reshape(x, (ops.shape(x)[0], -1))


def expand_dims(x, axis=-1):
    """A new axis of length 1."""
    return ops.expand_dims(x, axis)


def squeeze(x, axis):
    """Without an axis of length 1."""
    return ops.squeeze(x, axis)


def transpose(x):
    """The axes in reverse order."""
    return ops.transpose(x)


def permute_dimensions(x, pattern):
    """The axes in the order ``pattern``."""
    return ops.transpose(x, pattern)


def tile(x, n):
    """Copies side by side, ``n[i]`` along axis i."""
    return ops.tile(x, n)


def repeat(x, n):
    """``(batch, dim)`` to ``(batch, n, dim)``."""
    return ops.repeat(ops.expand_dims(x, 1), n, axis=1)


def repeat_elements(x, rep, axis):
    """Each entry of an axis ``rep`` times in a row."""
    return ops.repeat(x, rep, axis=axis)


def temporal_padding(x, padding=(1, 1)):
    """Zeros before and behind the steps of ``(batch, length, dim)``."""
    return ops.pad(x, [[0, 0], list(padding), [0, 0]])


def reverse(x, axes):
    """The axes backwards."""
    return ops.flip(x, axis=_axes(axes))


def slice(x, start, size):
    """``size`` entries from ``start`` on, for each axis; a size of -1 goes to the end."""
    parts = [builtins.slice(b, None if isinstance(s, int) and s == -1 else b + s) for b, s in zip(start, size)]
    return x[tuple(parts)]


# ---- several tensors


def _alike(tensors):
    """Tensors of one dtype: what is a Python list or an array among them becomes one with the dtype of the others."""
    kind = next((t.dtype for t in tensors if hasattr(t, "dtype") and not isinstance(t, np.ndarray)), None)
    if kind is None:
        return [ops.convert_to_tensor(t) for t in tensors]
    return [t if hasattr(t, "dtype") and t.dtype == kind else ops.cast(_tensor(t), dtype_of(kind)) for t in tensors]


def dtype_of(kind):
    """A backend's dtype as a string."""
    return keras.backend.standardize_dtype(kind)


def concatenate(tensors, axis=-1):
    """Join tensors along an axis. Python lists among them are taken, too; all get the dtype of the first tensor."""
    return ops.concatenate(_alike(tensors), axis=axis)


def stack(x, axis=0):
    """Join tensors along a new axis."""
    return ops.stack(_alike(x), axis=axis)


def where(condition, x, y):
    """``x`` where the condition holds, ``y`` elsewhere, with broadcasting."""
    return ops.where(ops.cast(condition, "bool"), x, y)


def switch(condition, then_expression, else_expression):
    """One of two tensors, or of two functions without arguments that return tensors.

    A condition with fewer axes than the tensors decides about whole rows.
    """
    condition = ops.cast(_tensor(condition), "bool")
    if ndim(condition) == 0 and callable(then_expression):
        return ops.cond(condition, then_expression, else_expression)
    then_value, else_value = (e() if callable(e) else _tensor(e) for e in (then_expression, else_expression))
    for _ in range(builtins.max(ndim(then_value), ndim(else_value)) - ndim(condition)):
        condition = ops.expand_dims(condition, -1)
    return ops.where(condition, then_value, else_value)


def gather(reference, indices):
    """Rows of ``reference``."""
    return ops.take(reference, ops.cast(_tensor(indices), "int32"), axis=0)


def one_hot(indices, num_classes):
    """Vectors with a one at the index."""
    return ops.one_hot(ops.cast(indices, "int32"), num_classes, dtype=floatx())


def dot(x, y):
    """Product over the last axis of ``x`` and the last but one of ``y``."""
    return ops.dot(x, y)


def batch_dot(x, y, axes=None):
    """Product within each sample over one axis of each tensor.

    Args:
        x: ``(batch, ...)``.
        y: ``(batch, ...)``.
        axes: axis of ``x`` and axis of ``y``, or one number for both; default: the last of ``x`` and the last but one of ``y``.

    Returns:
        the other axes of ``x``, then those of ``y``; ``(batch, 1)`` when nothing is left.
    """
    ranks = ndim(x), ndim(y)
    if axes is None:
        axes = (ranks[0] - 1, ranks[1] - 1 if ranks[1] == 2 else ranks[1] - 2)
    axes = (axes, axes) if isinstance(axes, int) else axes
    axes = [a % rank for a, rank in zip(axes, ranks)]
    letters = [["a", *"bcdefg"[: ranks[0] - 1]], ["a", *"hijklm"[: ranks[1] - 1]]]
    for side in (0, 1):
        letters[side][axes[side]] = "z"
    rest = [letter for side in letters for letter in side[1:] if letter != "z"]
    result = ops.einsum(f"{''.join(letters[0])},{''.join(letters[1])}->{''.join(['a', *rest])}", x, y)
    return result if rest else ops.expand_dims(result, -1)


# ---- new tensors and variables


def zeros(shape, dtype=None, name=None):
    """A tensor of zeros."""
    return ops.zeros(shape, dtype=dtype or floatx())


def ones(shape, dtype=None, name=None):
    """A tensor of ones."""
    return ops.ones(shape, dtype=dtype or floatx())


def eye(size, dtype=None, name=None):
    """The unit matrix."""
    return ops.eye(size, dtype=dtype or floatx())


def arange(start, stop=None, step=1, dtype="int32"):
    """Numbers from ``start`` (0 if only one is given) to before ``stop``."""
    return ops.arange(0, start, step, dtype=dtype) if stop is None else ops.arange(start, stop, step, dtype=dtype)


def constant(value, dtype=None, shape=None, name=None):
    """A tensor, of one value if there is a shape."""
    value = ops.convert_to_tensor(value, dtype=dtype or floatx())
    return value if shape is None else ops.broadcast_to(value, shape)


def variable(value, dtype=None, name=None, constraint=None):
    """A Keras variable."""
    name = None if name is None else name.replace("/", "_")
    return keras.Variable(ops.convert_to_tensor(value, dtype=dtype or floatx()), name=name)


def identity(x, name=None):
    """``x``."""
    return x


def eval(x):
    """The numbers of a tensor, a variable or a schedule as an array (a NumPy scalar for one number)."""
    return np.asarray(ops.convert_to_numpy(x))[()]


get_value = eval


def set_value(x, value):
    """Assign to a variable."""
    x.assign(value)


def batch_get_value(tensors):
    """:func:`eval` of each."""
    return [eval(x) for x in tensors]


def batch_set_value(tuples):
    """Assign to many variables: pairs ``(variable, value)``."""
    for x, value in tuples:
        x.assign(value)


def update(x, new_x):
    """Assign to a variable."""
    x.assign(new_x)
    return x


def update_add(x, increment):
    """Add to a variable."""
    x.assign_add(increment)
    return x


def update_sub(x, decrement):
    """Subtract from a variable."""
    x.assign_sub(decrement)
    return x


# ---- losses


def categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """Cross-entropy of distributions, one number for each."""
    return ops.categorical_crossentropy(ops.cast(target, output.dtype), output, from_logits=from_logits, axis=axis)


def sparse_categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """Cross-entropy of class numbers of any dtype, ``(...)`` or ``(..., 1)``, with distributions ``(..., classes)``."""
    target = ops.cast(target, "int32")
    if ndim(target) == ndim(output):
        target = ops.squeeze(target, -1)
    return ops.sparse_categorical_crossentropy(target, output, from_logits=from_logits, axis=axis)


def binary_crossentropy(target, output, from_logits=False):
    """Cross-entropy of probabilities, entry by entry."""
    return ops.binary_crossentropy(ops.cast(target, output.dtype), output, from_logits=from_logits)


# ---- training or not


def in_train_phase(x, alt, training=None):
    """``x`` (a tensor, or a function that makes it) while a model trains, ``alt`` otherwise."""
    training = learning_phase() if training is None else training
    if isinstance(training, (bool, int)):
        chosen = x if training else alt
        return chosen() if callable(chosen) else chosen
    return switch(training, x, alt)


def in_test_phase(x, alt, training=None):
    """The opposite of :func:`in_train_phase`."""
    return in_train_phase(alt, x, training)


def learning_phase():
    """Whether the call that runs at this moment is one of training."""
    return builtins.bool(getattr(current_call(), "training", None))


# ---- what Keras 3 has no counterpart of

_GONE = {
    "gradients": "Use keras_su.training: gradients(function, inputs), adversarial_training, virtual_adversarial_training, "
    "gradient_penalty, integrated_gradients.",
    "function": "Make a model, keras.Model(inputs, outputs), and call predict. For gradients use keras_su.training.",
    "get_session": "There are no sessions in Keras 3: everything runs at once.",
    "set_session": "There are no sessions in Keras 3: everything runs at once.",
    "placeholder": "Use keras.Input.",
    "set_learning_phase": "Pass training=True or training=False when you call the model.",
}


def __getattr__(name):
    if name in _GONE:

        def gone(*args, **kwargs):
            raise KerasSuError(f"K.{name} does not exist on Keras 3. {_GONE[name]}")

        return gone
    if hasattr(ops, name):
        return getattr(ops, name)
    known = [*globals(), *dir(ops)]
    raise AttributeError(f"K has no {name!r}.{did_you_mean(name, [k for k in known if not k.startswith('_')])}")
