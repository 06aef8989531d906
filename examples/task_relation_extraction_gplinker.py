"""Relation extraction with GPLinker: all (subject, predicate, object) triples of a sentence in one step.

A triple is five numbers: the first and last token of the subject, those of the object, and the predicate. GPLinker scores them
with three global pointers:

* which spans are subjects, which are objects;
* for each predicate, which *first* token of a subject belongs to which first token of an object;
* the same for the *last* tokens.

A triple is predicted where all of its scores are positive. No threshold has to be tuned, names may overlap, and one name may
take part in many triples.

    python task_relation_extraction_gplinker.py --data-dir duie                               # from scratch
    python task_relation_extraction_gplinker.py --data-dir duie --pretrained chinese-roberta-wwm-ext
    python task_relation_extraction_gplinker.py --smoke

The folder holds duie_train.json, duie_dev.json and duie_schema.json (DuIE 2.0, https://www.luge.ai), or train_data.json,
dev_data.json and all_50_schemas (LIC2019, https://ai.baidu.com/broad/download?dataset=sked). Figures are strict: a triple counts
if its three texts are right. The article: https://kexue.fm/archives/8888; the pointers: https://kexue.fm/archives/8877.
See task_relation_extraction_casrel.py for the same in two steps.
"""

import keras
import numpy as np
from tqdm import tqdm

from keras_su.data import BucketedDataset
from keras_su.layers import EfficientGlobalPointer
from keras_su.losses import GlobalPointerCrossentropy
from readers.relations import Renaming, Triple, figures, known_pairs, read_relations, text_of, token_triples, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, optimizer, padded_pairs


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_synthetic,
        # Rotary positions: what a model learns about neighbours holds everywhere. A table of positions would need far more text.
        scratch={"epochs": 15, "batch_size": 16, "learning_rate": 1e-3, "family": "roformer"},
        pretrained={"epochs": 10},
    )
    return options.read(argv)


class Labels:
    """From sentences to batches."""

    def __init__(self, backbone, predicates, length, most, renaming=None):
        self.tokenizer, self.length, self.most, self.renaming = backbone.tokenizer, length, most, renaming
        self.predicates = {name: i for i, name in enumerate(predicates)}

    def __call__(self, sentences):
        if self.renaming:
            sentences = [self.renaming(sentence) for sentence in sentences]
        inputs = padded_pairs([self.tokenizer.encode(sentence.text, maxlen=self.length) for sentence in sentences])
        # Labels are lists of (row, column), filled up with (0, 0): tables of predicates by tokens by tokens would be huge.
        shape = len(sentences), len(self.predicates), self.most, 2
        spans, firsts, lasts = np.zeros((shape[0], 2, *shape[2:]), "int32"), np.zeros(shape, "int32"), np.zeros(shape, "int32")
        for row, sentence in enumerate(sentences):
            triples = self.triples(sentence)
            self.fill(spans[row, 0], {subject for subject, _, _ in triples})
            self.fill(spans[row, 1], {object_ for _, _, object_ in triples})
            for name, predicate in self.predicates.items():
                pairs = [(subject, object_) for subject, p, object_ in triples if p == name]
                self.fill(firsts[row, predicate], {(subject[0], object_[0]) for subject, object_ in pairs})
                self.fill(lasts[row, predicate], {(subject[1], object_[1]) for subject, object_ in pairs})
        return inputs, (spans, firsts, lasts)

    def triples(self, sentence):
        return token_triples(sentence, self.offsets(sentence.text))

    def offsets(self, text):
        return self.tokenizer.offsets(text)[: self.length - 1]  # the last token is the end

    def fill(self, labels, pairs):
        for place, pair in zip(labels, sorted(pairs)):
            place[:] = pair


def build(backbone, predicates):
    handle = backbone.build()
    hidden = handle.model.output
    spans = EfficientGlobalPointer(2, 64, name="Spans")(hidden)
    # Subject and object may stand in either order, and how far apart says little: no triangle, no rotation.
    pairs = {"RoPE": False, "tril_mask": False}
    firsts = EfficientGlobalPointer(len(predicates), 64, **pairs, name="Firsts")(hidden)
    lasts = EfficientGlobalPointer(len(predicates), 64, **pairs, name="Lasts")(hidden)
    return keras.Model(handle.model.inputs, [spans, firsts, lasts])


def decode(spans, firsts, lasts):
    """Triples of one sentence from its three tables, as ``(span, predicate, span)``."""
    subjects, objects = (np.argwhere(table > 0) for table in spans)
    if not len(subjects) or not len(objects):
        return []
    both = (firsts[:, subjects[:, :1], objects[:, 0]] > 0) & (lasts[:, subjects[:, 1:], objects[:, 1]] > 0)
    return [(subjects[s], predicate, objects[o]) for predicate, s, o in np.argwhere(both)]


def extract(model, labels, sentences, batch_size=16):
    """The set of triples of each sentence."""
    names, found = list(labels.predicates), [None] * len(sentences)
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i].text))  # similar lengths, little padding
    for start in tqdm(range(0, len(order), batch_size), desc="extract", unit=" batches", disable=None):
        rows = order[start : start + batch_size]
        inputs, _ = labels([sentences[row] for row in rows])
        tables = [keras.ops.convert_to_numpy(table) for table in model.predict_on_batch(inputs)]
        for row, *scores in zip(rows, *tables):
            text = sentences[row].text
            offsets = labels.offsets(text)
            found[row] = {
                Triple(text_of(text, offsets, subject), names[predicate], text_of(text, offsets, object_))
                for subject, predicate, object_ in decode(*scores)
                if 0 < min(subject[0], object_[0]) and max(subject[1], object_[1]) < len(offsets)  # not start or end token
            }
    return found


def main(argv=None):
    arguments = parse(argv)
    train, dev, predicates = read_relations(arguments.data_dir)
    report = Report(arguments, "relations, GPLinker", "f1", training_sentences=len(train), sentences=len(dev))
    report.add("pairs of training", figures(dev, known_pairs(train, dev)), baseline=True)

    backbone = Backbone.of(arguments, [sentence.text for sentence in train], layers=3, positions=arguments.max_length)
    renaming = Renaming(train, np.random.default_rng(arguments.seed)) if arguments.from_scratch else None
    most = max(len(sentence.triples) for sentence in train)  # fixed for all batches, so that shapes differ in length only
    labels = Labels(backbone, predicates, arguments.max_length, most, renaming)
    dataset = BucketedDataset(train, labels, arguments.batch_size, length=lambda s: len(s.text), seed=arguments.seed)
    model = build(backbone, predicates)
    model.compile(
        optimizer(arguments.learning_rate, arguments.epochs * len(dataset)),
        loss=[GlobalPointerCrossentropy(sparse=True, heads="sum") for _ in model.outputs],
        loss_weights=[1 / 3] * 3,
    )
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)

    labels.renaming = None
    report.add("GPLinker", figures(dev, extract(model, labels, dev)))
    return report.finish()


if __name__ == "__main__":
    main()
