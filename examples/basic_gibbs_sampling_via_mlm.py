"""Sentences from a masked language model by Gibbs sampling.

    python basic_gibbs_sampling_via_mlm.py --pretrained chinese_roberta_wwm_ext
    python basic_gibbs_sampling_via_mlm.py --pretrained runs/tiny --texts 科学技术是第一生产力。 --sweeps 20 --temperature 0.8
    python basic_gibbs_sampling_via_mlm.py --pretrained runs/tiny --from-masks
    python basic_gibbs_sampling_via_mlm.py --smoke

A BERT cannot write from left to right, but it knows how likely each character is if all others are given. That is all that Gibbs
sampling wants: hide a character at random, draw another one from what the model says, and go on. After many steps the sentence is
a sample of what the model believes in, wherever it began: at a sentence or, with ``--from-masks``, at nothing.

The figure is the pseudo-likelihood: each character in turn is hidden, and the geometric mean of the probabilities of what was
there tells how much the model likes the sentence. It is the model's own opinion, not that of a reader. The baseline puts random
characters in the places where sampling has changed something.

The article: https://kexue.fm/archives/8119.
"""

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from toolbox import Backbone, Options, Report, in_order, padded

TEXTS = (
    "科学技术是第一生产力。",
    "今天的天气很好，我们一起去公园散步。",
    "这家酒店的房间很干净，服务也不错。",
    "他出生于上海，毕业于北京大学。",
)


def parse(argv):
    options = Options(__doc__, smoke={"sweeps": 1, "chains": 1})
    options.add_argument("--texts", nargs="+", default=TEXTS, help="sentences to begin with, or as long as which to write")
    options.add_argument("--chains", type=int, default=3, help="samples for each; default: 3")
    options.add_argument("--sweeps", type=int, default=10, help="how often each character is drawn, on average; default: 10")
    options.add_argument("--temperature", type=float, default=1.0, help="below 1: likelier characters; default: 1")
    options.add_argument("--from-masks", action="store_true", help="begin with [MASK] [MASK] [MASK] ...")
    return options.read(argv)


class Guesser:
    """What a masked language model says about a hidden position of each row."""

    def __init__(self, backbone):
        tokenizer = backbone.tokenizer
        self.mask_id = tokenizer.mask_id
        special = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.start_id, tokenizer.end_id, tokenizer.mask_id]
        self.ordinary = np.setdiff1d(np.arange(tokenizer.vocab_size), special)
        bert = backbone.build(with_mlm="linear").model
        position = keras.Input((1,), dtype="int32")
        chosen = ops.take_along_axis(bert.output, ops.expand_dims(position, -1), axis=1)
        self.model = keras.Model([*bert.inputs, position], chosen[:, 0])

    def inputs(self, rows, positions):
        """Inputs of the model, in which the positions are hidden."""
        hidden = rows.copy()
        hidden[np.arange(len(rows)), positions] = self.mask_id
        return hidden, np.zeros_like(hidden), np.asarray(positions, np.int32)[:, None]

    def log_probabilities(self, logits):
        """Those of the ordinary tokens; the others do not exist."""
        logits = logits[..., self.ordinary].astype("float64")
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def likelihood(self, rows, lengths):
        """The geometric mean of the probabilities of all characters, in percent."""
        places = [(row, position) for row, length in zip(rows, lengths) for position in range(1, length - 1)]
        collate = lambda some: (self.inputs(*map(np.array, zip(*some))), None)  # noqa: E731
        logits = in_order(self.model, places, collate, 32, length=lambda place: 1, name="likelihood")
        of_own = [
            self.log_probabilities(each)[np.searchsorted(self.ordinary, row[position])]
            for each, (row, position) in zip(logits, places)
            if row[position] in self.ordinary
        ]
        return 100 * float(np.exp(np.mean(of_own)))


def gibbs(guesser, rows, lengths, steps, temperature, dice):
    """Draw a character at a random position of every row, ``steps`` times; also returns where something else stands now."""
    rows, begun, every = rows.copy(), rows, np.arange(len(rows))
    for _ in tqdm(range(steps), desc="sampling", unit=" steps", disable=None):
        positions = dice.integers(1, np.array(lengths) - 1)
        logits = keras.ops.convert_to_numpy(guesser.model.predict_on_batch(guesser.inputs(rows, positions)))
        scores = guesser.log_probabilities(logits) / temperature
        # The largest of log-probabilities plus Gumbel noise is a sample.
        rows[every, positions] = guesser.ordinary[np.argmax(scores + dice.gumbel(size=scores.shape), axis=-1)]
    return rows, rows != begun


def main(argv=None):
    arguments = parse(argv)
    backbone = Backbone.of(arguments, arguments.texts)
    tokenizer, guesser, dice = backbone.tokenizer, Guesser(backbone), np.random.default_rng(arguments.seed)
    encoded = [tokenizer.encode(text)[0] for text in arguments.texts for _ in range(arguments.chains)]
    rows, lengths = padded(encoded), list(map(len, encoded))
    inside = (np.arange(rows.shape[1]) >= 1) & (np.arange(rows.shape[1]) < np.array(lengths)[:, None] - 1)
    begin = np.where(inside, tokenizer.mask_id, rows) if arguments.from_masks else rows
    steps = arguments.sweeps * (max(lengths) - 2)
    samples, changed = gibbs(guesser, begin, lengths, steps, arguments.temperature, dice)
    for i, sample in enumerate(samples):
        if i % arguments.chains == 0:
            print(f"\n{arguments.texts[i // arguments.chains]}")
        print("    " + tokenizer.decode(sample[: lengths[i]].tolist()))
    print()

    random = np.where(changed, dice.choice(guesser.ordinary, rows.shape), begin)
    report = Report(
        arguments, "Gibbs sampling", "likelihood", steps=steps, changed=round(100 * float(np.mean(changed[inside])), 1)
    )
    report.add("random characters", {"likelihood": guesser.likelihood(random, lengths)}, baseline=True)
    report.add("samples", {"likelihood": guesser.likelihood(samples, lengths)})
    report.add("sentences of people", {"likelihood": guesser.likelihood(rows[:: arguments.chains], lengths[:: arguments.chains])})
    return report.finish()


if __name__ == "__main__":
    main()
