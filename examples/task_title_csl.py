"""Titles of scientific abstracts (CSL): sequence to sequence with UniLM or T5, and copying for those who have few samples.

A pre-trained model writes a title freely. A model that starts from scratch with some hundred pairs cannot write, but it can
learn *what to copy*: most of a title stands in its abstract. So the network that writes has a second task. For every token of
the abstract it says whether the title takes it, as in the copy mechanism with BIO tags, but on the side of the source. These
tags choose a title alone (the span with the highest expected ROUGE-L), or guide a beam search that follows the abstract.

    python task_title_csl.py --data-dir csl                      # UniLM from scratch
    python task_title_csl.py --data-dir csl --head t5
    python task_title_csl.py --data-dir csl --pretrained chinese_roberta_wwm
    python task_title_csl.py --data-dir csl --head t5 --pretrained t5_pegasus_small --learning-rate 2e-4

The folder holds ``train.tsv`` and ``val.tsv`` with lines ``title TAB abstract``. The articles:
https://kexue.fm/archives/6933 (UniLM), https://kexue.fm/archives/8209 (T5-PEGASUS), https://kexue.fm/archives/8046 (copying).
The data: https://github.com/ydli-ai/CSL, https://github.com/CLUEbenchmark/CLGE.
"""

from dataclasses import dataclass

import keras
import numpy as np

from keras_su.data import BucketedDataset
from keras_su.decoding import Beam, NoRepeatNGram, PassageConstraint, generate
from keras_su.losses import Seq2SeqCrossentropy
from keras_su.metrics import bleu, rouge
from readers.titles import LONGEST, copy_marks, read_titles, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer, padded

TITLE = 32  # tokens of a title
BASELINE = 20  # characters
# Chosen on a fifth of the training pairs: how much the looks of both ends count, and how likely a token must be copied to help.
ENDS, HELPFUL = 0.1, 0.2


@dataclass(frozen=True)
class Lesson:
    """An abstract and its title as ids, and ``(copied, first, last)`` for each token of the abstract."""

    source: list
    target: list
    marks: list

    @classmethod
    def of(cls, title, abstract, tokenizer, max_length):
        source, target = tokenizer.encode(abstract, maxlen=max_length)[0], tokenizer.encode(title, maxlen=TITLE)[0]
        unknown = tokenizer.token_to_id("[UNK]")
        named = [token if token != unknown else -1 - place for place, token in enumerate(target)]  # unknown is not equal
        return cls(source, target, [[0] * 3, *copy_marks(named[1:-1], source[1:-1]), [0] * 3])


def collate(lessons, head):
    """Inputs; labels and their weights for both outputs: next tokens, and marks."""
    sources = [lesson.source for lesson in lessons]
    if head == "t5":
        inputs = [padded(sources), padded([lesson.target for lesson in lessons])]
        written, weights = inputs[1], inputs[1] > 0
        read = inputs[0] > 0
    else:
        inputs = [
            padded([lesson.source + lesson.target[1:] for lesson in lessons]),
            padded([[0] * len(lesson.source) + [1] * (len(lesson.target) - 1) for lesson in lessons]),
        ]
        written, weights = inputs
        read = (inputs[0] > 0) & (weights == 0)
    marks = np.zeros((*read.shape, 3), "float32")
    for row, lesson in zip(marks, lessons):
        row[: len(lesson.marks)] = lesson.marks
    return tuple(inputs), (written, marks), (weights.astype("float32"), read.astype("float32"))


def build(backbone, head, dropout):
    """The model that writes, one that tags (three logits for every token of the source), and both together, to be trained."""
    if head == "t5":
        handle = backbone.build(with_lm="linear")
        hidden, source = handle.encoder.output, handle.inputs[:1]
    else:
        handle = backbone.build(application="unilm", with_mlm="linear")
        hidden, source = handle.get_layer("MLM-Dense").input, handle.inputs
    tags = keras.layers.Dense(3, dtype="float32", name="Tags")(keras.layers.Dropout(dropout)(hidden))
    return handle, keras.Model(source, tags), keras.Model(handle.inputs, [handle.output, tags])


def train(model, lessons, arguments):
    dataset = BucketedDataset(
        lessons,
        lambda batch: collate(batch, arguments.head),
        arguments.batch_size,
        length=lambda lesson: len(lesson.source),
        seed=arguments.seed,
    )
    # Keras averages a loss over tokens. A mark is rare and its loss small, so it gets a larger weight.
    tagging = keras.losses.BinaryCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(
        optimizer(arguments.learning_rate, arguments.epochs * len(dataset)),
        loss=[Seq2SeqCrossentropy(), tagging],
        loss_weights=[1.0, 10.0],
    )
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def best_span(tags, usual, longest=LONGEST):
    """The span with the highest expected ROUGE-L, ``2 * copied / (length + usual)``, whose ends look like ends.

    Args:
        tags: ``(length, 3)``, probabilities of copied, first, last.
        usual: length of a title.
    """
    sums, best = np.concatenate([[0.0], np.cumsum(tags[:, 0])]), (-1.0, 0, 0)
    for size in range(min(3, len(tags)), min(longest, len(tags)) + 1):
        expected = 2 * (sums[size:] - sums[:-size]) / (size + usual)
        ends = tags[: len(tags) - size + 1, 1] * tags[size - 1 :, 2]
        scores = expected * (ends + 1e-6) ** ENDS
        start = int(scores.argmax())
        best = max(best, (scores[start], start, start + size))
    return best[1:]


def figures(titles, references):
    titles = [title.lower() for title in titles]
    scores = rouge(titles, references)
    return {
        "ROUGE-L": 100 * scores["rougeL"],
        "ROUGE-1": 100 * scores["rouge1"],
        "ROUGE-2": 100 * scores["rouge2"],
        "BLEU": 100 * bleu(titles, references),
    }


def read_tags(tagger, sources, head):
    """For every source the probabilities of its tokens between ``[CLS]`` and ``[SEP]``, ``(tokens, 3)``."""

    def collate_sources(batch):
        token_ids = padded(batch)
        return (token_ids if head == "t5" else (token_ids, np.zeros_like(token_ids)),)

    logits = in_order(tagger, sources, collate_sources, 32, name="tags")
    return [1 / (1 + np.exp(-one[1 : len(source) - 1])) for one, source in zip(logits, sources)]


def write(handle, tokenizer, sources, processors, arguments):
    found = generate(
        handle,
        sources,
        search=Beam(width=arguments.beam),
        max_new_tokens=TITLE,
        end_ids=tokenizer.end_id,
        processors=processors,
        batch_size=64,
        start_ids=tokenizer.start_id if arguments.head == "t5" else None,
    )
    return [tokenizer.decode(result.tokens) for result in found]


def guide(sources, tags, size):
    """A processor that raises what should be copied: log-probabilities and log-odds are added up by the search."""
    bonus = np.full((len(sources), size), -np.inf)
    for row, source, one in zip(bonus, sources, tags):
        np.maximum.at(row, source[1:-1], np.log(one[:, 0] + 1e-3) - np.log(HELPFUL))
    bonus[np.isinf(bonus)] = 0.0  # the end above all: it neither costs nor earns anything
    return lambda log_probs, hypotheses: log_probs + bonus[hypotheses.prompt_index]


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_synthetic,
        scratch={"epochs": 6, "batch_size": 16, "max_length": 256},
        pretrained={"epochs": 5, "batch_size": 16, "learning_rate": 2e-5},
        smoke={"beam": 2},
    )
    options.add_argument("--head", choices=["unilm", "t5"], default="unilm", help="what writes; default: unilm")
    options.add_argument("--beam", type=int, default=4, help="width of the search; default: 4")
    return options.read(argv)


def main(argv=None):
    arguments = parse(argv)
    training, valid = (read_titles(arguments.data_dir / name) for name in ("train.tsv", "val.tsv"))
    if arguments.from_scratch or arguments.head == "t5":
        arguments.family = arguments.family or {"t5": "mt5.1.1", "unilm": "roformer"}[arguments.head]
    backbone = Backbone.of(arguments, [f"{title}。{abstract}" for title, abstract in training], layers=2)
    tokenizer = backbone.tokenizer
    titles, abstracts = zip(*valid)
    references = [title.lower() for title in titles]
    report = Report(arguments, "CSL titles", "ROUGE-L", train=len(training), valid=len(valid), head=arguments.head)
    report.add(f"first {BASELINE} characters", figures([text[:BASELINE] for text in abstracts], references), baseline=True)

    handle, tagger, both = build(backbone, arguments.head, dropout=0.3 if arguments.from_scratch else 0.1)
    train(both, [Lesson.of(*pair, tokenizer, arguments.max_length) for pair in training], arguments)

    encoded = [tokenizer.encode(text, maxlen=arguments.max_length, return_offsets=True) for text in abstracts]
    sources = [source for source, _, _ in encoded]
    free = write(handle, tokenizer, sources, [NoRepeatNGram(2)], arguments)
    report.add(f"{arguments.head}, written freely", figures(free, references))

    tags = read_tags(tagger, sources, arguments.head)
    usual = float(np.mean([len(tokenizer.encode(title)[0]) - 2 for title, _ in training]))
    spans = []
    for text, one, (_, _, offsets) in zip(abstracts, tags, encoded):
        start, stop = best_span(one, usual)
        spans.append(text[offsets[1 + start][0] : offsets[stop][1]])
    report.add(f"{arguments.head}, copied by the tags", figures(spans, references))

    unknown = tokenizer.token_to_id("[UNK]")
    passages = PassageConstraint([[token for token in source[1:-1] if token != unknown] for source in sources], tokenizer.end_id)
    guided = write(handle, tokenizer, sources, [passages, guide(sources, tags, tokenizer.vocab_size)], arguments)
    report.add(f"{arguments.head}, beam search in the abstract", figures(guided, references))
    return report.finish()


if __name__ == "__main__":
    main()
