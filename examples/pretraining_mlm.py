"""Pre-training a small BERT: masked language model and next-sentence prediction.

What BERT learned from billions of characters, in minutes from a few millions: to fill in hidden characters, and to tell whether
one piece of text follows another. The folder that comes out is read by ``--pretrained`` of all other examples.

    python pretraining_mlm.py --data-dir corpus --minutes 18 --save runs/tiny
    python pretraining_mlm.py --data-dir corpus --steps 5000 --whole-word --save runs/tiny_wwm   # pip install "keras_su[zh]"
    python pretraining_mlm.py --data-dir my_texts --pretrained chinese_roberta --minutes 600 --save runs/my_bert
    python pretraining_mlm.py --smoke

The data are text files, ``*.txt`` or ``*.txt.xz``, with one sentence a line and a blank line between documents, as for
https://github.com/google-research/bert. The paper: https://arxiv.org/abs/1810.04805; whole words: https://arxiv.org/abs/1906.08101.
"""

import time
from collections import Counter
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from readers.corpus import Rows, encode_documents, hold_out, read_documents, text_files, write_synthetic
from toolbox import VERBOSE, AtPositions, Backbone, Options, Report

ROUND = 100  # steps between two changes of the learning rate


def parse(argv):
    scratch = {"batch_size": 32, "learning_rate": 1e-3, "max_length": 96}
    options = Options(__doc__, synthetic=write_synthetic, scratch=scratch, smoke={"max_length": 32})
    options.add_argument("--minutes", type=float, default=18, help="how long to train; default: 18")
    options.add_argument("--steps", type=int, help="how many batches to train on instead")
    options.add_argument("--layers", type=int, default=4, help="of the model from scratch; default: 4")
    options.add_argument("--width", type=int, default=128, help="of the model from scratch; default: 128")
    options.add_argument("--mask-rate", type=float, default=0.15, help="this part of the tokens is to be guessed; default: 0.15")
    options.add_argument("--whole-word", action="store_true", help="hide words, not single characters")
    options.add_argument("--save", type=Path, metavar="DIR", help="folder for the model")
    arguments = options.read(argv)
    if arguments.smoke:
        arguments.steps = 3
    return arguments


def mask(token_ids, words, rate, tokenizer, dice):
    """Hide some words, others each time.

    Of the tokens to be guessed 80 % become ``[MASK]``, 10 % any other token, and 10 % stay: the input does not tell for sure
    which tokens count, so the model has to form an opinion about each.

    Returns:
        ``(masked ids, positions, labels, weights)``; the last three ``(batch, places)``, with weight 0 where nothing is hidden.
    """
    rows, length = token_ids.shape
    special = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.start_id, tokenizer.end_id, tokenizer.mask_id]
    real = ~np.isin(token_ids, special)
    places = max(round(rate * length), 1)
    wanted = np.clip(np.round(rate * real.sum(axis=1, keepdims=True)), 1, places)
    # Every word draws a number, and those with the lowest are taken.
    drawn = np.where(real, np.take_along_axis(dice.random((rows, length)), words, axis=1), 2.0)
    order = np.argsort(drawn, axis=1, kind="stable")[:, : places + 1]
    drawn = np.take_along_axis(drawn, order, axis=1)
    taken = (np.arange(order.shape[1]) < wanted) & (drawn < 2)
    # The last word may be there in part: then it is left out, unless it is the only one.
    last = np.take_along_axis(drawn, wanted.astype(int) - 1, axis=1)
    next_one = np.take_along_axis(drawn, np.minimum(wanted.astype(int), order.shape[1] - 1), axis=1)
    cut = (next_one == last) & (wanted < order.shape[1]) & (drawn[:, :1] < last)
    taken = (taken & ~(cut & (drawn == last)))[:, :places]
    positions = np.where(taken, order[:, :places], 0)
    labels = np.take_along_axis(token_ids, positions, axis=1)
    fate = dice.random(taken.shape)
    ordinary = np.setdiff1d(np.arange(tokenizer.vocab_size), special)
    hidden = np.where(fate < 0.8, tokenizer.mask_id, np.where(fate < 0.9, dice.choice(ordinary, taken.shape), labels))
    masked, (row, place) = token_ids.copy(), np.nonzero(taken)
    masked[row, positions[row, place]] = hidden[row, place]
    return masked, positions.astype(np.int32), labels, taken.astype(np.float32)


def collate(rows, length, rate, tokenizer, dice):
    """``((masked ids, segments, positions), (next-sentence labels, token labels), weights of both)``; all of one length."""
    token_ids = np.full((len(rows), length), tokenizer.pad_id, np.int32)
    words, segment_ids = np.zeros((2, len(rows), length), np.int32)
    for i, (row, first, _) in enumerate(rows):
        token_ids[i, : row.shape[1]], words[i, : row.shape[1]] = row
        segment_ids[i, first : row.shape[1]] = 1
    masked, positions, labels, weights = mask(token_ids, words, rate, tokenizer, dice)
    follows = np.array([label or 0 for *_, label in rows], np.int32)
    is_pair = np.array([label is not None for *_, label in rows], np.float32)
    return (masked, segment_ids, positions), (follows, labels), (is_pair, weights)


def batches(documents, tokenizer, arguments, seed, passes=None):
    """Batches, without end unless ``passes`` is given; each pass through the documents makes other pairs and other masks."""
    dice = np.random.default_rng([seed, 1])
    rows = Rows(documents, tokenizer, arguments.max_length, seed)
    for _ in count() if passes is None else range(passes):
        one_pass = iter(rows)
        while batch := list(islice(one_pass, arguments.batch_size)):
            if len(batch) == arguments.batch_size or passes:  # one shape in training
                yield collate(batch, arguments.max_length, arguments.mask_rate, tokenizer, dice)


def build(backbone):
    """``(learner, handle)`` over the same layers: one guesses at given positions, the other is the BERT that is kept."""
    positions = keras.Input((None,), dtype="int32", name="Positions")

    def at_positions(spec):
        return replace(spec, heads=(*spec.heads[:-1], AtPositions(spec.heads[-1], positions)))

    heads = {"with_nsp": True, "with_mlm": "linear"}
    handle = backbone.build(**heads)
    # Without dropout: in so short a time there is no danger of learning by heart.
    learner = backbone.build(
        **heads, layers=handle.layers, additional_input_layers=positions, edit=at_positions, dropout_rate=0.0
    )
    return learner.model, handle


class Schedule(keras.callbacks.Callback):
    """Warm up, then down to zero by the clock or by the number of steps, at which the training ends."""

    def __init__(self, peak, minutes, steps, each):
        super().__init__()
        self.peak, self.seconds, self.steps, self.each, self.done = peak, 60 * minutes, steps, each, 0

    @property
    def passed(self):
        """Which part of the training is over. The clock starts after the first round, which compiles."""
        if self.steps:
            return self.done / self.steps
        return (time.perf_counter() - self.begun) / self.seconds if self.done else 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = self.peak * max(min(self.passed / 0.1, (1 - self.passed) / 0.9), 0.02)

    def on_epoch_end(self, epoch, logs=None):
        if not self.done:
            self.begun = time.perf_counter()
        self.done += self.each
        self.model.stop_training = self.passed >= 1


def train(learner, data, arguments):
    adamw = keras.optimizers.AdamW(arguments.learning_rate, weight_decay=0.01, global_clipnorm=1.0)
    adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    next_sentence = keras.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
    tokens = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    learner.compile(adamw, loss=[next_sentence, tokens])
    each = min(ROUND, arguments.steps or ROUND)  # what Keras calls an epoch is here a round between two learning rates
    schedule = Schedule(arguments.learning_rate, arguments.minutes, arguments.steps, each)
    learner.fit(data, steps_per_epoch=each, epochs=1_000_000, callbacks=[schedule], verbose=VERBOSE)
    return schedule.done


def accuracies(guess, data):
    """Right guesses of hidden tokens and of next sentences, in percent; ``guess`` is a function from inputs to both."""
    right, counted = np.zeros(2), np.zeros(2)
    for inputs, labels, weights in tqdm(data, desc="evaluate", unit=" batches", disable=None):
        for task, guesses in enumerate(guess(inputs)):
            right[task] += np.sum((guesses == labels[task]) * weights[task])
            counted[task] += np.sum(weights[task])
    next_sentence, tokens = 100 * right / np.maximum(counted, 1)
    return {"hidden": tokens, "next": next_sentence}


def main(argv=None):
    arguments = parse(argv)
    splits = [hold_out(read_documents(path)) for path in text_files(arguments.data_dir)]
    learned, kept = ([document for split in splits for document in split[side]] for side in (0, 1))
    texts = [sentence for document in learned for sentence in document]
    backbone = Backbone.of(arguments, texts, layers=arguments.layers, width=arguments.width)
    tokenizer = backbone.tokenizer
    learned, kept = (encode_documents(documents, tokenizer, arguments.whole_word) for documents in (learned, kept))
    print(f"{len(texts)} sentences, {sum(map(len, texts))} characters, vocabulary of {tokenizer.vocab_size}", flush=True)
    kept = list(batches(kept, tokenizer, arguments, seed=0, passes=1))
    frequent = Counter(token for document in learned for sentence in document for token in sentence[0].tolist())
    del frequent[tokenizer.unk_id]

    report = Report(arguments, "Pre-training", "hidden", characters=sum(map(len, texts)), vocabulary=tokenizer.vocab_size)
    learner, handle = build(backbone)
    report.facts["steps"] = train(learner, batches(learned, tokenizer, arguments, arguments.seed), arguments)
    if arguments.save:
        backbone.save(arguments.save, handle)

    report.add("most frequent token", accuracies(lambda inputs: (0, frequent.most_common(1)[0][0]), kept), baseline=True)
    model = "BERT" if arguments.from_scratch else "BERT, further trained"
    guess = lambda inputs: [np.argmax(output, axis=-1) for output in learner.predict_on_batch(inputs)]  # noqa: E731
    report.add(model, accuracies(guess, kept))
    return report.finish()


if __name__ == "__main__":
    main()
