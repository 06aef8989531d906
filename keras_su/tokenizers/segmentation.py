"""Chinese word segmentation for ``pre_tokenize``."""

import functools
import importlib.util

from keras_su import errors

# jieba's own dictionary: the sum of its frequencies and the number of its entries, prefixes included.
_PUBLISHED = (60101967, 498113)


def segmenter(engine=None):
    """A ``pre_tokenize`` function that cuts Chinese text into words, as WoBERT, word-based RoFormer and PEGASUS were trained.

    Both engines use jieba's dictionary without its model for unknown words (``HMM=False``) and give the same words; rjieba is
    many times faster but does not know of words added to jieba. The dictionary is loaded at the first text. The function can be
    pickled.

    Args:
        engine: ``'jieba'``; ``'rjieba'`` (``pip install "keras_su[zh]"``); or ``None`` for rjieba where it is installed and
            jieba has its own dictionary, and for jieba otherwise: after ``jieba.load_userdict``, ``add_word``, ``del_word`` or
            ``set_dictionary``, whether before or after this call.

    Returns:
        A function from a text to the list of its words.

    Example:
        ```
        tokenizer = Tokenizer("wobert/vocab.txt", do_lower_case=True, pre_tokenize=segmenter())
        ```

    Reference: https://github.com/fxsjy/jieba, https://github.com/messense/rjieba-py.
    """
    if engine is None:
        return _cut_like_jieba
    if engine not in ("jieba", "rjieba"):
        raise errors.unknown_name("segmentation engine", engine, ("jieba", "rjieba"))
    _module(engine)
    return functools.partial(_cut, engine)


@functools.cache
def _module(engine):
    return errors.require(engine, "zh" if engine == "rjieba" else None, f"segmenter({engine!r})")


def _cut(engine, text):
    return _module("rjieba").cut(text, False) if engine == "rjieba" else _module("jieba").lcut(text, HMM=False)


def _cut_like_jieba(text):
    return _cut("rjieba" if _has_rjieba() and _is_unchanged(_module("jieba")) else "jieba", text)


@functools.cache
def _has_rjieba():
    return importlib.util.find_spec("rjieba") is not None


def _is_unchanged(jieba):
    """Whether jieba cuts by the dictionary that it came with, the one that is built into rjieba."""
    dictionary = jieba.dt
    if dictionary.dictionary is not None:
        return False
    # A word that is added changes the sum, one that is deleted is noted as split. Nothing can be added before loading.
    counts = (dictionary.total, len(dictionary.FREQ))
    return not dictionary.initialized or (counts == _PUBLISHED and not jieba.finalseg.Force_Split_Words)
