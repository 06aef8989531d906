"""Decoding: search over token sequences and the constraints on it."""

from keras_su.decoding.beam import Hypotheses, Hypothesis, beam_search
from keras_su.decoding.generate import Generation, Piece, generate, stream
from keras_su.decoding.search import Beam, Greedy, Sample
from keras_su.decoding.constraints import LiteralStart, LookAhead, PrefixConstraint
from keras_su.decoding.prefix_tree import PrefixTree

__all__ = [
    "Beam",
    "Generation",
    "Greedy",
    "Hypotheses",
    "Hypothesis",
    "LiteralStart",
    "LookAhead",
    "Piece",
    "PrefixConstraint",
    "PrefixTree",
    "Sample",
    "beam_search",
    "generate",
    "stream",
]
