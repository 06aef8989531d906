"""A model with half the layers, made by replacing those of a trained one at random (BERT of Theseus).

Each two layers of the trained model, the predecessor, get one new layer, the successor, that shall do their work. While it
learns, a coin decides in each step and for each place whether the old or the new plank is in the ship. So every new layer
works with old neighbours whose answers make sense, and no loss compares hidden states. In the end all planks are new.

    python task_classification_theseus.py --task sentiment --data-dir sentiment
    python task_classification_theseus.py --task iflytek --data-dir iflytek_public --pretrained chinese_roberta

The baseline is a model that is as small from the beginning. The article: https://kexue.fm/archives/7575, the paper:
https://arxiv.org/abs/2002.02925. The data are those of ``task_classification.py``.
"""

import keras
from keras import ops

from keras_su.models.graph import Graph
from readers.classification import read_corpus
from task_classification import accuracy, baselines, build, classifier, encode, options, predict, read, train
from toolbox import Backbone, Report


def parse(argv):
    parser = options(__doc__)
    parser.add_argument("--layers", type=int, default=4, help="of the predecessor from scratch, an even number; default: 4")
    return read(parser, argv)


class Coin(keras.layers.Layer):
    """In training one of both, the same for the whole batch; otherwise the new one."""

    def __init__(self, replace=0.5, **kwargs):
        super().__init__(**kwargs)
        self.replace, self.dice, self.supports_masking = replace, keras.random.SeedGenerator(), True

    def call(self, new, old, training=False):
        if not training:
            return new
        return ops.where(keras.random.uniform((), seed=self.dice) < self.replace, new, old)

    def compute_mask(self, new, previous_mask=None):
        return previous_mask[0] if isinstance(previous_mask, (list, tuple)) else previous_mask


class Ship:
    """Predecessor, successor and what they share: embeddings and classifier."""

    def __init__(self, arguments, backbone, classes):
        self.predecessor = backbone.build()
        self.half = self.predecessor.num_hidden_layers // 2
        self.successor = backbone.build(prefix="Successor-", num_hidden_layers=self.half)
        self.inputs = list(self.predecessor.inputs)
        self.extra = [keras.Input((None,), dtype="int32", name="Input-Piece")] if arguments.pieces else []
        self.classifier = classifier(arguments, classes, self.predecessor.initializer)

    def model(self, planks):
        """``"old"``, ``"new"`` or ``"mixed"``: a model through existing layers."""
        old = Graph(self.predecessor.spec, layers=self.predecessor.layers)
        new = Graph(self.successor.spec, layers=self.successor.layers, prefix="Successor-")
        new.read_inputs(self.inputs)  # its masks depend on them
        x = old.apply_embeddings(self.inputs)
        for place in range(self.half):
            before = x
            if planks != "new":
                for index in (2 * place, 2 * place + 1):
                    x = old.apply_main_layers(x, index)
            if planks != "old":
                replaced = new.apply_main_layers(before, place)
                x = Coin()(replaced, x) if planks == "mixed" else replaced
        return keras.Model([*self.inputs, *self.extra], self.classifier(x, *(self.extra or [None])))

    def copy_layers(self):
        """New layers begin as the first old ones, which is better than nothing."""
        old = self.predecessor.variables()
        for path, variable in self.successor.variables().items():
            variable.assign(ops.convert_to_numpy(old[path]))  # a copy: on JAX both would hold the same array


def main(argv=None):
    arguments = parse(argv)
    corpus = read_corpus(arguments.data_dir, arguments.task)
    report = Report(arguments, f"{arguments.task}, Theseus", "accuracy", train=len(corpus.train), valid=len(corpus.valid))
    baselines(report, corpus)
    backbone = Backbone.of(arguments, [text for text, _ in corpus.train], layers=arguments.layers, width=128)
    if arguments.smoke:
        backbone.config["num_hidden_layers"] = 2
    samples, asked = (encode(backbone.tokenizer, part, arguments.max_length) for part in (corpus.train, corpus.valid))

    def evaluate(model, row, **options):
        scores = predict(model, arguments, asked)
        report.add(row, {"accuracy": accuracy(scores.argmax(axis=1), [sample.label for sample in asked])}, **options)

    ship = Ship(arguments, backbone, len(corpus.classes))
    # What anybody would do: the first half of the layers, trained as usual.
    small = build(arguments, backbone, len(corpus.classes), num_hidden_layers=ship.half)
    train(small, arguments, samples)
    evaluate(small, f"{ship.half} layers, trained as usual", baseline=True)

    old, mixed, new = (ship.model(planks) for planks in ("old", "mixed", "new"))
    train(old, arguments, samples)
    evaluate(old, f"predecessor, {2 * ship.half} layers")

    # First phase: only the new layers learn; embeddings, old layers and classifier stay what the predecessor has learned.
    ship.copy_layers()
    fixed = [layer for layer in mixed.layers if not layer.name.startswith("Successor-")]
    for layer in fixed:
        layer.trainable = False
    train(mixed, arguments, samples)
    evaluate(mixed, f"successor, {ship.half} layers, after replacement")

    # Second phase: the old layers are gone, and what is left learns together.
    for layer in fixed:
        layer.trainable = True
    train(new, arguments, samples)
    evaluate(new, f"successor, {ship.half} layers, after fine-tuning")
    return report.finish()


if __name__ == "__main__":
    main()
