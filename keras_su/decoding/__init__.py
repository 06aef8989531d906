"""Decoding: search over token sequences and the constraints on it."""

from keras_su.decoding.beam import Hypotheses, Hypothesis, beam_search
from keras_su.decoding.constraints import LiteralStart, LookAhead, PrefixConstraint
from keras_su.decoding.prefix_tree import PrefixTree

__all__ = ["Hypotheses", "Hypothesis", "LiteralStart", "LookAhead", "PrefixConstraint", "PrefixTree", "beam_search"]
