"""From samples to batches: padding, generators, buckets of similar length, noise, work in parallel, texts and files."""

from keras_su.data.batching import as_tuples, sequence_padding, truncate_sequences
from keras_su.data.buckets import BucketedDataset
from keras_su.data.files import IndexedTextFile
from keras_su.data.generator import DataGenerator
from keras_su.data.masking import whole_word_mask
from keras_su.data.parallel import parallel_apply, parallel_apply_generator
from keras_su.data.text import text_segmentate

__all__ = [
    "BucketedDataset",
    "DataGenerator",
    "IndexedTextFile",
    "as_tuples",
    "parallel_apply",
    "parallel_apply_generator",
    "sequence_padding",
    "text_segmentate",
    "truncate_sequences",
    "whole_word_mask",
]
