"""Every family that can write: token by token it writes what reading everything at once gives, whatever else is in the batch."""

import numpy as np
import pytest
from families import FAMILIES, built, run

from keras_su.decoding import generate

WRITERS = [
    (row, application)
    for row in FAMILIES
    for application in row.applications
    if (row.kind in ("decoder", "half") or application != "encoder" or row.kind == "seq2seq") and row.logits
]
IDS = [f"{row.name}-{application}" for row, application in WRITERS]
LENGTHS, NEW = (5, 3, 8), 6


def prompts_of(row):
    """Prompts of three lengths, and the further arguments of ``generate``."""
    texts = [row.inputs(batch=1, length=length, seed=length) for length in LENGTHS]
    tokens = [arrays[int(row.kind == "half")][0].tolist() for arrays in texts]
    if row.kind == "seq2seq":
        return tokens, {"start_ids": 0}
    if row.kind == "half":
        states = np.concatenate([row.inputs(batch=1, length=4, seed=length)[0] for length in LENGTHS])
        return tokens, {"context": {built(row).inputs[0].name: states}}
    return tokens, {}


def whole_texts(row, application, prompts, written, options):
    """Log-probabilities ``(texts, NEW, vocab_size)`` behind the prompts, from reading all texts at once."""
    texts = [[0, *tokens] if row.kind == "seq2seq" else [*prompt, *tokens] for prompt, tokens in zip(prompts, written)]
    starts = [len(text) - NEW for text in texts]
    padded = lambda some: np.array([[*ids, *[row.pad or 0] * (20 - len(ids))] for ids in some], np.int32)  # noqa: E731
    arrays = [padded(texts)]
    if row.kind == "seq2seq":
        arrays.insert(0, padded(prompts))
    if row.kind == "half":
        arrays.insert(0, next(iter(options["context"].values())))
    if row.segments:
        behind = np.arange(20) >= np.array(starts)[:, None]
        arrays.append((behind * int(application == "unilm")).astype(np.int32))
    logits = run(built(row, application), arrays).astype(np.float64)
    logits = np.stack([each[start - 1 : start - 1 + NEW] for each, start in zip(logits, starts)])
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


@pytest.mark.parametrize(("row", "application"), WRITERS, ids=IDS)
def test_greedy_search_equals_the_whole_text(row, application):
    prompts, options = prompts_of(row)
    results = generate(built(row, application), prompts, max_new_tokens=NEW, **options)
    written = [result.tokens.tolist() for result in results]
    log_probs = whole_texts(row, application, prompts, written, options)
    chosen = np.take_along_axis(log_probs, np.array(written)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, log_probs.max(axis=-1), atol=2e-5)
    np.testing.assert_allclose([result.score for result in results], chosen.sum(axis=-1), atol=1e-4, rtol=1e-5)


def test_all_families_that_write_are_here():
    """A new family appears here, or is known to be an encoder only."""
    silent = {row.name for row in FAMILIES} - {row.name for row, _ in WRITERS}
    halves = {name for name in silent if name.endswith("_encoder")}
    assert silent - halves == {"albert_unshared", "deberta_v2", "electra"}
