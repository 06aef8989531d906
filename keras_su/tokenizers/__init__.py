"""Tokenizers: texts to ids and back."""

from keras_su.tokenizers.base import TokenizerBase
from keras_su.tokenizers.segmentation import segmenter
from keras_su.tokenizers.sentencepiece import SpTokenizer
from keras_su.tokenizers.text import lowercase_and_normalize
from keras_su.tokenizers.tokenizer_json import JsonTokenizer
from keras_su.tokenizers.vocab import load_vocab, save_vocab
from keras_su.tokenizers.wordpiece import Tokenizer

__all__ = [
    "JsonTokenizer",
    "SpTokenizer",
    "Tokenizer",
    "TokenizerBase",
    "load_vocab",
    "lowercase_and_normalize",
    "save_vocab",
    "segmenter",
]
