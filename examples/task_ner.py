"""Named entities: a CRF, an MEMM or a GlobalPointer on top of an encoder of characters.

    python task_ner.py --data-dir Resume --task resume                    # train.char.bmes, dev.char.bmes
    python task_ner.py --data-dir cluener_public --task cluener --head global_pointer            # train.json, dev.json
    python task_ner.py --data-dir china-people-daily-ner-corpus --task people_daily --head memm  # example.train, example.dev
    python task_ner.py --data-dir weibo --task weibo --config bert_config.json --checkpoint bert_model.ckpt --vocab vocab.txt

* ``crf``: every character gets a tag; scores of tags and of transitions between them add up, and the best path is found.
* ``memm``: the same scores, each tag as a classification given its neighbour. Cheaper to train: no sum over all paths.
* ``global_pointer``, ``efficient_global_pointer``: every pair of a first and a last character gets a score for every type, and
  those above zero are entities. Nothing has to be spelled in tags, and entities could even be nested.

Evaluated is what users see: an entity is right if its type and both ends are. The baseline is a dictionary of the training
entities. Articles: https://kexue.fm/archives/7213 (MEMM), 8373 and 8877 (GlobalPointer). Data: the corpora of
https://github.com/OYE93/Chinese-NLP-Corpus (People's Daily, Weibo), https://github.com/jiesutd/LatticeLSTM (Resume),
https://github.com/CLUEbenchmark/CLUENER2020.
"""

import keras
import numpy as np

from keras_su.data import BucketedDataset
from keras_su.layers import ConditionalRandomField, EfficientGlobalPointer, GlobalPointer, MaximumEntropyMarkovModel
from keras_su.losses import GlobalPointerCrossentropy
from keras_su.metrics import entity_scores
from readers.tagging import NER, read_ner, write_synthetic_ner
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer
from toolbox.tagging import CharacterEncoder, LongestMatch, Tags, cut_samples, predict_spans, tag_labels

HEADS = ("crf", "memm", "global_pointer", "efficient_global_pointer")


class TagHead:
    """CRF or MEMM: a score for every tag of every character, and scores of transitions."""

    def __init__(self, name, types, learning_rate):
        self.tags = Tags(types)
        # Transitions are few and start near zero, and what they say ("E-ORG never follows O") is far larger than what a matrix
        # of a network says: they have to learn about a hundredth per step, whatever the learning rate of the model.
        layer = ConditionalRandomField if name == "crf" else MaximumEntropyMarkovModel
        self.layer = layer(lr_multiplier=max(0.01 / learning_rate, 1.0))
        self.loss = self.layer.sparse_loss

    def __call__(self, vectors):
        return self.layer(keras.layers.Dense(len(self.tags))(vectors))

    def labels(self, samples, length):
        return tag_labels(self.tags, samples, length)

    def decode(self, scores):
        """Spans, from the scores of the characters of one text."""
        if isinstance(self.layer, ConditionalRandomField):
            path = self.tags.decoder(self.layer.trans).decode(scores)
        else:
            path = self._memm_path(scores)
        return self.tags.spans(path)

    def _memm_path(self, scores):
        """The most probable path: the geometric mean of both directions, in which a step depends on the one before or behind."""
        trans = keras.ops.convert_to_numpy(self.layer.trans)
        forward = _log_softmax((scores[1:, None, :] + trans) / 2, axis=2)  # the later tag, given the earlier one
        backward = _log_softmax((scores[:-1, :, None] + trans) / 2, axis=1)  # and the other way round
        steps = np.where(self.tags.allowed(), forward + backward, -1e9)
        first, last = _log_softmax(scores[0], 0), _log_softmax(scores[-1], 0)
        best, origins = np.full(len(self.tags), -1e9), []
        best[self.tags.starts()] = first[self.tags.starts()]
        for step in steps:
            paths = best[:, None] + step
            origins.append(paths.argmax(axis=0))
            best = paths.max(axis=0)
        end = np.full(len(self.tags), -1e9)
        end[self.tags.ends()] = (best + last)[self.tags.ends()]
        path = [end.argmax()]
        for origin in reversed(origins):
            path.append(origin[path[-1]])
        return path[::-1]


def _log_softmax(x, axis):
    return x - np.logaddexp.reduce(x, axis=axis, keepdims=True)


class PointerHead:
    """A score for every span and type."""

    def __init__(self, name, types):
        self.types = types
        self.layer = (GlobalPointer if name == "global_pointer" else EfficientGlobalPointer)(len(types), head_size=64)
        self.loss = GlobalPointerCrossentropy()

    def __call__(self, vectors):
        return self.layer(vectors)

    def labels(self, samples, length):
        table = np.zeros((len(samples), len(self.types), length, length), "float32")
        for row, (_, spans) in zip(table, samples):
            for kind, first, last in spans:
                row[self.types.index(kind), first + 1, last + 1] = 1  # [CLS] is in front
        return table

    def decode(self, scores):
        """Spans, the surest first; the entities of these data sets are flat, so what overlaps a surer one is left out."""
        spans, free = set(), np.ones(scores.shape[-1], bool)
        candidates = np.argwhere(scores > 0)
        for kind, first, last in candidates[np.argsort(-scores[tuple(candidates.T)], kind="stable")]:
            if free[first : last + 1].all():
                free[first : last + 1] = False
                spans.add((self.types[kind], int(first), int(last)))
        return spans


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_synthetic_ner,
        # A rotation by position sees distances without having to learn them.
        scratch={"epochs": 12, "batch_size": 16, "learning_rate": 1e-3, "max_length": 128, "family": "roformer"},
        pretrained={"epochs": 5, "learning_rate": 2e-5, "max_length": 256},
        smoke={"max_length": 32},
    )
    options.add_argument("--task", choices=list(NER), default="resume", help="data set; default: resume")
    options.add_argument("--head", choices=HEADS, default="crf", help="default: crf")
    options.add_argument("--layers", type=int, default=2, help="of a model from scratch; default: 2")
    options.add_argument("--width", type=int, default=128, help="of a model from scratch; default: 128")
    options.add_argument("--hold-out", action="store_true", help="evaluate on a tenth of the training data, to choose settings")
    return options.read(argv)


def read(arguments):
    train = read_ner(arguments.data_dir, arguments.task, "train")
    if arguments.hold_out:
        return [sample for i, sample in enumerate(train) if i % 10 != 9], train[9::10]
    return train, read_ner(arguments.data_dir, arguments.task, "dev")


def build(arguments, encoder, head):
    base = encoder.build()
    vectors = keras.layers.Dropout(0.3 if arguments.from_scratch else 0.1)(base.output)
    return keras.Model(base.inputs, head(vectors))


def train(arguments, model, encoder, head, samples):
    def collate(batch):
        inputs = encoder.inputs([characters for characters, _ in batch], training=True)
        return inputs, head.labels(batch, inputs[0].shape[1])

    # Two places are for [CLS] and [SEP].
    pieces = cut_samples(samples, arguments.max_length - 2)
    dataset = BucketedDataset(pieces, collate, arguments.batch_size, length=lambda sample: len(sample[0]), seed=arguments.seed)
    model.compile(optimizer(arguments.learning_rate, arguments.epochs * len(dataset)), loss=head.loss)
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def predict(arguments, model, encoder, head, texts):
    def find(pieces):
        found = []
        for first in range(0, len(pieces), 512):  # span tables are large: some hundred at a time
            part = pieces[first : first + 512]
            for piece, scores in zip(part, in_order(model, part, lambda texts: (encoder.inputs(texts), None))):
                inside = slice(1, len(piece) + 1)
                found.append(head.decode(scores[..., inside, :] if scores.ndim == 2 else scores[:, inside, inside]))
        return found

    return predict_spans(find, texts, arguments.max_length - 2)


def figures(true, predicted):
    scores = entity_scores(true, predicted).micro
    return {"precision": 100 * scores.precision, "recall": 100 * scores.recall, "F1": 100 * scores.f1}


def main(argv=None):
    arguments = parse(argv)
    training, evaluation = read(arguments)
    texts, true = [characters for characters, _ in evaluation], [spans for _, spans in evaluation]
    types = sorted({kind for _, spans in training for kind, _, _ in spans})
    report = Report(arguments, f"{arguments.task} entities", "F1", training=len(training), evaluation=len(evaluation))
    dictionary = LongestMatch(training)
    report.add("dictionary of training entities", figures(true, [dictionary.spans(text) for text in texts]), baseline=True)

    training_texts = [characters for characters, _ in training]
    sizes = {"layers": arguments.layers, "width": arguments.width}
    backbone = Backbone.of(arguments, ["".join(text) for text in training_texts], **sizes)
    encoder = CharacterEncoder(backbone, training_texts, pairs=arguments.from_scratch, seed=arguments.seed)
    tagger = arguments.head in ("crf", "memm")
    head = TagHead(arguments.head, types, arguments.learning_rate) if tagger else PointerHead(arguments.head, types)
    model = build(arguments, encoder, head)
    train(arguments, model, encoder, head, training)
    report.add(arguments.head, figures(true, predict(arguments, model, encoder, head, texts)))
    return report.finish()


if __name__ == "__main__":
    main()
