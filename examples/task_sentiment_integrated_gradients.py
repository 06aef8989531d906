"""Which characters made a review good or bad? Integrated gradients for a sentiment classifier.

    python task_sentiment_integrated_gradients.py --data-dir sentiment --save sentiment.keras
    python task_sentiment_integrated_gradients.py --data-dir sentiment --load sentiment.keras --sentence "外观漂亮，可惜太吵"
    python task_sentiment_integrated_gradients.py --data-dir sentiment --pretrained chinese_roberta

The gradients of the answer are added up on the way from nothing (all embeddings zero) to the text; the shares of all tokens add
up to the change of the score. Red characters speak for the answer, blue ones against it; without a terminal, ``+`` and ``-``.

Is it true? If these characters made the answer, the model must become unsure without them. So the figure of merit is how far
the probability of the answer falls when the most important fifth of the tokens is taken out of evaluation texts. The baseline
takes out tokens at random.

The article: https://kexue.fm/archives/7533, the paper: https://arxiv.org/abs/1703.01365. The data: ``sentiment.zip`` in
https://github.com/bojone/bert4keras/tree/master/examples/datasets.
"""

import sys

import keras
import numpy as np
from keras import ops

from keras_su.training import integrated_gradients
from readers.classification import read_corpus
from task_classification import accuracy, build, collate, encode, options, predict, read, train
from toolbox import Backbone, Report

SENTENCES = (  # hand-written
    "房间很干净，服务员也热情，下次还来。",
    "屏幕漂亮，可惜电池太差，用半天就没电了。",
    "这本书我看了三遍，每次都有收获，值得推荐！",
    "排队一小时，菜是冷的，再也不会去了。",
)
ANSWERS = ("bad", "good")


def parse(argv):
    parser = options(__doc__)
    parser.add_argument("--sentence", action="append", help="to explain instead of the examples; may be repeated")
    parser.add_argument("--load", metavar="FILE", help="a model that --save wrote, with the same data; nothing is trained")
    parser.add_argument("--save", metavar="FILE", help="where to keep the model: a name that ends with .keras")
    parser.add_argument("--steps", type=int, default=10, help="points on the way from nothing to the text; default: 10")
    parser.add_argument("--texts", type=int, default=200, help="how many evaluation texts to take tokens out of; default: 200")
    arguments = read(parser, argv)
    if arguments.smoke:
        arguments.steps, arguments.texts = 2, len(SENTENCES)  # as many as above: programs are compiled for a shape
    arguments.pieces = False  # whatever reaches the answer must pass through the embeddings whose gradients are taken
    return arguments


def explain(model, samples, answers, steps):
    """Shares of all tokens in the score of each answer, less that of the other: a list of arrays, one for each text."""
    shares = [None] * len(samples)
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].ids))
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        inputs, _ = collate([samples[i] for i in rows], with_pieces=False)
        signs = np.where(answers[rows, None] == np.arange(2), 1.0, -1.0)
        # Scores and not probabilities: near 1 nothing changes any more, and all gradients are tiny.
        found = integrated_gradients(
            model,
            inputs,
            output=lambda scores, signs=signs: ops.sum(scores * ops.cast(signs, scores.dtype), axis=-1),
            steps=steps,
        )
        for i, row in zip(rows, found):
            shares[i] = row[: len(samples[i].ids)]
    return shares


def show(tokens, shares, colors):
    """A sentence with its shares, strong ones doubled."""
    strength = shares / (np.abs(shares).max() + 1e-9)
    words = []
    for token, value in list(zip(tokens, strength))[1:-1]:
        word = token.removeprefix("##")
        if colors:
            other = int(255 * (1 - min(abs(value), 1)))
            red, green, blue = (255, other, other) if value > 0 else (other, other, 255)
            words.append(f"\033[30;48;2;{red};{green};{blue}m{word}\033[0m")
        else:
            sign = "+" if value > 0 else "-"
            words.append(word + sign * (2 if abs(value) > 0.5 else 1 if abs(value) > 0.2 else 0))
    return ("" if colors else " ").join(words)


def without(samples, scores, part=0.2):
    """The texts without the tokens of the highest scores; the first and the last one, ``[CLS]`` and ``[SEP]``, stay."""
    left = []
    for sample, row in zip(samples, scores):
        inner = np.array(row[1:-1])
        gone = set((np.argsort(-inner, kind="stable")[: max(round(part * len(inner)), 1)] + 1).tolist())
        left.append(sample._replace(ids=[token for place, token in enumerate(sample.ids) if place not in gone]))
    return left


def main(argv=None):
    arguments = parse(argv)
    corpus = read_corpus(arguments.data_dir, "sentiment")
    report = Report(arguments, "what explains an answer", "drop", train=len(corpus.train), texts=arguments.texts)
    backbone = Backbone.of(arguments, [text for text, _ in corpus.train], layers=2, width=128)
    samples, asked = (encode(backbone.tokenizer, part, arguments.max_length) for part in (corpus.train, corpus.valid))
    if arguments.load:
        model = keras.models.load_model(arguments.load)
    else:
        model = build(arguments, backbone, 2)
        train(model, arguments, samples)
        if arguments.save:
            model.save(arguments.save)
    scores = predict(model, arguments, asked)
    report.facts["accuracy"] = round(accuracy(scores.argmax(axis=1), [sample.label for sample in asked]), 2)
    print(f"accuracy of the classifier: {report.facts['accuracy']:.2f}\n")

    sentences = [(text, 0) for text in arguments.sentence or SENTENCES]
    written = encode(backbone.tokenizer, sentences, arguments.max_length)
    answers = predict(model, arguments, written).argmax(axis=1)
    for sample, row, answer in zip(written, explain(model, written, answers, arguments.steps), answers):
        tokens = backbone.tokenizer.ids_to_tokens(sample.ids)
        print(f"{ANSWERS[answer]:>4}: {show(tokens, row, sys.stdout.isatty())}")

    asked = asked[: arguments.texts]
    scores = scores[: len(asked)]
    answers = scores.argmax(axis=1)
    dice = np.random.default_rng(arguments.seed)
    before = confidence(scores, answers)
    methods = {
        "random tokens taken out": [dice.random(len(sample.ids)) for sample in asked],
        "most important tokens taken out": explain(model, asked, answers, arguments.steps),
    }
    for name, shares in methods.items():
        after = predict(model, arguments, without(asked, shares))
        changed = 100 * float(np.mean(after.argmax(axis=1) != answers))
        row = {"drop": 100 * float(np.mean(before - confidence(after, answers))), "changed": changed}
        report.add(name, row, baseline=name.startswith("random"))
    return report.finish()


def confidence(scores, answers):
    """The probability of an answer."""
    return ops.convert_to_numpy(ops.softmax(scores, axis=-1))[np.arange(len(answers)), answers]


if __name__ == "__main__":
    main()
