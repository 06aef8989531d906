"""Data parallelism under its old name."""

import warnings


def data_parallel(model, devices=None, parts=None):
    """The model itself: in Keras 3 the devices are chosen before a model is built.

    Call ``keras.distribution.set_distribution(keras.distribution.DataParallel())`` first (JAX), or use the launcher of PyTorch or
    a ``MirroredStrategy`` of TensorFlow.
    """
    warnings.warn(
        "data_parallel does nothing on Keras 3. Call keras.distribution.set_distribution(keras.distribution.DataParallel()) "
        "before the model is built.",
        stacklevel=2,
    )
    return model
