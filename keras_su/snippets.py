"""Where scripts for bert4keras look for names: ``from keras_su.snippets import sequence_padding, DataGenerator, open``.

Every name lives elsewhere; this is the list. `open` replaces Python's in the module that imports it, as it did there.
"""

from keras_su.data.arrays import delete_arguments, insert_arguments, is_one_of, orthogonally_resize, softmax
from keras_su.data.batching import sequence_padding, to_array, truncate_sequences
from keras_su.data.files import open
from keras_su.data.generator import DataGenerator
from keras_su.data.parallel import parallel_apply, parallel_apply_generator
from keras_su.data.text import (
    convert_to_str,
    convert_to_unicode,
    is_string,
    longest_common_subsequence,
    longest_common_substring,
    string_matching,
    strQ2B,
    text_segmentate,
)
from keras_su.decoding.auto_regressive import AutoRegressiveDecoder
from keras_su.decoding.viterbi import ViterbiDecoder
from keras_su.serving import WebServing
from keras_su.tokenizers.text import lowercase_and_normalize

# From the time of two Pythons. `Hook` and `uniout` made Python 2 print lists of Chinese strings; Python 3 does so by itself.
is_py2 = False
basestring = str
uniout = Hook = None

__all__ = [
    "AutoRegressiveDecoder",
    "DataGenerator",
    "Hook",
    "ViterbiDecoder",
    "WebServing",
    "basestring",
    "convert_to_str",
    "convert_to_unicode",
    "delete_arguments",
    "insert_arguments",
    "is_one_of",
    "is_py2",
    "is_string",
    "longest_common_subsequence",
    "longest_common_substring",
    "lowercase_and_normalize",
    "open",
    "orthogonally_resize",
    "parallel_apply",
    "parallel_apply_generator",
    "sequence_padding",
    "softmax",
    "strQ2B",
    "string_matching",
    "text_segmentate",
    "to_array",
    "truncate_sequences",
    "uniout",
]
