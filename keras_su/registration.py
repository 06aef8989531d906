"""Registration of every class that a saved ``.keras`` file may name.

The public name of a class is frozen by its first release: a file saved today must load after a rename in the code.
"""

import keras

PACKAGE = "keras_su"


def register(item=None, *, name=None):
    """Class decorator: make ``item`` loadable from ``.keras`` files as ``keras_su>Name``.

    Use ``@register``, or ``@register(name="OldName")`` after the class was renamed.
    """
    if item is None:
        return lambda decorated: register(decorated, name=name)
    return keras.saving.register_keras_serializable(PACKAGE, name or item.__name__)(item)
