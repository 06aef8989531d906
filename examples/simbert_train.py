"""SimBERT: one model that finds similar questions and writes them.

A row is ``[CLS] question [SEP] similar question [SEP]``. Under the mask of UniLM the first question does not see the second one:
its vector is that of the question alone, and has to be nearest to that of its partner (contrastive loss over the batch), while
the second question is learned as a text to write. Both losses share every pass.

    python simbert_train.py --data-dir simbert --save runs/simbert --pooling first-last-avg     # a small model, from scratch
    python simbert_train.py --data-dir simbert --pretrained chinese_roberta_wwm --save runs/simbert
    python simbert_train.py --data-dir simbert --config chinese_simbert_L-12_H-768_A-12/bert_config.json \\
        --checkpoint chinese_simbert_L-12_H-768_A-12/bert_model.ckpt --vocab chinese_simbert_L-12_H-768_A-12/vocab.txt --epochs 0
    python simbert_train.py --smoke

The data folder has ``data_similarity.json`` with lines ``{"text": ..., "synonyms": [...]}``, the layout of
https://github.com/ZhuiyiTechnology/simbert, where the published weights are, too. The article: https://kexue.fm/archives/7427.
"""

from pathlib import Path

import keras
import numpy as np

from keras_su.data import BucketedDataset
from keras_su.decoding import Sample, generate
from keras_su.losses import InBatchPairContrastive, Seq2SeqCrossentropy
from keras_su.metrics import mean_reciprocal_rank, recall_at_k
from readers.similarity import hold_out, read_groups, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, optimizer, padded
from toolbox.baselines import character_overlap, tfidf_cosine
from toolbox.sentences import POOLINGS, sentence_vector, unit, vectors_of

SCALE = 30  # of the cosines in the contrastive loss
STEP = 16  # lengths of batches are multiples of this: questions are short


def parse(argv):
    scratch = {"epochs": 6, "batch_size": 64, "learning_rate": 1e-3, "max_length": 32}
    pretrained = {"epochs": 3, "learning_rate": 2e-5}
    options = Options(__doc__, synthetic=write_synthetic, scratch=scratch, pretrained=pretrained, smoke={"max_length": 16})
    add_options(options)
    return options.read(argv)


def add_options(options):
    """What SimBERT and RoFormer-Sim have in common."""
    options.add_argument("--pooling", choices=POOLINGS, default="pooler", help="where vectors come from; default: pooler")
    options.add_argument("--layers", type=int, default=2, help="of the model from scratch; default: 2")
    options.add_argument("--width", type=int, default=128, help="of the model from scratch; default: 128")
    options.add_argument("--generate", type=int, default=100, help="for how many questions to write others; default: 100")
    options.add_argument("--save", type=Path, metavar="DIR", help="folder for the model; --pretrained reads it")


def build(backbone, pooling):
    """The handle with its language model; a model with both outputs, to train; one with the vectors alone."""
    handle = backbone.build(application="unilm", with_pool="linear", with_mlm="linear")
    vector = keras.layers.Identity(name="vector")(sentence_vector(handle, pooling))
    logits = keras.layers.Identity(name="logits")(handle.model.outputs[-1])
    inputs = handle.model.inputs
    return handle, keras.Model(inputs, [vector, logits]), keras.Model(inputs, vector)


class Batches:
    """Rows 2k and 2k + 1 are a pair in both orders: ``[CLS] a [SEP] b [SEP]`` and ``[CLS] b [SEP] a [SEP]``."""

    def __init__(self, tokenizer, max_length, seed):
        self.tokenizer, self.max_length, self.dice = tokenizer, max_length, np.random.default_rng(seed)

    def encode(self, text):
        """What is known of a text before training."""
        return self.tokenizer.encode(text, maxlen=self.max_length)[0]

    def source(self, encoded):
        return encoded

    def target(self, encoded):
        return encoded

    def label(self, encoded):
        """What the vector is compared with. The contrastive loss looks at the batch only."""
        return 0.0

    def rows(self, groups):
        """Two texts of each group, drawn anew each time, in both orders."""
        for group in groups:
            a, b = (group[index] for index in self.dice.choice(len(group), 2, replace=False))
            yield from ((a, b), (b, a))

    def __call__(self, groups):
        rows = list(self.rows(groups))
        sources, targets = [self.source(a) for a, _ in rows], [self.target(b)[1:] for _, b in rows]
        token_ids = padded([a + b for a, b in zip(sources, targets)], step=STEP)
        segment_ids = padded([[0] * len(a) + [1] * len(b) for a, b in zip(sources, targets)], step=STEP)
        labels = np.array([self.label(a) for a, _ in rows], "float32")
        # The segments are the weights of the language model: only the second question is learned by heart.
        return [token_ids, segment_ids], [labels, token_ids], [np.ones(len(rows), "float32"), segment_ids.astype("float32")]


def train(model, groups, batches, similarity_loss, arguments):
    if arguments.epochs == 0:
        return
    encoded = [[batches.encode(text) for text in group] for group in groups]
    length = lambda group: sum(sorted(len(batches.target(text)) for text in group)[-2:])  # noqa: E731
    size = min(arguments.batch_size, len(encoded))
    # Rows without a full batch of rivals would have an easier task: they wait for the next epoch.
    dataset = BucketedDataset(encoded, batches, size, length=length, drop_last=True, seed=arguments.seed)
    rate = optimizer(arguments.learning_rate, arguments.epochs * len(dataset))
    model.compile(rate, loss=[similarity_loss, Seq2SeqCrossentropy()])
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def retrieval(scores, groups):
    """Each text looks for the others of its group among all texts; ``scores`` ``(texts, texts)``."""
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    scores = scores - 1e9 * np.eye(len(owner))
    ranked = np.argsort(-scores, axis=1, kind="stable")
    relevant = [set(np.flatnonzero(owner == one)) - {index} for index, one in enumerate(owner)]
    figures = {"recall@1": recall_at_k(ranked, relevant, 1), "recall@5": recall_at_k(ranked, relevant, 5)}
    return {name: 100 * value for name, value in {**figures, "MRR": mean_reciprocal_rank(ranked, relevant)}.items()}


def baselines(report, groups):
    texts = [text for group in groups for text in group]
    pairs = [(a, b) for a in texts for b in texts]
    for name, method in (("character overlap", character_overlap), ("TF-IDF cosine", lambda p: tfidf_cosine(p, corpus=texts))):
        report.add(name, retrieval(method(pairs).reshape(len(texts), -1), groups), baseline=True)


def evaluate(report, row, encoder, tokenizer, groups, arguments):
    vectors = unit(vectors_of(encoder, tokenizer, [text for group in groups for text in group], arguments.max_length))
    report.add(row, retrieval(vectors @ vectors.T, groups))


def similar(handle, encoder, tokenizer, questions, search, arguments):
    """For each question what the model writes, ``[(cosine, text), ...]`` with the most similar first."""
    prompts = [tokenizer.encode(question, maxlen=arguments.max_length)[0] for question in questions]
    found = generate(
        handle,
        prompts,
        search=search,
        max_new_tokens=arguments.max_length,
        tokenizer=tokenizer,
        seed=arguments.seed,
        batch_size=128,
    )
    written = [[one.text for one in (best, *best.alternatives)] for best in found]
    texts = [*questions, *(text for several in written for text in several)]
    vectors = unit(vectors_of(encoder, tokenizer, texts, arguments.max_length))
    vectors = vectors[: len(questions)], vectors[len(questions) :].reshape(len(questions), search.n, -1)
    cosines = np.einsum("qw,qnw->qn", *vectors)
    return [sorted(zip(row.tolist(), several), reverse=True) for row, several in zip(cosines, written)]


def describe_generation(report, row, handle, encoder, tokenizer, groups, search, arguments):
    """How many of the written questions are others than the given one, and how near the best of those is."""
    chosen = groups[: 2 if arguments.smoke else arguments.generate]
    questions = [group[0] for group in chosen]
    written = similar(handle, encoder, tokenizer, questions, search, arguments)
    plain = lambda text: tokenizer.decode(tokenizer.encode(text, maxlen=arguments.max_length)[0])  # noqa: E731
    others = [[one for one in several if plain(one[1]) != plain(q)] for q, several in zip(questions, written)]
    pairs = vectors_of(encoder, tokenizer, [text for group in chosen for text in group[:2]], arguments.max_length)
    true = np.sum(unit(pairs[::2]) * unit(pairs[1::2]), axis=-1)
    for question, several in list(zip(questions, others))[:5]:
        print(question, "->", "; ".join(f"{text} ({cosine:.2f})" for cosine, text in several[:3]))
    different = 100 * sum(map(len, others)) / sum(map(len, written))
    best = [several[0][0] for several in others if several]
    report.add(row, {"different": different, "cosine": 100 * np.mean(best or [0.0]), "cosine of true": 100 * np.mean(true)})


def main(argv=None):
    arguments = parse(argv)
    groups, held_out = hold_out(read_groups(arguments.data_dir / "data_similarity.json"))
    texts = [text for group in groups for text in group]
    backbone = Backbone.of(arguments, texts, layers=arguments.layers, width=arguments.width)
    handle, model, encoder = build(backbone, arguments.pooling)
    report = Report(arguments, "SimBERT", "MRR", training_groups=len(groups), held_out_groups=len(held_out))
    baselines(report, held_out)
    batches = Batches(backbone.tokenizer, arguments.max_length, arguments.seed)
    train(model, groups, batches, InBatchPairContrastive(SCALE), arguments)
    if arguments.save:
        backbone.save(arguments.save, handle)
    evaluate(report, f"SimBERT, {arguments.pooling}", encoder, backbone.tokenizer, held_out, arguments)
    search = Sample(top_k=5, n=2 if arguments.smoke else 10)
    describe_generation(report, "written questions", handle, encoder, backbone.tokenizer, held_out, search, arguments)
    return report.finish()


if __name__ == "__main__":
    main()
