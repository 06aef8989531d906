"""Loading by a mapping of the kind that bert4keras' classes have: layer name -> tensor names, in the order of the weights."""

import keras

from keras_su.errors import CheckpointError, nearest
from keras_su.weights.names import Source
from keras_su.weights.readers import open_checkpoint
from keras_su.weights.report import LoadReport


def mapping_of(handle):
    """Layer name -> names of its weights in a TF checkpoint, for the layers that the family's table knows completely."""
    table = next((name_map for name_map in handle.family.maps if name_map.format == "tf"), None)
    mapping = {}
    for full_name, layer in handle.layers.items():
        name = full_name.removeprefix(handle.prefix)
        paths = [variable.path.removeprefix(handle.prefix) for variable in layer.trainable_weights]
        sources = [table and table.find(path) for path in paths]
        if paths and all(source is not None and source.piece is None for source in sources):
            mapping[name] = [source.name for source in sources]
    return mapping


def load_mapped(handle, checkpoint, mapping, ignore_missing=False):
    """Assign the tensors of a mapping to the trainable weights of each layer.

    A name goes to the first weight left whose shape it has, so that a list may also be in an order of its own. Operations
    between file and model (transposed matrices, rows of the vocabulary) are those of the family's table. Nothing is assigned
    unless everything fits.

    Args:
        handle: a model class instance.
        checkpoint: as :func:`keras_su.weights.open_checkpoint` takes it.
        mapping: layer name without prefix -> tensor names. Layers that the model lacks are passed over.
        ignore_missing: leave weights alone whose tensor the file lacks.

    Returns:
        a :class:`~keras_su.weights.report.LoadReport`.

    Raises:
        CheckpointError: a tensor is missing, or fits no weight.
    """
    tables = [name_map for name_map in handle.family.maps if name_map.format == "tf"]
    plan = []
    with open_checkpoint(checkpoint) as reader:
        names = set(reader.names())
        report = LoadReport(source=str(reader.path), family=handle.family.name, table="variable_mapping")
        for layer_name, tensors in mapping.items():
            layer = handle.layers.get(handle.prefixed(layer_name))
            if not isinstance(layer, keras.layers.Layer):
                continue
            weights = list(layer.trainable_weights)
            for tensor in tensors:
                if tensor not in names:
                    if not ignore_missing:
                        near = "".join(f" The nearest name is {n!r}." for n in nearest(tensor, names))
                        raise CheckpointError(f"{reader.path} has no tensor {tensor!r}, which {layer_name} asks for.{near}")
                    report.missing.append((layer_name, tensor))
                    continue
                array = _value(handle, tables, reader, tensor)
                fitting = [weight for weight in weights if tuple(weight.shape) == array.shape]
                if not fitting:
                    left = [tuple(weight.shape) for weight in weights]
                    raise CheckpointError(f"{tensor!r} {array.shape} fits no weight of {layer_name}; those left have {left}.")
                weights = [weight for weight in weights if weight is not fitting[0]]  # variables compare by value
                plan.append((fitting[0], array))
    for weight, array in plan:
        weight.assign(array)
    report.loaded = len(plan)
    handle.report = report
    return report


def _value(handle, tables, reader, tensor):
    """The tensor as the model has it."""
    source = next((t.rows[path] for t in tables if (path := t.path_of(tensor)) is not None), Source(tensor))
    array = source.forward(reader.read(tensor))
    return handle.rows.select(array) if source.vocabulary == "rows" and handle.rows else array
