"""Chinese word segmentation: every character begins, continues or ends a word, or is one (BMES), decided by a CRF.

    python task_word_segmentation.py --data-dir icwb2-data --task pku         # training/pku_training.utf8
    python task_word_segmentation.py --data-dir icwb2-data --task msr         # training/msr_training.utf8
    python task_word_segmentation.py --data-dir UD_GSD --task gsd             # train.conll, dev.conll
    python task_word_segmentation.py --data-dir icwb2-data --task pku --pretrained chinese_roberta

Of PKU and MSR, the last tenth of the lines of the training file is for evaluation. A word is right if both of its ends are. The
baseline is forward maximum matching with the words of the training part: the longest known word at each place. What it cannot
do is seen in a figure of its own, the recall of words that training does not have (OOV).

Data: http://sighan.cs.uchicago.edu/bakeoff2005/ and Universal Dependencies' Chinese GSD, as in
https://github.com/hankcs/multi-criteria-cws.
"""

import keras

from keras_su.data import BucketedDataset
from keras_su.layers import ConditionalRandomField
from keras_su.metrics import span_scores
from keras_su.tokenizers import segmenter
from readers.tagging import read_segmentation, words_as_sample, write_synthetic_words
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer
from toolbox.tagging import CharacterEncoder, LongestMatch, Tags, cut_samples, predict_spans, tag_labels

TAGS = Tags([""], outside=False)  # every character belongs to a word


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_synthetic_words,
        # A rotation by position sees distances without having to learn them.
        scratch={"epochs": 8, "batch_size": 16, "learning_rate": 1e-3, "max_length": 64, "family": "roformer"},
        pretrained={"epochs": 5, "learning_rate": 2e-5, "max_length": 256},
        smoke={"max_length": 32},
    )
    options.add_argument("--task", choices=("pku", "msr", "gsd"), default="pku", help="data set; default: pku")
    options.add_argument("--layers", type=int, default=2, help="of a model from scratch; default: 2")
    options.add_argument("--width", type=int, default=128, help="of a model from scratch; default: 128")
    options.add_argument("--hold-out", action="store_true", help="evaluate on a tenth of the training data, to choose settings")
    options.add_argument("--jieba", action="store_true", help="a row more: the dictionary of jieba")
    return options.read(argv)


def read(arguments):
    train, evaluation = read_segmentation(arguments.data_dir, arguments.task)
    if arguments.hold_out:
        return [sample for i, sample in enumerate(train) if i % 10 != 9], train[9::10]
    return train, evaluation


def build(arguments, encoder, crf):
    base = encoder.build()
    vectors = keras.layers.Dropout(0.3 if arguments.from_scratch else 0.1)(base.output)
    return keras.Model(base.inputs, crf(keras.layers.Dense(len(TAGS))(vectors)))


def train(arguments, model, encoder, crf, samples):
    def collate(batch):
        inputs = encoder.inputs([characters for characters, _ in batch], training=True)
        return inputs, tag_labels(TAGS, batch, inputs[0].shape[1])

    # Long lines are cut behind marks of punctuation. Two places are for [CLS] and [SEP].
    pieces = cut_samples(samples, arguments.max_length - 2)
    dataset = BucketedDataset(pieces, collate, arguments.batch_size, length=lambda sample: len(sample[0]), seed=arguments.seed)
    model.compile(optimizer(arguments.learning_rate, arguments.epochs * len(dataset)), loss=crf.sparse_loss)
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def predict(arguments, model, encoder, crf, texts):
    decoder = TAGS.decoder(crf.trans)  # a path that is made of whole words

    def find(pieces):
        scores = in_order(model, pieces, lambda texts: (encoder.inputs(texts), None))
        return [TAGS.spans(decoder.decode(rows[1 : len(piece) + 1])) for piece, rows in zip(pieces, scores)]

    return predict_spans(find, texts, arguments.max_length - 2)


def figures(evaluation, predicted, known):
    """Of words; ``known`` are those of training."""
    true = [spans for _, spans in evaluation]
    scores = span_scores(true, predicted)
    new = [{s for s in spans if "".join(text[s[1] : s[2] + 1]) not in known} for text, spans in evaluation]
    return {
        "precision": 100 * scores.precision,
        "recall": 100 * scores.recall,
        "F1": 100 * scores.f1,
        "OOV recall": 100 * span_scores(new, predicted).recall,
    }


def main(argv=None):
    arguments = parse(argv)
    training, evaluation = read(arguments)
    texts = [characters for characters, _ in evaluation]
    matcher = LongestMatch(training)
    words = sum(len(spans) for _, spans in evaluation)
    report = Report(arguments, f"{arguments.task} words", "F1", training=len(training), evaluation=len(evaluation), words=words)
    matched = [matcher.spans(text, every=True) for text in texts]
    report.add("longest match of training words", figures(evaluation, matched, matcher.types), baseline=True)
    if arguments.jieba:
        cut = segmenter()  # a large dictionary that follows conventions of its own
        cuts = [words_as_sample(cut("".join(text)))[1] for text in texts]
        report.add("jieba", figures(evaluation, cuts, matcher.types), note="follows conventions of its own")

    training_texts = [characters for characters, _ in training]
    sizes = {"layers": arguments.layers, "width": arguments.width}
    backbone = Backbone.of(arguments, ["".join(text) for text in training_texts], **sizes)
    encoder = CharacterEncoder(backbone, training_texts, pairs=arguments.from_scratch, seed=arguments.seed)
    # Transitions have to learn about a hundredth per step, whatever the learning rate of the model.
    crf = ConditionalRandomField(lr_multiplier=max(0.01 / arguments.learning_rate, 1.0))
    model = build(arguments, encoder, crf)
    train(arguments, model, encoder, crf, training)
    report.add("CRF", figures(evaluation, predict(arguments, model, encoder, crf, texts), matcher.types))
    return report.finish()


if __name__ == "__main__":
    main()
