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

import keras
import numpy as np

from keras_su.data import BucketedDataset
from keras_su.layers import Embedding, Pooling
from keras_su.losses import RDrop
from keras_su.training import adversarial_training, gradient_penalty
from readers.classification import TASKS, read_corpus, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer, padded, padded_pairs
from toolbox.baselines import majority, tfidf_classifier

PAIRS = 2**15  # rows of the table for pairs of characters


def options(doc):
    """The command line of this example and of those that import it; `read` understands it."""
    scratch = {"epochs": 12, "batch_size": 32, "max_length": 128}
    parser = Options(doc, synthetic=write_synthetic, scratch=scratch, pretrained={"epochs": 5}, smoke={"max_length": 32})
    parser.add_argument("--task", choices=TASKS, default="sentiment", help="default: sentiment")
    parser.add_argument("--dropout", type=float, help="before the classes; default: 0.5 from scratch, 0.1 otherwise")
    parser.add_argument("--no-pairs", action="store_true", help="no embeddings of pairs of characters in a model from scratch")
    return parser


def read(parser, argv):
    """The arguments. ``pairs``: a pre-trained model needs no help with words."""
    arguments = parser.read(argv)
    arguments.pairs = arguments.from_scratch and not arguments.no_pairs
    return arguments


def parse(argv):
    parser = options(__doc__)
    parser.add_argument("--r-drop", type=float, default=0.0, metavar="ALPHA", help="weight of the agreement; 4 in the paper")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--adversarial", type=float, metavar="EPSILON", help="length of the perturbation of the embeddings")
    group.add_argument("--gradient-penalty", type=float, metavar="EPSILON", help="weight of the penalty")
    return read(parser, argv)


def encode(tokenizer, samples, max_length):
    """Samples as ``(token ids, class)``."""
    return [(tokenizer.encode(text, maxlen=max_length)[0], label) for text, label in samples]


def pairs_of(ids):
    """A number for each pair of neighbouring tokens. Pairs may share one: there are millions, and the table is small."""
    return [1 + (first * 7919 + second * 104_729) % (PAIRS - 1) for first, second in zip(ids, ids[1:])]


def collate(samples, with_pairs, repeat=1):
    """A batch ``(inputs, labels)``; R-Drop wants each text twice in succession."""
    samples = [sample for sample in samples for _ in range(repeat)]
    ids, labels = zip(*samples)
    inputs = padded_pairs([(row, [0] * len(row)) for row in ids])
    if with_pairs:
        inputs.append(padded([pairs_of(row) + [0] for row in ids]))
    return inputs, np.array(labels)


def classifier(arguments, classes, initializer):
    """A function from hidden states and pairs to a score for each class, and its layers, made once.

    A pre-trained model has understood the text, and its first token says it all. From scratch two thousand texts teach words, not
    grammar: the mean and the maximum over all tokens, and pairs of neighbouring characters with embeddings of their own (half of
    all Chinese words are such pairs) take the place of what pre-training would have taught.
    """
    embedding = Embedding(PAIRS, 128, mask_zero=True, name="Embedding-Pair") if arguments.pairs else None
    pooling = Pooling(["mean", "max"] if arguments.from_scratch else "cls")
    rate = arguments.dropout if arguments.dropout is not None else 0.5 if arguments.from_scratch else 0.1
    dropout = keras.layers.Dropout(rate)
    dense = keras.layers.Dense(classes, kernel_initializer=initializer, dtype="float32", name="Classes")

    def scores(hidden, pairs):
        vector = pooling(hidden)
        if arguments.pairs:
            vector = keras.layers.Concatenate()([vector, pooling(embedding(pairs))])
        return dense(dropout(vector))

    return scores


def build(arguments, backbone, classes):
    """From ids to a score for each class."""
    handle = backbone.build()
    extra = [keras.Input((None,), dtype="int32", name="Input-Pair")] if arguments.pairs else []
    scores = classifier(arguments, classes, handle.initializer)(handle.output, *(extra or [None]))
    return keras.Model([*handle.inputs, *extra], scores)


def train(model, arguments, samples):
    """Compile, change the training as the switches say, fit."""
    r_drop, adversarial, penalty = (getattr(arguments, name, None) for name in ("r_drop", "adversarial", "gradient_penalty"))
    batch = partial(collate, with_pairs=arguments.pairs, repeat=2 if r_drop else 1)
    dataset = BucketedDataset(samples, batch, arguments.batch_size, length=lambda s: len(s[0]), seed=arguments.seed)
    loss = RDrop(alpha=r_drop) if r_drop else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(arguments.learning_rate, len(dataset) * arguments.epochs), loss, metrics=["accuracy"])
    if adversarial:
        adversarial_training(model, "Embedding-Token", epsilon=adversarial)
    if penalty:
        gradient_penalty(model, "Embedding-Token", epsilon=penalty)
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def predict(model, arguments, samples):
    """Scores ``(texts, classes)``."""
    batch = partial(collate, with_pairs=arguments.pairs)
    return np.stack(in_order(model, samples, batch, length=lambda s: len(s[0]), name="evaluating"))


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
    report.add(name, {"accuracy": accuracy(scores.argmax(axis=1), [label for _, label in asked])})
    return report.finish()


if __name__ == "__main__":
    main()
