"""Every family that can write: token by token it writes what reading everything at once gives, whatever else is in the batch."""

import keras
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


def whole_text(row, application, prompt, number, tokens, options):
    """Log-probabilities of all tokens of one text, read at once and alone."""
    model = built(row, application)
    if row.kind == "seq2seq":
        arrays, first = [np.array([prompt]), np.array([[0, *tokens]])], 0
    else:
        arrays, first = [np.array([[*prompt, *tokens]])], len(prompt) - 1
        if row.kind == "half":
            arrays.insert(0, next(iter(options["context"].values()))[number : number + 1])
        if row.segments:
            segments = np.zeros_like(arrays[-1])
            segments[:, len(prompt) :] = int(application == "unilm")
            arrays.append(segments)
    logits = run(model, [a if a.dtype.kind == "f" else a.astype("int32") for a in arrays])[0, first:]
    logits = logits.astype("float64")
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


@pytest.mark.parametrize(("row", "application"), WRITERS, ids=IDS)
def test_greedy_search_equals_the_whole_text(row, application):
    prompts, options = prompts_of(row)
    results = generate(built(row, application), prompts, max_new_tokens=NEW, **options)
    for number, (prompt, result) in enumerate(zip(prompts, results)):
        log_probs = whole_text(row, application, prompt, number, result.tokens, options)
        chosen = log_probs[np.arange(NEW), result.tokens]
        np.testing.assert_allclose(chosen, log_probs[:NEW].max(axis=-1), atol=2e-5)
        np.testing.assert_allclose(result.score, chosen.sum(), atol=1e-4, rtol=1e-5)


def test_all_families_that_write_are_here():
    names = {row.name for row, _ in WRITERS}
    assert {row.name for row in FAMILIES if row.kind != "encoder"} - {"t5.1.0_encoder"} <= names | {
        row.name for row in FAMILIES if not row.logits
    }
    assert len(names) >= 30 and keras.backend.backend()
