"""Which class does a text belong to? Fine-tuning as it is, and with R-Drop, adversarial training or a gradient penalty.

    python task_classification.py --task sentiment --data-dir sentiment
    python task_classification.py --task tnews --data-dir tnews_public --r-drop 4
    python task_classification.py --task iflytek --data-dir iflytek_public --pretrained chinese_roberta --adversarial 0.5
    python task_classification.py --task iflytek --data-dir iflytek_public --pretrained chinese_roberta --gradient-penalty 1

All switches change the training and nothing else; what is evaluated is the plain model:

- R-Drop: each text passes twice, with two dropouts, and the two answers have to agree; https://kexue.fm/archives/8496.
- Adversarial (FGM): the weights learn where the embeddings are moved a little in the worst direction, and the gradient penalty
  keeps the loss flat there; https://kexue.fm/archives/7234.

The files: ``sentiment.{train,valid}.data`` of https://github.com/bojone/bert4keras (examples/datasets), ``train.json`` and
``dev.json`` of TNEWS and IFLYTEK in https://github.com/CLUEbenchmark/CLUE, or those of IFLYTEK in
https://github.com/CLUEbenchmark/FewCLUE. The baseline is a logistic regression over characters and pairs of characters.
"""

from functools import partial
from typing import NamedTuple

import keras
import numpy as np

from keras_su.data import BucketedDataset
from keras_su.layers import Embedding, Pooling
from keras_su.losses import RDrop
from keras_su.training import adversarial_training, gradient_penalty
from readers.classification import TASKS, read_corpus, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer, padded, padded_pairs
from toolbox.baselines import majority, tfidf_classifier
from toolbox.batches import STEP

PIECES = 2**15  # rows of the table for characters and pairs of characters
MOST = 768  # pieces of a text


def options(doc):
    """The command line of this example and of those that import it; `read` understands it."""
    scratch = {"epochs": 12, "batch_size": 32, "max_length": 128}
    parser = Options(doc, synthetic=write_synthetic, scratch=scratch, pretrained={"epochs": 5}, smoke={"max_length": 32})
    parser.add_argument("--task", choices=TASKS, default="sentiment", help="default: sentiment")
    parser.add_argument("--dropout", type=float, help="before the classes; default: 0.5 from scratch, 0.1 otherwise")
    parser.add_argument("--no-pieces", action="store_true", help="no bag of pieces beside a model from scratch")
    return parser


def read(parser, argv):
    """The arguments. ``pieces``: a pre-trained model needs no help with words."""
    arguments = parser.read(argv)
    arguments.pieces = arguments.from_scratch and not arguments.no_pieces
    return arguments


def parse(argv):
    parser = options(__doc__)
    parser.add_argument("--r-drop", type=float, default=0.0, metavar="ALPHA", help="weight of the agreement; 4 in the paper")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--adversarial", type=float, metavar="EPSILON", help="length of the perturbation of the embeddings")
    group.add_argument("--gradient-penalty", type=float, metavar="EPSILON", help="weight of the penalty")
    return read(parser, argv)


class Sample(NamedTuple):
    """Token ids, pieces and class of a text."""

    ids: list
    pieces: list
    label: int


def encode(tokenizer, samples, max_length):
    """Pairs of a text and its class as samples. Pieces come from the whole text: unlike attention, they cost nothing."""
    encoded = []
    for text, label in samples:
        ids = tokenizer.encode(text)[0]
        encoded.append(Sample([*ids[:-1][: max_length - 1], ids[-1]], pieces_of(ids), label))
    return encoded


def pieces_of(ids):
    """A number for each character and each pair of neighbours. Some share one: there are millions, and the table is small."""
    pairs = [(first * 7919 + second * 104_729) for first, second in zip(ids[1:-1], ids[2:-1])]
    return [1 + number % (PIECES - 1) for number in ids[1:-1] + pairs] or [1]


def collate(samples, with_pieces, repeat=1):
    """A batch ``(inputs, labels)``; R-Drop wants each text twice in succession."""
    ids, pieces, labels = zip(*(sample for sample in samples for _ in range(repeat)))
    inputs = padded_pairs([(row, [0] * len(row)) for row in ids])
    if with_pieces:
        inputs.append(padded([row[:MOST] for row in pieces], step=2 * STEP))
    return inputs, np.array(labels)


def classifier(arguments, classes, initializer):
    """A function from hidden states and pieces to a score for each class, and its layers, made once.

    A pre-trained model has understood the text, and its first token says it all. From scratch two thousand texts teach words, not
    grammar. So the mean and the maximum over all tokens are looked at, and what pre-training would have taught is replaced by a
    bag of pieces: characters and pairs of neighbours (half of all Chinese words are such pairs) have embeddings of their own that
    meet nothing but a mean and a maximum on their way. They begin at zero, so that rare pieces say nothing, and are multiplied by
    10: most pieces occur in few texts, and must learn from them fast.
    """
    table = Embedding(PIECES, 64, embeddings_initializer="zeros", mask_zero=True, name="Embedding-Piece")
    pooling, faster = Pooling(["mean", "max"] if arguments.from_scratch else "cls"), keras.layers.Rescaling(10.0)
    rate = arguments.dropout if arguments.dropout is not None else 0.5 if arguments.from_scratch else 0.1
    dropout = keras.layers.Dropout(rate)
    dense = keras.layers.Dense(classes, kernel_initializer=initializer, dtype="float32", name="Classes")

    def scores(hidden, pieces):
        vector = pooling(hidden)
        if arguments.pieces:
            vector = keras.layers.Concatenate()([vector, faster(pooling(table(pieces)))])
        return dense(dropout(vector))

    return scores


def build(arguments, backbone, classes, **settings):
    """From ids to a score for each class; ``settings`` win over those of the backbone's configuration."""
    handle = backbone.build(**settings)
    extra = [keras.Input((None,), dtype="int32", name="Input-Piece")] if arguments.pieces else []
    scores = classifier(arguments, classes, handle.initializer)(handle.output, *(extra or [None]))
    return keras.Model([*handle.inputs, *extra], scores)


def train(model, arguments, samples):
    """Compile, change the training as the switches say, fit."""
    r_drop, adversarial, penalty = (getattr(arguments, name, None) for name in ("r_drop", "adversarial", "gradient_penalty"))
    batch = partial(collate, with_pieces=arguments.pieces, repeat=2 if r_drop else 1)
    dataset = BucketedDataset(samples, batch, arguments.batch_size, length=lambda sample: len(sample.ids), seed=arguments.seed)
    loss = RDrop(alpha=r_drop) if r_drop else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(arguments.learning_rate, len(dataset) * arguments.epochs), loss, metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the first step twice
    if adversarial:
        adversarial_training(model, "Embedding-Token", epsilon=adversarial)
    if penalty:
        gradient_penalty(model, "Embedding-Token", epsilon=penalty)
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def predict(model, arguments, samples):
    """Scores ``(texts, classes)``."""
    batch = partial(collate, with_pieces=arguments.pieces)
    return np.stack(in_order(model, samples, batch, length=lambda sample: len(sample.ids), name="evaluating"))


def accuracy(found, labels):
    return 100 * float(np.mean(np.asarray(found) == np.asarray(labels)))


def baselines(report, corpus):
    """The rows that a model has to beat."""
    (texts, labels), (new, right) = zip(*corpus.train), zip(*corpus.valid)
    report.add("most frequent class", {"accuracy": accuracy(majority(labels, len(right)), right)}, baseline=True)
    linear = tfidf_classifier(texts, labels, new)
    report.add("TF-IDF + logistic regression", {"accuracy": accuracy(linear, right)}, baseline=True)


def main(argv=None):
    arguments = parse(argv)
    corpus = read_corpus(arguments.data_dir, arguments.task)
    report = Report(arguments, arguments.task, "accuracy", train=len(corpus.train), valid=len(corpus.valid))
    baselines(report, corpus)

    backbone = Backbone.of(arguments, [text for text, _ in corpus.train], layers=2, width=128)
    samples, asked = (encode(backbone.tokenizer, part, arguments.max_length) for part in (corpus.train, corpus.valid))
    model = build(arguments, backbone, len(corpus.classes))
    train(model, arguments, samples)
    scores = predict(model, arguments, asked)

    switches = {"R-Drop": arguments.r_drop, "FGM": arguments.adversarial, "gradient penalty": arguments.gradient_penalty}
    name = "fine-tuned" + "".join(f" + {switch}" for switch, value in switches.items() if value)
    report.add(name, {"accuracy": accuracy(scores.argmax(axis=1), [sample.label for sample in asked])})
    return report.finish()


if __name__ == "__main__":
    main()
