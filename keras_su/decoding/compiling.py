"""How a decoding loop is compiled: the only module here that knows which backend runs.

JAX and TensorFlow compile with XLA, a whole loop as one program where nothing on the host takes part. PyTorch traces one step: run
eagerly, a step spends most of its time in Keras' layer calls (measured: 45 ms against 9 ms for a model of six layers of 384).
"""

import warnings

import keras
from keras import ops


class Compiler:
    """Compiles functions of tensors that run a model.

    Arguments and results are nested lists and dictionaries of tensors. A program is made for the shapes of its first call and used
    for those only. Weights are inputs of the program, so training or loading goes on as if there were no program.

    Args:
        model: whose variables the functions read.
    """

    def __init__(self, model):
        self._variables = model.variables

    def program(self, function, consumes=()):
        """``function``, compiled at its first call.

        Args:
            function: of positional arguments.
            consumes: numbers of the arguments that are not used afterwards, so that their memory can be.
        """
        return {"jax": self._jax, "tensorflow": self._tensorflow, "torch": self._torch}[keras.backend.backend()](function, consumes)

    def loop(self, start, advance):
        """Program of ``state = start(...)``, then ``state = advance(state)`` while ``state["going"]`` (boolean scalar)."""
        if keras.backend.backend() != "torch":
            return self.program(lambda *arguments: ops.while_loop(lambda state: state["going"], advance, start(*arguments)))
        begin, go_on = self.program(start), self.program(advance, consumes=(0,))

        def run(*arguments):
            state = begin(*arguments)
            while bool(state["going"]):
                state = go_on(state)
            return state

        return run

    def _jax(self, function, consumes):
        import jax

        variables = self._variables

        def run(weights, *arguments):
            with keras.StatelessScope(state_mapping=list(zip(variables, weights))):
                return function(*arguments)

        program = jax.jit(run, donate_argnums=[number + 1 for number in consumes])
        return lambda *arguments: program([v.value for v in variables], *arguments)

    def _tensorflow(self, function, consumes):
        import tensorflow as tf

        program = tf.function(function, jit_compile=True, autograph=False)
        return lambda *arguments: program(*keras.tree.map_structure(tf.convert_to_tensor, arguments))

    def _torch(self, function, consumes):
        import torch

        variables, traced, structure = self._variables, None, None

        def run(*flat):
            nonlocal structure
            weights, arguments = flat[: len(variables)], keras.tree.pack_sequence_as(template, list(flat[len(variables) :]))
            with keras.StatelessScope(state_mapping=list(zip(variables, weights))):
                result = function(*arguments)
            structure = keras.tree.map_structure(lambda _: 0, result)
            return tuple(keras.tree.flatten(result))

        def call(*arguments):
            nonlocal traced, template
            with torch.inference_mode():
                arguments = keras.tree.map_structure(ops.convert_to_tensor, arguments)
                flat = [*(v.value for v in variables), *keras.tree.flatten(arguments)]
                if traced is None:
                    template = keras.tree.map_structure(lambda _: 0, arguments)
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes are constants here, on purpose
                        warnings.simplefilter("ignore", DeprecationWarning)
                        examples = [x.clone() for x in flat]  # tracing runs the function, which writes in place
                        traced = torch.jit.trace(run, tuple(examples), check_trace=False)
                return keras.tree.pack_sequence_as(structure, list(traced(*flat)))

        template = None
        return call


def write_in_place(slots, new, offset):
    """``write`` of :class:`~keras_su.cache.KVCache` for PyTorch; ``None`` elsewhere, where programs reuse memory themselves."""
    places = offset + ops.arange(new.shape[1], dtype="int32")
    return slots.index_copy_(1, places.long(), new)


def cache_writer():
    """What a cache writes with on this backend."""
    return write_in_place if keras.backend.backend() == "torch" else None
