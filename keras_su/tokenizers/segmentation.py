"""Chinese word segmentation for ``pre_tokenize``."""

import functools

from keras_su import errors


def segmenter(engine="jieba"):
    """A ``pre_tokenize`` function that cuts Chinese text into words, as WoBERT, word-based RoFormer and PEGASUS were trained.

    Both engines use jieba's dictionary without its model for unknown words (``HMM=False``) and give the same words; rjieba is
    many times faster but ignores words added to jieba. The dictionary is loaded at the first text. The function can be pickled.

    Args:
        engine: ``'jieba'``, or ``'rjieba'`` (``pip install "keras_su[zh]"``).

    Returns:
        A function from a text to the list of its words.

    Example:
        ```
        tokenizer = Tokenizer("wobert/vocab.txt", do_lower_case=True, pre_tokenize=segmenter())
        ```

    Reference: https://github.com/fxsjy/jieba, https://github.com/messense/rjieba-py.
    """
    if engine not in ("jieba", "rjieba"):
        raise errors.unknown_name("segmentation engine", engine, ("jieba", "rjieba"))
    errors.require(engine, "zh" if engine == "rjieba" else None, f"segmenter({engine!r})")
    return functools.partial(_cut, engine)


def _cut(engine, text):
    if engine == "rjieba":
        return errors.require("rjieba", "zh", "segmenter('rjieba')").cut(text, False)
    return errors.require("jieba", None, "segmenter('jieba')").lcut(text, HMM=False)
