"""Two sentences as one input: do they ask the same (LCQMC)? Does one follow from the other (OCNLI)?

BERT reads ``[CLS] a [SEP] b [SEP]``, so that each layer can compare both sentences; the vector of [CLS] is classified.

    python task_text_pairs.py --data-dir LCQMC --pretrained chinese_roberta
    python task_text_pairs.py --data-dir OCNLI/data/ocnli --task ocnli --pretrained chinese_roberta
    python task_text_pairs.py --data-dir LCQMC                       # a small model from scratch
    python task_text_pairs.py --smoke

A published BERT has learned to find in one sentence what stands in the other. That takes far more text than a few thousand
pairs. So from scratch the input says it: each token gets one of three marks, for not occurring in the other sentence, occurring
there, and occurring there with the same neighbour. Where the order of the sentences means nothing, it changes at random.

Files: ``LCQMC.train.data``, ``LCQMC.valid.data``; ``train.3k.json``, ``dev.json``. The data: http://icrc.hitsz.edu.cn/info/1037/1146.htm
(copies: https://github.com/IceFlameWorm/NLP_Datasets); https://github.com/CLUEbenchmark/OCNLI.
"""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from keras_su.data import BucketedDataset
from keras_su.errors import require
from keras_su.models.spec import Extra
from keras_su.snippets import truncate_sequences
from readers.sentence_pairs import TASKS, read_pairs, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer, padded
from toolbox.baselines import character_overlap, majority, tfidf_classifier, tfidf_cosine


def parse(argv):
    scratch = {"epochs": 8, "batch_size": 32, "learning_rate": 1e-3, "max_length": 64}
    pretrained = {"max_length": 128}
    options = Options(__doc__, synthetic=write_synthetic, scratch=scratch, pretrained=pretrained)
    options.add_argument("--task", default="lcqmc", choices=list(TASKS), help="default: lcqmc")
    options.add_argument("--valid", type=Path, metavar="FILE", help="what to evaluate on instead of the file in --data-dir")
    options.add_argument(
        "--hold-out", type=int, default=0, metavar="N", help="evaluate on the last N training pairs, to try settings"
    )
    options.add_argument("--no-marks", action="store_true", help="from scratch, do without the marks")
    options.add_argument("--layers", type=int, default=2, help="of the model from scratch; default: 2")
    arguments = options.read(argv)
    arguments.marks = arguments.from_scratch and not arguments.no_marks
    return arguments


def marks(tokens, others):
    """For each token: 0, or 1 if it occurs in the other sentence, or 2 if it does so next to the same neighbour."""
    single, double = set(others), set(zip(others, others[1:]))
    found = [int(token in single) for token in tokens]
    for i, pair in enumerate(zip(tokens, tokens[1:])):
        if pair in double:
            found[i] = found[i + 1] = 2
    return found


class Encoder:
    """From pairs to batches."""

    def __init__(self, tokenizer, task, arguments):
        self.tokenizer, self.task, self.arguments = tokenizer, task, arguments
        self.dice = np.random.default_rng(arguments.seed)

    def encode(self, first, second):
        # Tokens and not ids are compared: two unknown characters have the same id, but are hardly the same.
        first, second = (self.tokenizer.tokenize(text)[1:-1] for text in (first, second))
        truncate_sequences(self.arguments.max_length - 3, -1, first, second)
        start, end, to_ids = self.tokenizer.start_id, self.tokenizer.end_id, self.tokenizer.tokens_to_ids
        token_ids = [start, *to_ids(first), end, *to_ids(second), end]
        segment_ids = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        return token_ids, segment_ids, [0, *marks(first, second), 0, *marks(second, first), 0]

    def batch(self, pairs, swap=False):
        turned = swap & (self.dice.random(len(pairs)) < 0.5)
        encoded = [self.encode(*((b, a) if turn else (a, b))) for turn, (a, b, _) in zip(turned, pairs)]
        inputs = [padded(ids) for ids in zip(*encoded)]
        return inputs if self.arguments.marks else inputs[:2], np.array([pair.label for pair in pairs])

    def training_batch(self, pairs):
        return self.batch(pairs, swap=self.task.symmetric)


def length(pair):
    return len(pair.first) + len(pair.second) + 3


def with_marks(spec):
    """The specification of a model with one more table in its embeddings, and one more input."""
    extras = (*spec.embeddings.extras, Extra(name="Mark", rows=3, input=True))
    return replace(spec, embeddings=replace(spec.embeddings, extras=extras))


def build(backbone, arguments, classes):
    bert = backbone.build(with_pool=True, edit=with_marks if arguments.marks else None).model
    vector = keras.layers.Dropout(0.1)(bert.output)
    return keras.Model(bert.inputs, keras.layers.Dense(classes, activation="softmax")(vector))


def train(model, encoder, pairs, arguments):
    dataset = BucketedDataset(pairs, encoder.training_batch, arguments.batch_size, length=length, seed=arguments.seed)
    adamw = optimizer(arguments.learning_rate, len(dataset) * arguments.epochs)
    model.compile(adamw, keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def baseline(task, pairs, new_pairs):
    """LCQMC: logistic regression on two similarities, which is a learned threshold. OCNLI: on TF-IDF of both sentences."""
    labels = [pair.label for pair in pairs]
    if not task.symmetric:
        both, new_both = ([f"{pair.first} {pair.second}" for pair in part] for part in (pairs, new_pairs))
        return tfidf_classifier(both, labels, new_both)
    corpus = [text for pair in pairs for text in pair[:2]]
    similar, new_similar = (
        np.stack([tfidf_cosine([pair[:2] for pair in part], corpus), character_overlap([pair[:2] for pair in part])], axis=1)
        for part in (pairs, new_pairs)
    )
    linear = require("sklearn.linear_model", "examples", "The baseline of this example")
    return linear.LogisticRegression(C=10.0).fit(similar, labels).predict(new_similar)


def main(argv=None):
    arguments = parse(argv)
    task = TASKS[arguments.task]
    pairs = read_pairs(arguments.data_dir / task.train, arguments.task)
    if arguments.hold_out:
        pairs, valid = pairs[: -arguments.hold_out], pairs[-arguments.hold_out :]
    else:
        valid = read_pairs(arguments.valid or arguments.data_dir / task.valid, arguments.task)

    def accuracy(predicted):
        return {"accuracy": 100 * np.mean(np.asarray(predicted) == [pair.label for pair in valid])}

    report = Report(arguments, f"{arguments.task.upper()} accuracy", "accuracy", train=len(pairs), evaluated=len(valid))
    report.add("majority class", accuracy(majority([pair.label for pair in pairs], len(valid))), baseline=True)
    name = "TF-IDF cosine, threshold" if task.symmetric else "TF-IDF, logistic regression"
    report.add(name, accuracy(baseline(task, pairs, valid)), baseline=True)

    backbone = Backbone.of(arguments, [text for pair in pairs for text in pair[:2]], layers=arguments.layers)
    encoder = Encoder(backbone.tokenizer, task, arguments)
    model = build(backbone, arguments, len(task.labels))
    train(model, encoder, pairs, arguments)
    probabilities = in_order(model, valid, encoder.batch, length=length)
    report.add("BERT on both" + ", marks" * arguments.marks, accuracy(np.argmax(probabilities, axis=1)))
    return report.finish()


if __name__ == "__main__":
    main()
