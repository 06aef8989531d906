"""Decoding: writing texts with language models, searches, and the constraints on them."""

from keras_su.decoding.allowed_tokens import AllowedTokens
from keras_su.decoding.auto_regressive import AutoRegressiveDecoder
from keras_su.decoding.beam import Hypotheses, Hypothesis, beam_search
from keras_su.decoding.candidates import Candidates, Constraint
from keras_su.decoding.constraints import LiteralStart, LookAhead, PrefixConstraint
from keras_su.decoding.generate import Generation, Piece, generate, stream
from keras_su.decoding.grammar import GrammarConstraint
from keras_su.decoding.passages import PassageConstraint
from keras_su.decoding.prefix_tree import PrefixTree
from keras_su.decoding.processors import BadWords, History, MinLength, NoRepeatNGram, Processor, RepetitionPenalty
from keras_su.decoding.search import Beam, Greedy, Sample
from keras_su.decoding.stepper import Stepper
from keras_su.decoding.truncation import MinP, Temperature, TopK, TopP, Typical

__all__ = [
    "AllowedTokens",
    "AutoRegressiveDecoder",
    "BadWords",
    "Beam",
    "Candidates",
    "Constraint",
    "Generation",
    "GrammarConstraint",
    "Greedy",
    "History",
    "Hypotheses",
    "Hypothesis",
    "LiteralStart",
    "LookAhead",
    "MinLength",
    "MinP",
    "NoRepeatNGram",
    "PassageConstraint",
    "Piece",
    "PrefixConstraint",
    "PrefixTree",
    "Processor",
    "RepetitionPenalty",
    "Sample",
    "Stepper",
    "Temperature",
    "TopK",
    "TopP",
    "Typical",
    "beam_search",
    "generate",
    "stream",
]
