"""Couplets (对联): a second line for a first line, character by character parallel.

The form is no matter of luck. A second line is exactly as long as the first, has the same punctuation in the same places, and
repeats a character where the first line does and nowhere else. ``AllowedTokens`` holds the search to that, whatever the model
thinks; the table shows what the model does when it is left alone. How well it knows the language shows in a figure that does
not depend on the search: how many bits it saves for each character of the true second line.

    python task_couplets.py --data-dir couplets                       # UniLM from scratch
    python task_couplets.py --data-dir couplets --head causal
    python task_couplets.py --data-dir couplets --pretrained chinese_roberta_wwm
    python task_couplets.py --data-dir couplets --first 风弦未拨心先乱

The folder holds ``train`` and ``valid``, each with ``in.txt`` and ``out.txt``, characters separated by spaces.
The article: https://kexue.fm/archives/6933 (UniLM). The data: https://github.com/v-zich/couplet-clean-dataset.
"""

import numpy as np

from keras_su.data import BucketedDataset
from keras_su.decoding import AllowedTokens, Beam, generate
from keras_su.losses import Seq2SeqCrossentropy
from keras_su.metrics import bleu
from readers.verse import (
    PUNCTUATION,
    Form,
    couplet_slots,
    measured_bits,
    prediction_figures,
    read_couplets,
    write_synthetic_couplets,
)
from toolbox import VERBOSE, Backbone, Options, Report, optimizer, padded
from toolbox.ngrams import NGrams


def encode(pair, tokenizer, max_length):
    """``[CLS] first [SEP]`` and ``second [SEP]``; a character is a token, known or not, so that lines stay parallel."""
    first, second = ([tokenizer.token_to_id(character) for character in line.lower()[: max_length // 2]] for line in pair)
    return [tokenizer.start_id, *first, tokenizer.end_id], [*second, tokenizer.end_id]


def collate(lessons, head, everything=False):
    """Inputs, tokens to predict, and which of them count: those of the second line, or all of the text."""
    token_ids = padded([first + second for first, second in lessons])
    segment_ids = padded([[0] * len(first) + [1] * len(second) for first, second in lessons])
    weights = (token_ids > 0 if everything else segment_ids > 0).astype("float32")
    return (token_ids, segment_ids if head == "unilm" else np.zeros_like(segment_ids)), token_ids, weights


def train(model, lessons, arguments):
    # A causal model may learn from first lines as well; in a UniLM they see themselves, so there is nothing to predict.
    everything = arguments.head == "causal"
    dataset = BucketedDataset(
        lessons,
        lambda batch: collate(batch, arguments.head, everything),
        arguments.batch_size,
        length=lambda lesson: len(lesson[0]),
        seed=arguments.seed,
    )
    model.compile(optimizer(arguments.learning_rate, arguments.epochs * len(dataset)), loss=Seq2SeqCrossentropy())
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)


def write(model, firsts, tokenizer, max_length, width, form=True):
    """Second lines by beam search, inside the form or not."""
    prompts = [encode((first, ""), tokenizer, max_length)[0] for first in firsts]
    slots = [couplet_slots(first[: max_length // 2]) for first in firsts]
    rules = [AllowedTokens(Form(slots, tokenizer, forbidden=firsts))] if form else []
    options = {"search": Beam(width=width), "max_new_tokens": max_length // 2 + 1, "end_ids": tokenizer.end_id}
    return [
        "".join(tokenizer.ids_to_tokens(found.tokens[: -1 if found.finished else None]))
        for found in generate(model, prompts, processors=rules, batch_size=64, **options)
    ]


def quality(firsts, written, references):
    """BLEU, and how many keep the form; in percent."""
    parallel = [
        len(first) == len(second) and all((a in PUNCTUATION) == (b in PUNCTUATION) for a, b in zip(first, second))
        for first, second in zip(firsts, written)
    ]
    own = [not (set(first) & set(second)) - PUNCTUATION for first, second in zip(firsts, written)]
    return {"BLEU": 100 * bleu(written, references), "parallel": 100 * np.mean(parallel), "no echo": 100 * np.mean(own)}


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_synthetic_couplets,
        # Relative positions: what a character answers to stands as far away in every couplet of one length.
        scratch={"epochs": 6, "batch_size": 32, "max_length": 64, "family": "roformer"},
        pretrained={"epochs": 5, "learning_rate": 5e-5},
        smoke={"beam": 2},
    )
    options.add_argument("--head", choices=["unilm", "causal"], default="unilm", help="what sees the first line; default: unilm")
    options.add_argument("--beam", type=int, default=4, help="width of the search; default: 4")
    options.add_argument("--first", nargs="*", default=[], metavar="LINE", help="also answer these lines")
    return options.read(argv)


def main(argv=None):
    arguments = parse(argv)
    training, valid = (read_couplets(arguments.data_dir, part) for part in ("train", "valid"))
    backbone = Backbone.of(arguments, [line for pair in training for line in pair], layers=3, positions=128)
    tokenizer, size = backbone.tokenizer, backbone.tokenizer.vocab_size
    report = Report(arguments, "Couplets", "bits saved", train=len(training), valid=len(valid), head=arguments.head)

    lessons, held_out = ([encode(pair, tokenizer, arguments.max_length) for pair in pairs] for pairs in (training, valid))
    firsts, references = zip(*valid)
    # The end is not counted: where the form decides on it, it is not worth a bit.
    true_lines = [second[:-1] for _, second in held_out]
    count = sum(map(len, true_lines))
    everything = [line[:-1] for lesson in lessons for line in (lesson[0][1:], lesson[1])]
    repeated = quality(firsts, list(firsts), references)
    for order, name in ((1, "unigrams; the first line again"), (2, "bigrams; the first line again")):
        naive = NGrams(everything, size, order)
        bits = sum(naive.bits(line) for line in true_lines)
        report.add(name, {**prediction_figures(bits, count, size), **repeated}, baseline=True)

    handle = backbone.build(application="unilm" if arguments.head == "unilm" else "lm", with_mlm="linear")
    if arguments.from_scratch:
        # How frequent characters are need not be learned step by step: it is the bias to begin with.
        handle.get_layer("MLM-Bias").set_weights([naive.log_frequencies()])
    # A couplet is also one when it is read backwards, but for its tones: twice as many lessons.
    train(handle.model, [*lessons, *(encode(pair[::-1], tokenizer, arguments.max_length) for pair in training)], arguments)
    dataset = BucketedDataset(
        [(first, second[:-1]) for first, second in held_out], lambda batch: collate(batch, arguments.head), 32, shuffle=False
    )
    predicted = prediction_figures(*measured_bits(handle.model, dataset), size)
    for name, form in (("as it likes", False), ("inside the form", True)):
        written = write(handle.model, firsts, tokenizer, arguments.max_length, arguments.beam, form)
        report.add(f"{arguments.head}, {name}", {**predicted, **quality(firsts, written, references)})
    for first, second in zip(
        [*arguments.first, *firsts[:3]],
        [*write(handle.model, arguments.first, tokenizer, arguments.max_length, arguments.beam), *written[:3]],
    ):
        print(f"{first} / {second}")
    return report.finish()


if __name__ == "__main__":
    main()
