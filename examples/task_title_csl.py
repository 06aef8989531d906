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

from keras_su.data import BucketedDataset, sequence_padding
from keras_su.decoding import Beam, NoRepeatNGram, PassageConstraint, generate
from keras_su.losses import Seq2SeqCrossentropy
from keras_su.metrics import bleu, rouge
from readers.titles import LONGEST, copy_marks, read_titles, repetitions, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer, padded

TITLE = 32  # tokens of a title
BASELINE = 20  # characters
HELPFUL = 0.2  # a token raises an F1 if it is right with more than half of the F1 that there is, about 0.4 here


@dataclass(frozen=True)
class Lesson:
    """An abstract and its title as ids, and for each token of the abstract whether it is copied."""

    source: list
    target: list
    marks: list

    @classmethod
    def of(cls, title, abstract, tokenizer, max_length):
        source, target = tokenizer.encode(abstract, maxlen=max_length)[0], tokenizer.encode(title, maxlen=TITLE)[0]
        unknown = tokenizer.token_to_id("[UNK]")
        named = [token if token != unknown else -1 - place for place, token in enumerate(target)]  # unknown is not equal
        return cls(source, target, [0, *copy_marks(named[1:-1], source[1:-1]), 0])


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
    longest = read.shape[1]  # the network reads source and title at once in a UniLM, and sources only in a T5
    marks, repeated = (
        sequence_padding(rows, length=longest)
        for rows in ([lesson.marks for lesson in lessons], [repetitions(source) for source in sources])
    )
    return (*inputs, repeated), (written, marks[..., None]), (weights.astype("float32"), read.astype("float32"))


def build(backbone, head, dropout):
    """The model that writes, one that tags (a logit for every token of the source), and both together, to be trained."""
    if head == "t5":
        handle = backbone.build(with_lm="linear")
        hidden, source = handle.encoder.output, handle.inputs[:1]
    else:
        handle = backbone.build(application="unilm", with_mlm="linear")
        hidden, source = handle.get_layer("MLM-Dense").input, handle.inputs
    repeated = keras.Input((None,), dtype="int32", name="Repeated")
    hidden = keras.layers.Concatenate()([keras.layers.Dropout(dropout)(hidden), keras.layers.Embedding(4, 16)(repeated)])
    hidden = keras.layers.Dense(64, "gelu")(hidden)
    tags = keras.layers.Dense(1, dtype="float32", name="Tags")(hidden)
    return handle, keras.Model([*source, repeated], tags), keras.Model([*handle.inputs, repeated], [handle.output, tags])


def train(model, lessons, arguments):
    dataset = BucketedDataset(
        lessons,
        lambda batch: collate(batch, arguments.head),
        arguments.batch_size,
        length=lambda lesson: len(lesson.source),
        seed=arguments.seed,
    )
    # Of the loss of all tags little is left after a few steps, and gradients are clipped together: without a weight, those of
    # writing, which so few samples do not teach anyway, would take all the room.
    tagging = keras.losses.BinaryCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(
        optimizer(arguments.learning_rate, arguments.epochs * len(dataset)),
        loss=[Seq2SeqCrossentropy(), tagging],
        loss_weights=[1.0, 20.0],
    )
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def best_span(copied, usual, longest=LONGEST):
    """The span ``(start, stop)`` with the highest expected ROUGE-L, which is about ``2 * sum(copied) / (length + usual)``.

    Args:
        copied: probability of each token.
        usual: length of a title.
    """
    sums, best = np.concatenate([[0.0], np.cumsum(copied)]), (-1.0, 0, 0)
    for size in range(1, min(longest, len(copied)) + 1):
        expected = 2 * (sums[size:] - sums[:-size]) / (size + usual)
        start = int(expected.argmax())
        best = max(best, (expected[start], start, start + size))
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
    """For every source the probabilities that its tokens between ``[CLS]`` and ``[SEP]`` are copied."""

    def collate_sources(batch):
        token_ids, repeated = padded(batch), padded([repetitions(source) for source in batch])
        return ((token_ids, repeated) if head == "t5" else (token_ids, np.zeros_like(token_ids), repeated),)

    logits = in_order(tagger, sources, collate_sources, 32, name="tags")
    return [1 / (1 + np.exp(-one[1 : len(source) - 1, 0])) for one, source in zip(logits, sources)]


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
        np.maximum.at(row, source[1:-1], np.log(one + 1e-3) - np.log(HELPFUL))
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
