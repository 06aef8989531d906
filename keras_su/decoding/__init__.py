"""Decoding: search over token sequences and the constraints on it."""

from keras_su.decoding.prefix_tree import PrefixTree

__all__ = ["PrefixTree"]
