"""A causal language model continues texts: a published one, or a small one that is trained first.

    python basic_language_model.py --pretrained CPM-Generate --words --prompts 今天天气
    python basic_language_model.py --pretrained nezha_gen_gpt --family nezha --application lm --prompts 今天天气
    python basic_language_model.py --pretrained CDial-GPT_LCCC-base --family gpt --setting shared_segment_embeddings=true
    python basic_language_model.py --config gpt2_ml/config.json --checkpoint gpt2_ml/model.ckpt-100000 --vocab gpt2_ml/vocab.txt \
        --family gpt2_ml --prompts "今天天气不错"
    python basic_language_model.py --data-dir corpus --files news_titles.txt.xz encyclopedia.txt.xz

A folder is read with its ``vocab.txt``, ``tokenizer.json`` or SentencePiece model, whichever is there. With ``--data-dir`` (text
files, ``.txt`` or ``.txt.xz``, one sentence a line, a blank line between documents) and without a published model, a BERT with a
causal mask learns to write: at every position it guesses the next token. The figures are how often it is right about
documents that it has not seen, and how many bits a token costs it; the baseline is a bigram model, which knows the last token.

Articles: https://kexue.fm/archives/7912 (CPM), https://kexue.fm/archives/7718 (CDial-GPT),
https://kexue.fm/archives/7292 (GPT2-ML).
"""

import json
import tempfile
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import keras
import numpy as np

from keras_su.data import BucketedDataset
from keras_su.decoding import Sample, generate
from keras_su.metrics import MaskedAccuracy
from keras_su.tokenizers import JsonTokenizer, SpTokenizer, Tokenizer, segmenter
from readers.corpus import hold_out, read_documents, text_files, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, optimizer, padded
from toolbox.ngrams import NGrams

PROMPTS = ("今天天气", "中国的首都", "科学家发现，", "这部电影")


def parse(argv):
    scratch = {"epochs": 2, "batch_size": 32, "learning_rate": 1.5e-3, "max_length": 64}
    options = Options(
        __doc__, scratch=scratch, pretrained={"max_length": 256, "epochs": 0}, smoke={"new_tokens": 4, "max_length": 32}
    )
    options.add_argument("--data-dir", type=Path, help="folder of texts, to learn from or to measure a published model on")
    options.add_argument("--files", nargs="+", help="which of its files; default: all")
    options.add_argument("--prompts", nargs="+", default=PROMPTS, help="texts to be continued")
    options.add_argument("--new-tokens", type=int, default=40, help="most tokens that are added; default: 40")
    options.add_argument("--top-p", type=float, default=0.9, help="draw among the likeliest tokens of this probability")
    options.add_argument(
        "--application", choices=("encoder", "lm"), default="encoder", help="lm: a causal mask for a BERT or NEZHA"
    )
    options.add_argument(
        "--words", action="store_true", help="a SentencePiece vocabulary of words, with signs for white space (CPM)"
    )
    options.add_argument("--setting", nargs="+", default=[], metavar="NAME=JSON", help="further settings of the model")
    arguments = options.read(argv)
    if arguments.from_scratch and not arguments.smoke and not arguments.data_dir:
        options.error("What is it to be? --pretrained (or --config) for a published model, --data-dir for texts to learn from.")
    return arguments


def tokenizer_of(folder, words=False):
    """The tokenizer of a folder."""
    if not words and (folder / "vocab.txt").is_file():
        return Tokenizer(folder / "vocab.txt", do_lower_case=True)
    if not words and (folder / "tokenizer.json").is_file():
        return JsonTokenizer(folder)
    options = {"token_start": None, "token_end": None}
    if words:
        cut, signs = segmenter(), {" ": "\u2582", "\n": "\u2583"}
        options["pre_tokenize"] = lambda text: ["".join(signs.get(c, c) for c in word) for word in cut(text)]
        options["token_translate"] = {sign: space for space, sign in signs.items()}
    return SpTokenizer(folder, **options)


def build(arguments, texts):
    """Tokenizer and model; the model returns logits."""
    settings = {name: json.loads(value) for name, value in (setting.split("=", 1) for setting in arguments.setting)}
    application = "lm" if arguments.from_scratch else arguments.application
    if arguments.pretrained:
        folder = Path(arguments.pretrained)
        backbone = Backbone(tokenizer_of(folder, arguments.words), folder, family=arguments.family)
    else:
        backbone = Backbone.of(arguments, texts, least=5, layers=3, positions=512)
    logits = {"with_mlm": "linear"} if application == "lm" else {"final_activation": "linear"}
    return backbone.tokenizer, backbone.build(application=application, **logits, **settings).model


def windows(documents, tokenizer, length):
    """The tokens of each document, cut into pieces that overlap by one: every token but the first is to be guessed once."""
    rows = []
    for document in documents:
        ids = tokenizer.encode("".join(document))[0]
        rows += [ids[first : first + length] for first in range(0, len(ids) - 1, length - 1)]
    return rows


def collate(rows, inputs):
    """Tokens, those that come next, and which of them count; ``inputs``: 2 for a model that also wants segments."""
    token_ids, next_ids = padded(rows), padded([row[1:] for row in rows], step=1)
    next_ids = np.pad(next_ids, ((0, 0), (0, token_ids.shape[1] - next_ids.shape[1])))
    counts = np.arange(token_ids.shape[1]) < np.array([len(row) - 1 for row in rows])[:, None]
    return [token_ids, np.zeros_like(token_ids)][:inputs], next_ids, counts.astype("float32")


def bigram_figures(learned, kept, size):
    """Those of a model that knows the last token only."""
    model = NGrams(learned, size)
    best, most_frequent = model.best_guesses(), model.single.most_common(1)[0][0]
    pairs = [pair for row in kept for pair in pairwise(row)]
    right = np.mean([best.get(token, most_frequent) == following for token, following in pairs])
    return {"next": 100 * right, "bits": sum(model.bits([following], token) for token, following in pairs) / len(pairs)}


def figures(model, dataset):
    found = model.evaluate(dataset, return_dict=True, verbose=0)
    return {"next": 100 * found["accuracy"], "bits": found["nats"] / np.log(2)}


def measure(arguments, report, tokenizer, model, learned, kept):
    """Train, if that is wanted, and add the figures of the bigrams and of the model."""
    learned, kept = (windows(documents, tokenizer, arguments.max_length) for documents in (learned, kept))
    prepare = partial(collate, inputs=len(model.inputs))
    train = BucketedDataset(
        learned, prepare, arguments.batch_size, seed=arguments.seed, drop_last=len(learned) > arguments.batch_size
    )
    valid = BucketedDataset(kept, prepare, arguments.batch_size, shuffle=False)
    report.add("bigrams", bigram_figures(learned, kept, tokenizer.vocab_size), baseline=True)
    adamw = optimizer(arguments.learning_rate, arguments.epochs * len(train))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    nats = keras.metrics.SparseCategoricalCrossentropy(name="nats", from_logits=True)
    model.compile(adamw, loss, weighted_metrics=[MaskedAccuracy(), nats])
    if arguments.epochs:
        model.fit(train, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)
    report.add("language model", figures(model, valid))


def continue_prompts(arguments, tokenizer, model):
    prompts = [tokenizer.encode(prompt)[0] for prompt in arguments.prompts]
    prompts = [ids[:-1] if ids[-1] == tokenizer.end_id else ids for ids in prompts]  # the text goes on
    search, ends = Sample(top_p=arguments.top_p), [] if tokenizer.end_id is None else [tokenizer.end_id]
    found = generate(
        model, prompts, search=search, max_new_tokens=arguments.new_tokens, end_ids=ends, tokenizer=tokenizer, seed=arguments.seed
    )
    for prompt, generation in zip(arguments.prompts, found):
        print(f"{prompt} ... {generation.text}")


def main(argv=None):
    arguments = parse(argv)
    learned, kept = [], []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.smoke:
            arguments.data_dir, arguments.files = Path(folder), None
            write_synthetic(arguments.data_dir)
        if arguments.data_dir:
            files = [arguments.data_dir / name for name in arguments.files or ()] or text_files(arguments.data_dir)
            splits = [hold_out(read_documents(path)) for path in files]
            learned, kept = (list(chain.from_iterable(side)) for side in zip(*splits))
    tokenizer, model = build(arguments, ["".join(document) for document in learned])
    characters = sum(len(sentence) for document in learned for sentence in document)
    report = Report(arguments, "Language model", "next", characters=characters, vocabulary=tokenizer.vocab_size)
    if learned:
        measure(arguments, report, tokenizer, model, learned, kept)
    continue_prompts(arguments, tokenizer, model)
    return report.finish()


if __name__ == "__main__":
    main()
