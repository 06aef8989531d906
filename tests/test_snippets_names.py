"""The list of names that scripts import, and the small helpers behind some of them."""

import numpy as np
import pytest

from keras_su import snippets
from keras_su.errors import KerasSuError
from keras_su.snippets import delete_arguments, insert_arguments, is_one_of, orthogonally_resize, softmax

# Top-level names of bert4keras' module.
NAMES = """
AutoRegressiveDecoder DataGenerator Hook ViterbiDecoder WebServing basestring convert_to_str convert_to_unicode
delete_arguments insert_arguments is_one_of is_py2 is_string longest_common_subsequence longest_common_substring
lowercase_and_normalize open orthogonally_resize parallel_apply parallel_apply_generator sequence_padding softmax strQ2B
string_matching text_segmentate to_array truncate_sequences uniout
""".split()


def test_every_name_is_there():
    assert sorted(snippets.__all__) == sorted(NAMES)
    assert [name for name in NAMES if not hasattr(snippets, name)] == []
    assert snippets.is_py2 is False and snippets.basestring is str


def test_softmax():
    x = np.random.default_rng(0).normal(size=(3, 4)) * 50
    for axis in (-1, 0):
        wanted = np.exp(x - x.max(axis, keepdims=True))
        np.testing.assert_allclose(softmax(x, axis), wanted / wanted.sum(axis, keepdims=True), rtol=1e-12)
    assert softmax(np.array([[0, -np.inf], [-np.inf, -np.inf]])).tolist() == [[1, 0], [0, 0]]
    assert softmax(np.zeros(60000, "float16")).dtype == "float16"
    np.testing.assert_allclose(softmax(np.zeros(4, "float16")), 0.25)
    assert softmax(np.array([1, 1])).tolist() == [0.5, 0.5]


def test_is_one_of():
    a, b = np.ones(2), np.ones(2)
    assert is_one_of(a, [b, a]) and not is_one_of(a, [b]) and not is_one_of(a, [])


def test_resized_matrices():
    a = np.random.default_rng(0).normal(size=(4, 6))
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    for shape in ((4, 6), (2, 6), (8, 9), (3, 24)):
        found = orthogonally_resize(a, shape)
        assert found.shape == shape
        np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(a))
    np.testing.assert_allclose(orthogonally_resize(a, (2, 3)) / orthogonally_resize(a, (2, 3))[0, 0], a[:2, :3] / a[0, 0])
    wider = orthogonally_resize(rotation, (4, 8))  # rows stay orthogonal, and blocks of two columns stand twice
    np.testing.assert_allclose(wider @ wider.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(wider[:, :2], wider[:, 2:4])
    for shape, message in (((4,), "new_shape"), ((4, 6, 1), "new_shape")):
        with pytest.raises(KerasSuError, match=message):
            orthogonally_resize(a, shape)
    with pytest.raises(KerasSuError, match="a divisor of 4, the size of axis 0"):
        orthogonally_resize(a, (5, 6), window=3)


def test_arguments_of_methods():
    class Base:
        def __init__(self, size, depth=1):
            self.size, self.depth = size, depth

    class Model(Base):
        @delete_arguments("depth")
        @insert_arguments(with_pool=False, rate=0.1)
        def __init__(self, *args, **kwargs):
            """Docs stay."""
            super().__init__(*args, **kwargs)

    model = Model(3, rate=0.5)
    assert (model.size, model.with_pool, model.rate, model.depth) == (3, False, 0.5, 1)
    with pytest.raises(TypeError, match=r"Model\(\) got an unexpected keyword argument 'depth'"):
        Model(3, depth=2)
    assert Model.__init__.__doc__ == "Docs stay."
