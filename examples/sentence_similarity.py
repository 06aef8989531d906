"""How similar are two sentences? Unsupervised vectors, whitening, Sentence-BERT and CoSENT on five Chinese sets.

Vectors are compared by their cosine, so they can be kept and searched. Sentence-BERT classifies ``[u, v, |u - v|]`` in training
and trusts that the cosine follows; CoSENT trains the order of the cosines themselves. The measure is Spearman's rank correlation
with the labels, times 100, and its mean over ATEC, BQ, LCQMC, PAWSX and STS-B.

    python sentence_similarity.py --data-dir senteval_cn --pretrained runs/simbert --whiten --head none cosent
    python sentence_similarity.py --data-dir senteval_cn --pretrained chinese_roberta_wwm --head sbert cosent --nli cnsd/dev.jsonl
    python sentence_similarity.py --data-dir senteval_cn --head none --pooling pooler --evaluate runs/roformer_sim_1 \\
        --config chinese_simbert_L-12_H-768_A-12/bert_config.json --checkpoint chinese_simbert_L-12_H-768_A-12/bert_model.ckpt \\
        --vocab chinese_simbert_L-12_H-768_A-12/vocab.txt
    python sentence_similarity.py --smoke

The data folder has ``ATEC/ATEC.train.data``, ``ATEC/ATEC.valid.data`` and so on, with lines ``text TAB text TAB label``, as in
https://github.com/bojone/BERT-whitening. The articles: https://kexue.fm/archives/8069 (whitening),
https://kexue.fm/archives/8847 (CoSENT), https://kexue.fm/archives/8541 (several kinds of labels in one Sentence-BERT).
"""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_su.data import BucketedDataset
from keras_su.losses import CoSENT, split_pairs, token_crossentropy
from keras_su.metrics import spearman
from readers.similarity import NLI, SETS, hold_out, read_nli, read_pairs, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, optimizer, padded_pairs
from toolbox.baselines import character_overlap, tfidf_cosine
from toolbox.sentences import POOLINGS, sentence_vector, unit, vectors_of

STEP = 16  # lengths of batches are multiples of this
HIGHEST = {"STS-B": 5.0}  # label of the most similar pairs, where it is not 1


def parse(argv):
    scratch = {"epochs": 4, "batch_size": 64, "learning_rate": 1e-3, "max_length": 64}
    options = Options(__doc__, synthetic=write_synthetic, scratch=scratch, smoke={"max_length": 32})
    options.add_argument("--head", nargs="+", choices=["none", "sbert", "cosent"], default=["cosent"], help="how to train")
    options.add_argument("--pooling", choices=POOLINGS, default="first-last-avg", help="default: first-last-avg")
    options.add_argument("--whiten", action="store_true", help="untrained vectors also after whitening on the training sentences")
    options.add_argument("--evaluate", nargs="+", default=[], metavar="DIR", help="further folders to evaluate as they are")
    options.add_argument("--nli", type=Path, metavar="FILE", help="sbert: also classify the pairs of this file (CNSD, OCNLI)")
    options.add_argument("--layers", type=int, default=2, help="of the model from scratch; default: 2")
    options.add_argument("--width", type=int, default=128, help="of the model from scratch; default: 128")
    options.add_argument("--hold-out", action="store_true", help="evaluate on a part of the training pairs, to choose settings")
    return options.read(argv)


def read(arguments):
    """Training pairs of all sets together, and the pairs to evaluate on, set by set."""
    training, evaluation = [], {}
    for name in SETS:
        pairs = read_pairs(arguments.data_dir, name, "train")
        if arguments.hold_out:
            pairs, evaluation[name] = hold_out(pairs, 0.1)
        else:
            evaluation[name] = read_pairs(arguments.data_dir, name, "valid")
        training += pairs
    return training, evaluation


def build(backbone, pooling):
    """A model from token ids and segment ids to the vectors of the sentences."""
    options = {"with_pool": "linear"} if pooling == "pooler" else {}
    handle = backbone.build(**options)
    return keras.Model(handle.model.inputs, sentence_vector(handle, pooling))


def collate(pairs):
    """Rows 2k and 2k + 1 are the sentences of pair k; both have its label."""
    encoded = [sentence for pair in pairs for sentence in pair[:2]]
    return padded_pairs(encoded, step=STEP), np.repeat([[pair[2]] for pair in pairs], 2, axis=0).astype("float32")


def dataset_of(pairs, tokenizer, label, arguments):
    samples = [
        (*(tokenizer.encode(text, maxlen=arguments.max_length) for text in (pair.first, pair.second)), label(pair), pair.source)
        for pair in pairs
    ]
    # A label says which of two pairs of a set is more similar, and little about pairs of other sets: pairs are put together by
    # set, as others are by length.
    number = {name: 1000 * index for index, name in enumerate((*SETS, "NLI"))}
    length = lambda sample: number[sample[3]] + max(len(ids) for ids, _ in sample[:2])  # noqa: E731
    size = min(arguments.batch_size, len(samples))
    return BucketedDataset(samples, collate, size, length=length, drop_last=True, seed=arguments.seed)


def similarity_label(pair):
    """From 0 to 1."""
    return pair.label / HIGHEST.get(pair.source, 1.0)


class BlockCrossentropy(keras.losses.Loss):
    """Cross entropy over the classes of the kind that a sample has: 0 and 1 are similarity, the others NLI."""

    def call(self, labels, logits):
        labels = ops.cast(split_pairs(labels)[0][:, 0], "int32")  # the logits have one row for each pair
        similarity = ops.arange(2 + len(NLI)) < 2
        own_block = ops.equal(ops.expand_dims(labels < 2, 1), similarity)
        return token_crossentropy(labels, ops.where(own_block, logits, -float("inf")))


def class_label(pair):
    if pair.source == "NLI":
        return 2 + pair.label
    return float(similarity_label(pair) > 0.5)


def train(encoder, head, pairs, tokenizer, arguments):
    """Train the encoder through a head, which is then thrown away."""
    if head == "cosent":
        model, loss, label = encoder, CoSENT(), similarity_label
    else:
        both = ops.reshape(encoder.output, (-1, 2, encoder.output.shape[-1]))
        first, second = both[:, 0], both[:, 1]
        features = ops.concatenate([first, second, ops.absolute(first - second)], axis=-1)
        model = keras.Model(encoder.inputs, keras.layers.Dense(2 + len(NLI), use_bias=False)(features))
        loss, label = BlockCrossentropy(), class_label
        pairs = pairs + (read_nli(arguments.nli) if arguments.nli else [])
    dataset = dataset_of(pairs, tokenizer, label, arguments)
    model.compile(optimizer(arguments.learning_rate, arguments.epochs * len(dataset)), loss)
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def whitening(vectors):
    """Shift and matrix after which the vectors have mean 0 and the identity as covariance: then cosines mean something."""
    mean = vectors.mean(axis=0)
    directions, variances, _ = np.linalg.svd(np.cov((vectors - mean).T))
    return mean, directions / np.sqrt(variances + 1e-9)


def evaluate(report, row, encode, evaluation, note=None):
    """A row of the table; ``encode`` makes vectors of a list of texts."""
    figures = {}
    for name, pairs in evaluation.items():
        vectors = unit(encode([text for pair in pairs for text in (pair.first, pair.second)]))
        figures[name] = 100 * spearman(np.sum(vectors[::2] * vectors[1::2], axis=-1), [pair.label for pair in pairs])
    report.add(row, {"mean": np.mean(list(figures.values())), **figures}, note=note)


def evaluate_untrained(report, row, encoder, tokenizer, training, evaluation, arguments):
    encode = lambda texts: vectors_of(encoder, tokenizer, texts, arguments.max_length)  # noqa: E731
    evaluate(report, row, encode, evaluation)
    if arguments.whiten:
        mean, matrix = whitening(encode([text for pair in training for text in (pair.first, pair.second)]))
        evaluate(report, f"{row}, whitened", lambda texts: (encode(texts) - mean) @ matrix, evaluation)


def baselines(report, evaluation):
    for name, method in (("character overlap", character_overlap), ("TF-IDF cosine", tfidf_cosine)):
        scores = {
            one: 100 * spearman(method([(pair.first, pair.second) for pair in pairs]), [pair.label for pair in pairs])
            for one, pairs in evaluation.items()
        }
        report.add(name, {"mean": np.mean(list(scores.values())), **scores}, baseline=True)


def main(argv=None):
    arguments = parse(argv)
    training, evaluation = read(arguments)
    if arguments.smoke:
        arguments.nli = arguments.data_dir / "nli.jsonl"
    report = Report(arguments, "Spearman x 100", "mean", training_pairs=len(training))
    baselines(report, evaluation)
    for folder in arguments.evaluate:
        other = Backbone.load(folder)
        encoder = build(other, arguments.pooling)
        evaluate_untrained(report, Path(folder).name, encoder, other.tokenizer, training, evaluation, arguments)
    texts = [text for pair in training for text in (pair.first, pair.second)]
    backbone = Backbone.of(arguments, texts, layers=arguments.layers, width=arguments.width)
    name = "from scratch" if arguments.from_scratch else Path(arguments.pretrained or arguments.config).name
    for head in arguments.head:
        encoder = build(backbone, arguments.pooling)
        if head == "none":
            evaluate_untrained(report, name, encoder, backbone.tokenizer, training, evaluation, arguments)
            continue
        train(encoder, head, training, backbone.tokenizer, arguments)
        encode = lambda texts: vectors_of(encoder, backbone.tokenizer, texts, arguments.max_length)  # noqa: B023, E731
        evaluate(report, f"{'CoSENT' if head == 'cosent' else 'Sentence-BERT'}, {name}", encode, evaluation)
    return report.finish()


if __name__ == "__main__":
    main()
