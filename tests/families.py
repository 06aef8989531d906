"""The table of model families. Everything in ``test_family_*.py`` iterates over it: a family registers for its tests with one
row.

A row says how to build the family tiny, which golden cases hold its checkpoints, and what may be asked of it.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class FamilyCase:
    """One family under test.

    Attributes:
        name: its name for ``model=``.
        config: a tiny configuration, with dropout, so that tests see that inference switches it off.
        applications: those it allows.
        heads: keyword arguments that switch on each combination of heads.
        checkpoints: names of golden cases whose files must be reproduced bit for bit by load -> dump.
        segments: whether the model has a segment input.
    """

    name: str
    config: dict
    applications: tuple = ("encoder", "lm", "unilm")
    heads: tuple = field(default=({},))
    checkpoints: tuple = ()
    segments: bool = True

    def inputs(self, batch=3, length=9, seed=0):
        """Token ids without padding, and segment ids with both segments."""
        rng = np.random.default_rng(seed)
        tokens = rng.integers(5, self.config["vocab_size"], (batch, length)).astype("int32")
        if not self.segments:
            return [tokens]
        segments = np.zeros_like(tokens)
        segments[:, length // 2 :] = 1
        return [tokens, segments]


BERT_CONFIG = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.3,
}

FAMILIES = [
    FamilyCase(
        name="bert",
        config=BERT_CONFIG,
        heads=(
            {},
            {"with_pool": True},
            {"with_nsp": True, "with_mlm": "linear"},
            {"with_mlm": True, "hierarchical_position": True, "residual_attention_scores": True},
            {"with_mlm": "linear", "embedding_size": 16, "attention_key_size": 6},
        ),
        checkpoints=(
            "bert_nsp_mlm",
            "bert_pool_mlm",
            "simbert",
            "hf_bert_pretraining",
            "hf_bert_legacy_bin",
            "hf_roberta_wwm_bin",
        ),
    ),
]


def family(name):
    """The row of one family."""
    return next(row for row in FAMILIES if row.name == name)
