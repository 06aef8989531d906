"""A knowledge base with the statistics of KgCLUE, generated from a seed, block by block.

A key is ``subject [SEP] predicate [SEP] meaning [SEP]`` in character ids of a BERT vocabulary. Measured on the KgCLUE questions:
subjects of 5.1 characters, predicates of 3.0, a meaning of 9.9 characters at 27 % of the subjects, so 13.8 ids a key on average.
A subject has 6.6 predicates on average, and a few predicates are very frequent. Phrases are made of random words whose characters
and words follow Zipf's law, so that prefixes are shared as in a real list of names. The value of a key is its object, a phrase
like a subject; no statistics of objects were at hand.
"""

import numpy as np

from keras_su.decoding.prefix_tree_rows import gather, running_bounds, spread

SEPARATOR = 102
FIRST_CHARACTER, CHARACTERS = 670, 7000  # where the Chinese characters of a BERT vocabulary are
FIRST_CODE_POINT = 0x4E00  # the character of id FIRST_CHARACTER, near enough
KEYS_PER_SUBJECT = 6.5
BLOCK = 200_000


def zipf(generator, kinds, size, power):
    """Numbers below ``kinds``; number ``k`` comes with probability proportional to ``(k + 1) ** -power``."""
    cumulative = np.cumsum(np.arange(1, kinds + 1) ** -power)
    return np.minimum(np.searchsorted(cumulative, generator.random(size) * cumulative[-1]), kinds - 1)


def phrases(generator, words, count, fewest, most):
    """``count`` phrases of ``fewest`` to ``most`` words, ragged."""
    lengths = generator.integers(fewest, most + 1, count)
    tokens, bounds = gather(*words, zipf(generator, len(words[1]) - 1, lengths.sum(), 0.6))
    return tokens, bounds[running_bounds(lengths)]


def joined(columns):
    """Row by row concatenation of ragged columns."""
    sizes = [np.diff(bounds) for _, bounds in columns]
    bounds = running_bounds(sum(sizes))
    tokens = np.empty(bounds[-1], np.uint16)
    starts = bounds[:-1].copy()
    for (column, _), size in zip(columns, sizes):
        tokens[spread(starts, size)] = column
        starts += size
    return tokens, bounds


def joined_rows(*pieces):
    """All rows of ragged arrays, one array after the other."""
    return np.concatenate([ids for ids, _ in pieces]), running_bounds(np.concatenate([np.diff(bounds) for _, bounds in pieces]))


def knowledge_blocks(count, seed=0, values=False):
    """Iterate over ``count`` keys, nearly all distinct, grouped by subject as a knowledge file is, in blocks of ``BLOCK`` keys.

    Yields:
        ``(ids, bounds)``: key ``i`` of the block is ``ids[bounds[i]:bounds[i + 1]]``; with ``values``, ``(ids, bounds, texts)``
        with a str for each key.
    """
    generator = np.random.default_rng(seed)
    word_bounds = running_bounds(generator.choice([1, 2, 3, 4], 150_000, p=[0.06, 0.54, 0.24, 0.16]))
    words = (FIRST_CHARACTER + zipf(generator, CHARACTERS, word_bounds[-1], 0.9)).astype(np.uint16), word_bounds
    kinds = max(200, count // 84)
    frequent = int(kinds**0.58)  # three fifths of all keys; single words, so that predicates have 3.0 characters on average
    predicates = joined_rows(phrases(generator, words, frequent, 1, 1), phrases(generator, words, kinds - frequent, 1, 2))
    for start in range(0, count, BLOCK):
        keys = _block_of_keys(generator, words, predicates, min(BLOCK, count - start))
        yield (*keys, strings(*phrases(generator, words, len(keys[1]) - 1, 1, 3))) if values else keys


def _block_of_keys(generator, words, predicates, count):
    subjects = int(count / KEYS_PER_SUBJECT * 1.05 + count**0.5) + 10  # more than enough
    subject = phrases(generator, words, subjects, 1, 3)
    meanings = phrases(generator, words, subjects, 3, 5)
    kept = np.where(generator.random(subjects) < 0.27, np.diff(meanings[1]), 0)
    meaning = meanings[0][spread(meanings[1][:-1], kept)], running_bounds(kept)

    kinds = len(predicates[1]) - 1
    subject_of = np.repeat(np.arange(subjects), 1 + generator.geometric(1 / KEYS_PER_SUBJECT, subjects))
    pairs = np.unique(subject_of * kinds + zipf(generator, kinds, len(subject_of), 1.02))
    if len(pairs) < count:
        raise ValueError(f"{len(pairs)} keys were generated, {count} were asked for")
    subject_of, predicate_of = pairs[:count] // kinds, pairs[:count] % kinds
    separator = np.full(count, SEPARATOR, np.uint16), np.arange(count + 1)
    columns = [gather(*subject, subject_of), separator, gather(*predicates, predicate_of), separator]
    return joined([*columns, gather(*meaning, subject_of), separator])


def strings(ids, bounds):
    """Ragged character ids as list of str."""
    text = "".join(map(chr, (ids.astype(np.int64) - FIRST_CHARACTER + FIRST_CODE_POINT).tolist()))
    ends = bounds.tolist()
    return [text[start:stop] for start, stop in zip(ends, ends[1:])]


def knowledge_keys(count, seed=0):
    """``(ids, bounds)`` of all blocks as one."""
    return joined_rows(*knowledge_blocks(count, seed))
