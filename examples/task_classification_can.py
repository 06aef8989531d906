"""Better answers without training: uncertain predictions are corrected with the frequencies of the classes (CAN).

Where a classifier hesitates between classes, its sure answers say which of them it has given too often already. CAN puts each
uncertain prediction below all sure ones, scales the columns to the known frequencies, then the rows to one, and reads off the
corrected prediction.

    python task_classification_can.py --task tnews --data-dir tnews_public
    python task_classification_can.py --task iflytek --data-dir iflytek_public --pretrained chinese_roberta --figure can.png

It helps only where probabilities mean what they say. So a part of the training set is kept aside: on it the calibration is
measured, a temperature is fitted that makes the probabilities honest, and the question is answered whether CAN is worth using
here, before anybody looks at the evaluation set. The table shows all of it, helpful or not.

The article: https://kexue.fm/archives/8728, the paper: https://arxiv.org/abs/2109.13449. The data are those of
``task_classification.py``. ``--figure`` needs matplotlib.
"""

import numpy as np
from keras import ops

from keras_su.errors import require
from keras_su.postprocess import CAN
from readers.classification import read_corpus
from task_classification import accuracy, build, encode, options, predict, read, train
from toolbox import Backbone, Report

BAD = 10.0  # percent of calibration error from which the probabilities are called wrong
TEMPERATURES = np.geomspace(0.25, 8.0, 41)


def parse(argv):
    parser = options(__doc__)
    parser.add_argument("--k", type=int, default=3, help="classes between which a prediction may hesitate; default: 3")
    parser.add_argument("--threshold", type=float, default=0.9, help="uncertainty, 0 to 1, from which it is; default: 0.9")
    parser.add_argument("--alpha", type=float, default=1.0, help="power before each iteration; default: 1")
    parser.add_argument("--iters", type=int, default=1, help="iterations; default: 1")
    choices = {"choices": ("training", "uniform"), "default": "training"}
    parser.add_argument("--prior", help="frequencies of the classes: those of the training set, or all equal", **choices)
    parser.add_argument("--figure", metavar="FILE", help="where to draw the confidence before and after")
    return read(parser, argv)


def probabilities_of(scores, temperature=1.0):
    return ops.convert_to_numpy(ops.softmax(scores / temperature, axis=-1))


def calibration_error(probabilities, labels, bins=10):
    """Percent by which confidence and accuracy differ, on average over texts of similar confidence (ECE)."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(np.sum(confidence[places == place] - right[places == place])) for place in range(bins)]
    return 100 * sum(gaps) / len(labels)


def fitted_temperature(scores, labels):
    """The temperature with which the right classes are most probable."""
    rows = np.arange(len(labels))
    surprise = [-np.log(probabilities_of(scores, t)[rows, labels] + 1e-30).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(surprise))])


def figures(probabilities, labels, uncertain):
    """What the table shows; the part of no texts has no accuracy."""
    found = probabilities.argmax(axis=1)
    row = {"accuracy": accuracy(found, labels), "calib. err.": calibration_error(probabilities, labels)}
    for name, part in (("uncertain", uncertain), ("confident", ~uncertain)):
        if part.any():
            row[name] = accuracy(found[part], labels[part])
    return row


def judge(where, before, after, labels, changed):
    """Say plainly what CAN did, and whether its condition holds."""
    gain = accuracy(after.argmax(1), labels) - accuracy(before.argmax(1), labels)
    error = calibration_error(before, labels)
    verdict = "helps" if gain > 0 else "LOWERS THE ACCURACY: do not use it here" if gain < 0 else "changes nothing"
    print(f"{where}: CAN changed {changed} of {len(labels)} rows, accuracy {gain:+.2f}: it {verdict}.")
    if error > BAD:
        print(f"{where}: BADLY CALIBRATED: confidence and accuracy differ by {error:.1f} %. CAN cannot be trusted with this.")
    return gain


def draw(path, before, after, uncertain):
    """Histograms of the largest probability of the uncertain texts."""
    require("matplotlib", "plot", "The figure").use("Agg")
    pyplot = require("matplotlib.pyplot", "plot", "The figure")
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for probabilities, label in ((before, "before CAN"), (after, "after CAN")):
        axes.hist(probabilities[uncertain].max(axis=1), bins=np.linspace(0, 1, 21), alpha=0.5, label=label)
    axes.set(xlabel="largest probability", ylabel="uncertain texts")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv=None):
    arguments = parse(argv)
    corpus = read_corpus(arguments.data_dir, arguments.task)
    dice = np.random.default_rng(arguments.seed)
    order, aside = dice.permutation(len(corpus.train)), max(len(corpus.train) // 8, 1)
    parts = [[corpus.train[i] for i in order[aside:]], [corpus.train[i] for i in order[:aside]], corpus.valid]
    report = Report(arguments, f"{arguments.task}, CAN", "accuracy", train=len(parts[0]), valid=len(corpus.valid))

    backbone = Backbone.of(arguments, [text for text, _ in corpus.train], layers=2, width=128)
    encoded = [encode(backbone.tokenizer, part, arguments.max_length) for part in parts]
    model = build(arguments, backbone, len(corpus.classes))
    train(model, arguments, encoded[0])

    # The classes' frequencies. One that training texts do not have gets a half, so that it is rare and not impossible.
    counts = np.bincount([label for _, label in corpus.train], minlength=len(corpus.classes))
    prior = np.maximum(counts, 0.5) if arguments.prior == "training" else np.ones(len(counts))
    k = min(arguments.k, len(counts))
    correct = CAN(prior, k, arguments.threshold, arguments.alpha, arguments.iters)

    held_out, asked = (predict(model, arguments, part) for part in encoded[1:])
    held_out_labels, labels = (np.array([label for _, label in part]) for part in parts[1:])
    temperature = fitted_temperature(held_out, held_out_labels)
    report.facts.update(temperature=round(temperature, 2), prior=arguments.prior)
    for name, t in (("", 1.0), (f", temperature {temperature:.2f}", temperature)):
        before = probabilities_of(held_out, t)
        after = correct(before)
        judge(f"held-out part of the training set{name}", before, after, held_out_labels, correct.changed)
        before = probabilities_of(asked, t)
        after = correct(before)
        report.add(f"without CAN{name}", figures(before, labels, correct.uncertain), baseline=True)
        report.add(f"with CAN{name}", {**figures(after, labels, correct.uncertain), "changed": correct.changed})
        judge(f"evaluation set{name}", before, after, labels, correct.changed)
    if arguments.figure:
        draw(arguments.figure, before, after, correct.uncertain)
    return report.finish()


if __name__ == "__main__":
    main()
