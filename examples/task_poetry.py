"""Poems: a language model of Tang poems or Song lyrics, and acrostics (藏头诗) in a given form.

A causal model reads and writes poems from left to right; a UniLM reads a title (for ci the name of the tune) and writes the poem
for it. How well they know the language is measured on poems they have not seen. When they write, ``AllowedTokens`` keeps the
form: so many characters a line, punctuation where it belongs, and for an acrostic the first character of each line. What is left
free is sampled.

    python task_poetry.py --data-dir chinese-poetry --task tang
    python task_poetry.py --data-dir chinese-poetry --task song --head unilm
    python task_poetry.py --data-dir chinese-poetry --task tang --pretrained chinese_roberta_wwm
    python task_poetry.py --data-dir chinese-poetry --task tang --acrostic 春夏秋冬 --width 7

The folder holds the public files ``全唐诗/poet.tang.*.json`` or ``宋词/ci.song.*.json``; every tenth poem is held out.
The article: https://kexue.fm/archives/6933 (UniLM). The data: https://github.com/chinese-poetry/chinese-poetry.
"""

import numpy as np

from keras_su.data import BucketedDataset
from keras_su.decoding import AllowedTokens, NoRepeatNGram, Sample, generate
from keras_su.losses import Seq2SeqCrossentropy
from readers.verse import (
    COLLECTIONS,
    PUNCTUATION,
    Form,
    Poem,
    acrostic_slots,
    measured_bits,
    prediction_figures,
    read_poems,
    regular_lines,
    split_lines,
    write_synthetic_poems,
)
from toolbox import VERBOSE, Backbone, Options, Report, optimizer, padded
from toolbox.ngrams import NGrams

TITLE = 16  # characters of a title


def encode(poem, tokenizer, head, max_length):
    """What is read, ``[CLS]`` or ``[CLS] title [SEP]``, and what is written, ``poem [SEP]``; a character is a token."""
    title = [*map(tokenizer.token_to_id, poem.title.lower()[:TITLE]), tokenizer.end_id] if head == "unilm" else []
    text = "".join(poem.lines)
    written = [*map(tokenizer.token_to_id, text), tokenizer.end_id]
    return [tokenizer.start_id, *title], written[: max_length - len(title) - 1]


def collate(lessons, head):
    """Inputs, tokens to predict, and which of them count: those of the poem."""
    token_ids = padded([read + written for read, written in lessons])
    written = padded([[0] * len(read) + [1] * len(written) for read, written in lessons])
    return (token_ids, written if head == "unilm" else np.zeros_like(written)), token_ids, written.astype("float32")


def batches(lessons, arguments, shuffle=True):
    return BucketedDataset(
        lessons,
        lambda batch: collate(batch, arguments.head),
        arguments.batch_size,
        length=lambda lesson: sum(map(len, lesson)),
        shuffle=shuffle,
        seed=arguments.seed,
    )


def write(model, poems, slots, tokenizer, arguments):
    """Poems for the titles of ``poems`` with the given slots, as texts."""
    prompts = [encode(poem, tokenizer, arguments.head, arguments.max_length)[0] for poem in poems]
    slots = [each[: arguments.max_length - TITLE - 2] for each in slots]
    found = generate(
        model,
        prompts,
        # A search for the most probable poem finds the same phrases again and again; chance is part of the art.
        search=Sample(temperature=0.8, top_k=40),
        max_new_tokens=max(map(len, slots)) + 1,
        end_ids=tokenizer.end_id,
        processors=[NoRepeatNGram(2), AllowedTokens(Form(slots, tokenizer))],
        seed=arguments.seed,
        batch_size=32,
    )
    # A given character may be unknown to the model, which reads [UNK] there: it stands in the poem all the same.
    return [
        "".join(slot or tokenizer.id_to_token(index) for slot, index in zip(each, result.tokens.tolist()))
        for each, result in zip(slots, found)
    ]


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_synthetic_poems,
        # Rhythm is a matter of distances: relative positions learn a form much sooner than absolute ones.
        scratch={"epochs": 12, "batch_size": 16, "max_length": 128, "family": "roformer"},
        pretrained={"epochs": 5, "learning_rate": 5e-5, "max_length": 256},
        smoke={"samples": 4},
    )
    options.add_argument("--task", choices=sorted(COLLECTIONS), default="tang", help="which poems; default: tang")
    options.add_argument("--head", choices=["causal", "unilm"], default="causal", help="default: causal")
    options.add_argument("--samples", type=int, default=32, help="poems to write in the form of held-out ones; default: 32")
    options.add_argument("--acrostic", default="春江花月", help="first characters of a poem to print; default: 春江花月")
    options.add_argument("--width", type=int, default=5, help="characters in its lines; default: 5")
    return options.read(argv)


def main(argv=None):
    arguments = parse(argv)
    poems = read_poems(arguments.data_dir, arguments.task)
    training, valid = [poem for number, poem in enumerate(poems) if number % 10], poems[::10]
    texts = [poem.title + "。" + "".join(poem.lines) for poem in training]
    backbone = Backbone.of(arguments, texts, layers=3, positions=512)
    tokenizer, size = backbone.tokenizer, backbone.tokenizer.vocab_size
    lessons, held_out = (
        [encode(poem, tokenizer, arguments.head, arguments.max_length) for poem in part] for part in (training, valid)
    )
    name = {"tang": "Tang poems", "song": "Song lyrics"}[arguments.task]
    report = Report(arguments, name, "bits saved", train=len(training), valid=len(valid), head=arguments.head)

    count = sum(len(written) for _, written in held_out)
    for order, row in ((1, "unigrams"), (2, "bigrams")):
        naive = NGrams([[tokenizer.end_id, *written] for _, written in lessons], size, order)
        bits = sum(naive.bits(written, tokenizer.end_id) for _, written in held_out)  # an end is also a beginning
        report.add(row, prediction_figures(bits, count, size), baseline=True)

    handle = backbone.build(application="unilm" if arguments.head == "unilm" else "lm", with_mlm="linear")
    if arguments.from_scratch:
        # How frequent characters are need not be learned step by step: it is the bias to begin with.
        handle.get_layer("MLM-Bias").set_weights([naive.log_frequencies()])
    model = handle.model
    dataset = batches(lessons, arguments)
    model.compile(optimizer(arguments.learning_rate, arguments.epochs * len(dataset)), loss=Seq2SeqCrossentropy())
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)
    predicted = prediction_figures(*measured_bits(model, batches(held_out, arguments, shuffle=False)), size)

    # Acrostics in the forms of held-out poems, with their first characters: all keep the form; how much is new?
    chosen = valid[: arguments.samples]
    heads = ["".join(line[0] for line in poem.lines) for poem in chosen]
    slots = [acrostic_slots(poem.lines, first) for poem, first in zip(chosen, heads)]
    written = write(model, chosen, slots, tokenizer, arguments)
    kept = [
        all(slot in (None, character) and (slot is not None or character not in PUNCTUATION) for slot, character in zip(*pair))
        for pair in zip(slots, written)
    ]
    known = {line for poem in training for line in poem.lines}
    lines = [line for text in written for line in split_lines(text) if len(line) > 4]
    report.add(
        arguments.head,
        {**predicted, "form kept": 100 * np.mean(kept), "new lines": 100 * np.mean([line not in known for line in lines])},
    )
    asked = Poem(arguments.acrostic, ())
    pattern = regular_lines(len(arguments.acrostic), arguments.width)
    for text in write(model, [asked], [acrostic_slots(pattern, arguments.acrostic)], tokenizer, arguments):
        print(text)
    return report.finish()


if __name__ == "__main__":
    main()
