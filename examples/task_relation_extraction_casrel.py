"""Relation extraction with CasRel: first the subjects of a sentence, then for each subject its objects, predicate by predicate.

Both steps mark names by *half pointers*: for every token one probability that a name starts there and one that a name ends
there. The second step has such a pair for each predicate. It reads the same vectors as the first, through a layer norm whose
scale and offset depend on the subject (conditional layer norm), so that the sentence is seen with the eyes of this subject.

Nearly all labels are zeros. The model learns the n-th root of each probability, which makes zeros easy from the start.

    python task_relation_extraction_casrel.py --data-dir duie                               # from scratch
    python task_relation_extraction_casrel.py --data-dir duie --pretrained chinese-roberta-wwm-ext
    python task_relation_extraction_casrel.py --smoke

The folder holds duie_train.json, duie_dev.json and duie_schema.json (DuIE 2.0, https://www.luge.ai), or train_data.json,
dev_data.json and all_50_schemas (LIC2019, https://ai.baidu.com/broad/download?dataset=sked). Figures are strict: a triple counts
if its three texts are right. The article: https://kexue.fm/archives/7161; the paper: arXiv 1909.03227.
See task_relation_extraction_gplinker.py for the same in one step.
"""

import keras
import numpy as np
from keras import ops

from keras_su.data import BucketedDataset
from keras_su.layers import LayerNormalization
from readers.relations import Renaming, Triple, figures, known_pairs, read_relations, text_of, token_triples, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer, padded_pairs

PADDING = -1  # label of what does not count
SUBJECT_POWER, OBJECT_POWER = 2, 4  # there are many more zeros among the labels of objects


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_synthetic,
        # Rotary positions: what a model learns about neighbours holds everywhere. A table of positions would need far more text.
        scratch={"epochs": 30, "batch_size": 16, "learning_rate": 1e-3, "family": "roformer"},
        pretrained={"epochs": 20},
    )
    return options.read(argv)


class Batches:
    """From sentences to inputs and labels; each sentence gets one of its subjects, another one in every epoch."""

    def __init__(self, backbone, predicates, length, random, renaming=None):
        self.tokenizer, self.length, self.random, self.renaming = backbone.tokenizer, length, random, renaming
        self.predicates = {name: i for i, name in enumerate(predicates)}

    def inputs(self, texts, subjects):
        encoded = [self.tokenizer.encode(text, maxlen=self.length) for text in texts]
        return [*padded_pairs(encoded), np.array(subjects, "int32").reshape(-1, 2)]

    def offsets(self, text):
        return self.tokenizer.offsets(text)[: self.length - 1]  # the last token is the end

    def __call__(self, sentences):
        if self.renaming:
            sentences = [self.renaming(sentence) for sentence in sentences]
        relations = [token_triples(sentence, self.offsets(sentence.text)) for sentence in sentences]
        chosen = [self.subject(triples) for triples in relations]
        inputs = self.inputs([sentence.text for sentence in sentences], chosen)
        subjects = np.zeros((*inputs[0].shape, 2), "float32")
        objects = np.zeros((*inputs[0].shape, len(self.predicates), 2), "float32")
        for row, (triples, subject) in enumerate(zip(relations, chosen)):
            for (first, last), predicate, (object_first, object_last) in triples:
                subjects[row, first, 0] = subjects[row, last, 1] = 1
                if (first, last) == subject:
                    objects[row, object_first, self.predicates[predicate], 0] = 1
                    objects[row, object_last, self.predicates[predicate], 1] = 1
        padding = inputs[0] == 0
        subjects[padding] = objects[padding] = PADDING
        return inputs, (subjects, objects)

    def subject(self, triples):
        """One of the names. Some are objects only: what the first step finds by mistake, the second should find nothing for."""
        kind = 2 if self.random.random() < 0.2 else 0
        return triples[self.random.integers(len(triples))][kind] if triples else (0, 0)


class HalfPointerLoss(keras.losses.Loss):
    """Binary cross-entropy from logarithms of probabilities, summed over what is marked, and averaged over the tokens."""

    def call(self, labels, log_probabilities):
        counts = ops.cast(labels != PADDING, "float32")
        log_of_not = ops.log(ops.maximum(-ops.expm1(log_probabilities), 1e-7))
        losses = -ops.where(labels > 0, log_probabilities, log_of_not) * counts
        tokens = ops.sum(counts) / np.prod(labels.shape[2:])
        sentences = ops.cast(ops.shape(labels)[0], "float32")
        return ops.sum(losses, axis=tuple(range(1, len(labels.shape)))) * sentences / tokens  # their mean is that of the tokens


def build(backbone, predicates):
    """Token ids, segment ids, first and last token of a subject -> log-probabilities for subjects and for its objects."""
    handle = backbone.build()
    hidden = handle.model.output
    subject = keras.Input((2,), dtype="int32", name="Subject")
    subjects = SUBJECT_POWER * ops.log_sigmoid(keras.layers.Dense(2, name="Subjects")(hidden))
    ends = ops.reshape(ops.take_along_axis(hidden, subject[..., None], axis=1), (-1, 2 * hidden.shape[-1]))
    seen = LayerNormalization(conditional=True, name="Seen-By-Subject")([hidden, ends])
    objects = keras.layers.Dense(len(predicates) * 2, name="Objects")(seen)
    objects = keras.layers.Reshape((-1, len(predicates), 2))(OBJECT_POWER * ops.log_sigmoid(objects))
    return keras.Model([*handle.model.inputs, subject], [subjects, objects])


def names(log_probabilities, length):
    """``[(first, last), ...]`` from ``(tokens, 2)``: each start with the nearest end that is not before it."""
    starts, ends = (np.flatnonzero(np.exp(column[:length]) > 0.5) for column in log_probabilities.T)
    following = [ends[ends >= start] for start in starts if start > 0]  # token 0 is the start token
    return [(int(start), int(rest[0])) for start, rest in zip(starts[starts > 0], following) if len(rest)]


def extract(model, batches, sentences):
    """The set of triples of each sentence."""
    texts = [sentence.text for sentence in sentences]
    offsets = [batches.offsets(text) for text in texts]

    def read(jobs):
        return batches.inputs([texts[row] for row, _ in jobs], [subject for _, subject in jobs]), None

    length = lambda job: len(texts[job[0]])  # noqa: E731
    # Every sentence once for its subjects, and then once more for each of them: simple, and as right as reading it only once.
    jobs = [(row, (0, 0)) for row in range(len(texts))]
    marked = in_order(model, jobs, read, length=length, name="subjects")
    jobs = [(row, subject) for row, (found, _) in enumerate(marked) for subject in names(found, len(offsets[row]))]
    triples = [set() for _ in texts]
    for (row, subject), (_, found) in zip(jobs, in_order(model, jobs, read, length=length, name="objects") if jobs else ()):
        quoted = lambda span, row=row: text_of(texts[row], offsets[row], span)  # noqa: E731
        for predicate, i in batches.predicates.items():
            triples[row] |= {Triple(quoted(subject), predicate, quoted(span)) for span in names(found[:, i], len(offsets[row]))}
    return triples


def main(argv=None):
    arguments = parse(argv)
    train, dev, predicates = read_relations(arguments.data_dir)
    report = Report(arguments, "relations, CasRel", "f1", training_sentences=len(train), sentences=len(dev))
    report.add("pairs of training", figures(dev, known_pairs(train, dev)), baseline=True)

    backbone = Backbone.of(arguments, [sentence.text for sentence in train], layers=3, positions=arguments.max_length)
    random = np.random.default_rng(arguments.seed)
    renaming = Renaming(train, random) if arguments.from_scratch else None
    batches = Batches(backbone, predicates, arguments.max_length, random, renaming)
    dataset = BucketedDataset(train, batches, arguments.batch_size, length=lambda s: len(s.text), seed=arguments.seed)
    model = build(backbone, predicates)
    steps = arguments.epochs * len(dataset)
    model.compile(optimizer(arguments.learning_rate, steps), loss=[HalfPointerLoss(), HalfPointerLoss()])
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)
    report.add("CasRel", figures(dev, extract(model, batches, dev)))
    return report.finish()


if __name__ == "__main__":
    main()
