"""Tokenizer speed: keras_su against Hugging Face's tokenizers, and word segmentation by jieba against rjieba.

    python benchmarks/bench_tokenizers.py
    python benchmarks/bench_tokenizers.py --texts TEXTS --vocab VOCAB

``--texts`` holds one text a line; by default the texts are made up: ideographs as frequent as in Chinese, with signs, numbers and
Latin words among them. ``--vocab`` is a ``vocab.txt``; by default one is made from the texts.

All contestants run in turn, round after round, in one process and one thread; figures are millions of characters per second of
CPU time, the median of the rounds, and ratios of the two times of a round, the median with the lowest and the highest. "Cold" is
a tokenizer that has seen no text, with nothing remembered about any character. Peers that are not installed are left out.
"""

import argparse
import importlib.util
import os
import statistics
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import numpy as np

from keras_su.tokenizers import Tokenizer, load_vocab, segmenter
from keras_su.tokenizers.text import normal_forms, spaced_forms

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def made_up_texts(characters, seed=0):
    """Texts of 5 to 400 characters, ``characters`` of them together."""
    random = np.random.default_rng(seed)
    ideographs = [chr(code) for code in random.permutation(np.arange(0x4E00, 0x9FA5))[:6000]]
    weights = 1 / (np.arange(6000) + 20)  # the most frequent one is every 70th character or so
    syllables = ["ka", "mo", "ri", "ten", "lu", "san", "x", "pro"]
    words = ["".join(random.choice(syllables, random.integers(1, 4))) for _ in range(3000)]
    texts, missing = [], characters
    while missing > 0:
        length = int(np.clip(random.lognormal(3.4, 0.8), 5, 400))
        pieces = random.choice(ideographs, length, p=weights / weights.sum()).tolist()
        for place in np.flatnonzero(random.random(length) < 0.12):
            kind = random.random()
            word = words[int(3000 * random.random() ** 3)]
            pieces[place] = "，。、！"[int(8 * kind)] if kind < 0.5 else str(random.integers(2100)) if kind < 0.75 else f"{word} "
        texts.append("".join(pieces)[:400])
        missing -= len(texts[-1])
    return texts


def made_up_vocabulary(texts):
    """Every character of the texts, first and further in a word, and the special tokens."""
    letters = sorted(set("".join(texts).lower()) - set(" \t\n"))
    return {token: index for index, token in enumerate([*SPECIALS, *letters, *("##" + letter for letter in letters)])}


def cold_tokenizer(vocabulary):
    """A tokenizer as in a new process."""
    normal_forms.cache_clear()
    spaced_forms.cache_clear()
    return Tokenizer(vocabulary, do_lower_case=True)


def library(vocabulary, maxlen=None):
    """Hugging Face's tokenizer, with truncation and padding if ``maxlen`` is given."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(dict(vocabulary), lowercase=True)
    if maxlen:
        tokenizer.enable_truncation(maxlen)
        tokenizer.enable_padding()
    return tokenizer


def tokenizer_contestants(texts, vocabulary, maxlen):
    """``{name: function of no arguments}``."""
    ours = Tokenizer(vocabulary, do_lower_case=True)

    def in_batches(size):
        return [ours.encode_batch(texts[start : start + size], maxlen=maxlen) for start in range(0, len(texts), size)]

    contestants = {
        "encode": lambda: [ours.encode(text)[0] for text in texts],
        "encode_batch": lambda: ours.encode_batch(texts, maxlen=maxlen),
        "encode_batch, 256 texts a call": lambda: in_batches(256),
        "encode_batch, 64 texts a call": lambda: in_batches(64),
        "encode_batch, cold": lambda: cold_tokenizer(vocabulary).encode_batch(texts, maxlen=maxlen),
    }
    if importlib.util.find_spec("tokenizers"):
        theirs, padding = library(vocabulary), library(vocabulary, maxlen)
        contestants |= {
            "HF encode": lambda: [theirs.encode(text).ids for text in texts],
            "HF encode_batch": lambda: [encoding.ids for encoding in theirs.encode_batch(texts)],
            "HF encode_batch_fast": lambda: [encoding.ids for encoding in theirs._tokenizer.encode_batch_fast(texts)],
            "HF encode_batch to padded array": lambda: np.array([encoding.ids for encoding in padding.encode_batch(texts)]),
        }
    return contestants


def segmentation_contestants(texts, vocabulary):
    """Cutting words, and tokenizing them, with either engine."""
    engines = [engine for engine in ("jieba", "rjieba") if importlib.util.find_spec(engine)]
    contestants = {}
    for engine in engines:
        cut = segmenter(engine)
        tokenizer = Tokenizer(vocabulary, do_lower_case=True, pre_tokenize=cut)
        cut(texts[0])  # loads the dictionary
        contestants[f"{engine}, HMM=False"] = lambda cut=cut: list(map(cut, texts))
        contestants[f"encode with {engine}"] = lambda tokenizer=tokenizer: [tokenizer.encode(text)[0] for text in texts]
    return contestants


def times(contestants, rounds):
    """CPU seconds of each contestant, round by round, after one round that is not counted."""
    found = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, function in contestants.items():
            started = time.process_time()
            function()
            found[name].append(time.process_time() - started)
    return {name: seconds[1:] for name, seconds in found.items()}


def table(found, characters, peers):
    """Markdown table: speed, and how many times faster than each of the peers."""
    peers = [peer for peer in peers if peer in found]
    lines = [
        " | ".join(["| contestant", "Mchar/s", *(f"times {peer}" for peer in peers)]) + " |",
        "|---" * (len(peers) + 2) + "|",
    ]
    for name, seconds in found.items():
        cells = [f"| {name}", f"{characters / statistics.median(seconds) / 1e6:.2f}"]
        for peer in peers:
            ratios = [theirs / ours for theirs, ours in zip(found[peer], seconds)]
            cells.append(f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
        lines.append(" | ".join(cells) + " |")
    return "\n".join(lines)


def differences(first, second):
    """How many of the texts two contestants see differently."""
    return f"{sum(list(one) != list(other) for one, other in zip(first(), second(), strict=True)):,}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", help="file with one text a line; default: made-up ones")
    parser.add_argument("--vocab", help="vocab.txt; default: made from the texts")
    parser.add_argument("--chars", type=int, default=200_000, help="characters of made-up text")
    parser.add_argument("--maxlen", type=int, default=128, help="most ids in a row of a batch")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.texts:
        with open(arguments.texts, encoding="utf-8") as file:
            texts = [line for line in file.read().split("\n") if line]
    else:
        texts = made_up_texts(arguments.chars)
    vocabulary = load_vocab(arguments.vocab) if arguments.vocab else made_up_vocabulary(texts)
    characters = sum(map(len, texts))
    print(
        f"{len(texts):,} texts, {characters:,} characters, {len(vocabulary):,} tokens, rows of at most {arguments.maxlen} ids\n"
    )

    contestants = tokenizer_contestants(texts, vocabulary, arguments.maxlen)
    print(
        table(
            times(contestants, arguments.rounds), characters, ["HF encode", "HF encode_batch", "HF encode_batch to padded array"]
        ),
        "\n",
    )
    if "HF encode" in contestants:
        print(
            f"ids that differ from HF: {differences(contestants['encode'], contestants['HF encode'])} of {len(texts):,} texts\n"
        )

    few = texts[: max(1, len(texts) // 4)]
    contestants = segmentation_contestants(few, vocabulary)
    characters = sum(map(len, few))
    print(table(times(contestants, max(1, arguments.rounds // 2)), characters, ["jieba, HMM=False", "encode with jieba"]), "\n")
    if "rjieba, HMM=False" in contestants:
        different = differences(contestants["jieba, HMM=False"], contestants["rjieba, HMM=False"])
        print(f"texts that rjieba cuts differently: {different} of {len(few):,}")


if __name__ == "__main__":
    main()
