"""How a decoding loop is compiled: the only module here that knows which backend runs.

JAX and TensorFlow compile with XLA, a whole loop as one program where nothing on the host takes part. PyTorch traces one step:
run eagerly, a step spends most of its time in Keras' layer calls.
"""

import warnings
import weakref

import keras
import numpy as np
from keras import ops


class Compiler:
    """Compiles functions of tensors that run a model.

    Arguments and results are nested lists and dictionaries of tensors. A program is made for the shapes of its first call and
    used for those only. Its first argument are the ``weights()`` of the moment, so training or loading goes on as if there were
    no program.

    Args:
        model: whose variables the functions read.
    """

    def __init__(self, model):
        self._variables = model.variables
        self._turned = {}

    def weights(self):
        """The weights as they are now. Take them once for many calls: Keras needs about a millisecond to hand out a hundred."""
        return [variable.value for variable in self._variables]

    def program(self, function, consumes=(), turned=()):
        """``function``, compiled at its first call, as a function of the weights and of its own arguments.

        Args:
            function: of positional arguments.
            consumes: numbers of the arguments that are not used afterwards, so that their memory can be.
            turned: matrices to be read from a copy that is stored column by column, where that is faster; see `turned_weights`.
        """
        make = {"jax": self._jax, "tensorflow": self._tensorflow, "torch": self._torch}[keras.backend.backend()]
        return make(function, consumes, {id(v) for v in turned})

    def loop(self, start, advance, turned=()):
        """Program of ``state = start(...)``, then ``state = advance(state)`` while ``state["going"]`` (boolean scalar)."""
        whole = lambda go_on, *arguments: ops.while_loop(lambda state: state["going"], go_on, start(*arguments))  # noqa: E731
        if keras.backend.backend() == "tensorflow":
            return self._tensorflow(lambda *arguments: whole(advance, *arguments), (), {})
        if keras.backend.backend() == "jax":
            # Turned matrices are for the few rows of a step, and slow for the many of the prompt.
            return self._jax(whole, (), {id(v) for v in turned}, inner=advance)
        begin, go_on = self.program(start), self.program(advance, consumes=(0,), turned=turned)

        def run(weights, *arguments):
            state = begin(weights, *arguments)
            while bool(state["going"]):
                state = go_on(weights, state)
            return state

        return run

    def _with_copies(self, weights, turned, turn, version):
        """``weights``, where those of ``turned`` are replaced by copies that are kept until the variable changes."""
        values = list(weights)
        for number, variable in enumerate(self._variables if turned else ()):
            if id(variable) in turned:
                value, known = weights[number], self._turned.get(id(variable))
                if known is None or known[0]() is not value or known[1] != version(value):
                    known = self._turned[id(variable)] = (weakref.ref(value), version(value), turn(value))
                values[number] = known[2]
        return values

    def _jax(self, function, consumes, turned, inner=None):
        import jax

        variables = self._variables

        def scoped(function, weights):
            def run(*arguments):
                with weights_in_place(variables, weights):
                    return function(*arguments)

            return run

        def run(weights, copies, *arguments):
            # Outside of the loop: inside, XLA would turn the matrices anew at every step.
            copies = [c.T if id(v) in turned else c for v, c in zip(variables, copies)]
            if inner is None:
                return scoped(function, copies)(*arguments)
            return scoped(function, weights)(scoped(inner, copies), *arguments)

        program, turn = jax.jit(run, donate_argnums=[number + 2 for number in consumes]), jax.jit(lambda x: x.T)
        return lambda weights, *arguments: program(weights, self._with_copies(weights, turned, turn, id), *arguments)

    def _tensorflow(self, function, consumes, turned):
        import tensorflow as tf

        program = tf.function(function, jit_compile=True, autograph=False)
        return lambda weights, *arguments: program(*keras.tree.map_structure(tf.convert_to_tensor, arguments))

    def _torch(self, function, consumes, turned):
        import torch

        variables, traced, structure, template = self._variables, None, None, None
        turn = lambda value: value.detach().t().contiguous().t()  # noqa: E731
        version = lambda value: value._version  # noqa: E731

        def run(*flat):
            nonlocal structure
            weights, arguments = flat[: len(variables)], keras.tree.pack_sequence_as(template, list(flat[len(variables) :]))
            with weights_in_place(variables, weights):
                result = function(*arguments)
            structure = keras.tree.map_structure(lambda _: 0, result)
            return tuple(keras.tree.flatten(result))

        def call(weights, *arguments):
            nonlocal traced, template
            with torch.inference_mode():
                weights = self._with_copies(weights, turned, turn, version)
                arguments = keras.tree.map_structure(ops.convert_to_tensor, arguments)
                flat = keras.tree.flatten(arguments)
                if traced is None:
                    template = keras.tree.map_structure(lambda _: 0, arguments)
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes are constants here, on purpose
                        warnings.simplefilter("ignore", DeprecationWarning)
                        examples = [x.clone() for x in flat]  # tracing runs the function, which writes in place
                        traced = torch.jit.trace(run, (*weights, *examples), check_trace=False)
                return keras.tree.pack_sequence_as(structure, list(traced(*weights, *flat)))

        return call


def weights_in_place(variables, weights):
    """A scope in which variables have the values of some tensors.

    Without initialisation at its end: no variable is made here, and those that another scope left behind are not ours to make
    while a program is traced.
    """
    return keras.StatelessScope(state_mapping=list(zip(variables, weights)), initialize_variables=False)


def turned_weights(matrices, table, rows):
    """Which matrices a program should read column by column, by measurement on CPUs: products with few rows are bound by memory,
    and the libraries do not read both layouts equally well.

    Args:
        matrices: variables ``(width in, width out)`` of dense layers.
        table: variable ``(vocab_size, width)`` of a tied head, or ``None``.
        rows: number of rows of the products.
    """
    backend = keras.backend.backend()
    if not _on_cpu(backend):
        return []
    found = [v for v in matrices if rows == 1 and v.shape[0] >= 2 * v.shape[1]] if backend != "tensorflow" else []
    if table is not None and backend == "torch":
        found.append(table)
    return [v for v in found if v.dtype == "float32" and int(np.prod(v.shape)) * 4 <= COPIED_BYTES]


COPIED_BYTES = 512 * 2**20
"""Larger matrices are not copied."""


def _on_cpu(backend):
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    if backend == "torch":
        import torch

        return not torch.cuda.is_available()
    return True


def write_in_place(slots, new, offset, axis):
    """``write`` of :class:`~keras_su.cache.KVCache` for PyTorch; ``None`` elsewhere, where programs reuse memory themselves."""
    places = offset + ops.arange(new.shape[axis], dtype="int32")
    return slots.index_copy_(axis, places.long(), new)


def cache_writer():
    """What a cache writes with on this backend."""
    return write_in_place if keras.backend.backend() == "torch" else None
