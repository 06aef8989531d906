"""A model without capital letters learns to read them: new tokens for cased words, each beginning as the mean of its old pieces.

    python basic_make_uncased_model_cased.py --pretrained chinese_roberta_wwm_ext --save runs/cased
    python basic_make_uncased_model_cased.py --pretrained runs/tiny --words-file brands.txt --save runs/cased    # a word a line
    python basic_make_uncased_model_cased.py --smoke

Most Chinese models lower all letters: "Apple" and "apple" are one. The vocabulary of such a model gets cased forms here: the
capital letters, the capitalised and the upper-case form of each English token, and words of your choice. The vector of a new
token is the mean of those of the lower-case pieces (``compound_tokens``), so on the first day the model understands "Apple" as
"apple", and while it is trained further the two may part. Texts in lower case are read exactly as before.

The figure is the mean cosine, in percent, between the sentence vectors that the new model has for cased sentences, and those
that the old one has for the same sentences in its lower case. The baseline gives the new tokens random vectors, as is usual.
The new folder is read with ``Tokenizer(folder + "/vocab.txt", do_lower_case=False)``.

The idea is that of bert4keras' example of the same name: https://github.com/bojone/bert4keras.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_su.tokenizers import Tokenizer
from toolbox import Backbone, Options, Report
from toolbox.sentences import sentence_vector, unit, vectors_of

WORDS = ("English", "BERT", "GPT", "iPhone", "Python", "NBA", "China", "GitHub", "WiFi", "USB", "CEO", "Google", "PyTorch", "JAX")
TEXTS = (
    "我用Python和PyTorch训练BERT",
    "他的iPhone连不上WiFi",
    "NBA的比赛今天在China举行",
    "Google的CEO会说English吗",
    "USB接口坏了",
    "代码放在GitHub上，用JAX写成",
    "Apple公司和一个apple",
    "A组和B组的TOP 3",
)


def parse(argv):
    options = Options(__doc__)
    options.add_argument("--words-file", type=Path, help="further cased words, one a line")
    options.add_argument("--save", type=Path, metavar="DIR", help="folder for the new model")
    return options.read(argv)


def cased_forms(tokens, words):
    """The new tokens, and the text in lower case that each stands for: ``{new: old}``."""
    forms = {word: word.lower() for word in words}
    for token in tokens:
        text = token.removeprefix("##")
        if text.isascii() and text.isalpha():
            inside = token[: -len(text)]
            forms[inside + text.upper()] = token
            if not inside:
                forms[text.capitalize()] = token
    return {new: old for new, old in forms.items() if new not in tokens}


def make_cased(backbone, words):
    """``(backbone with the larger vocabulary, handle of its model, ids of the pieces of each new token)``."""
    old = backbone.tokenizer._token_dict
    forms = cased_forms(old, words)
    pieces = [[old[text]] if text in old else backbone.tokenizer.encode(text)[0][1:-1] for text in forms.values()]
    vocabulary = {**old, **{token: len(old) + i for i, token in enumerate(forms)}}
    cased = replace(backbone, tokenizer=Tokenizer(vocabulary, do_lower_case=False))
    return cased, cased.build(compound_tokens=pieces), pieces


def reader(handle):
    """The mean of a sentence's token vectors."""
    return keras.Model(handle.model.inputs, sentence_vector(handle, "last-avg"))


def token_vectors(handle):
    return ops.convert_to_numpy(handle.get_layer("Embedding-Token").embeddings)


def main(argv=None):
    arguments = parse(argv)
    if arguments.pretrained or arguments.config:
        return run(arguments, Backbone.of(arguments, []))
    if not arguments.smoke:
        raise SystemExit("A model is missing: --pretrained, or --config, --checkpoint and --vocab.")
    with tempfile.TemporaryDirectory() as folder:  # stands for a published model
        random = Backbone.of(arguments, [text.lower() for text in (*TEXTS, *WORDS)])
        random.save(folder, random.build(with_pool=True))
        return run(arguments, Backbone(random.tokenizer, folder))


def run(arguments, backbone):
    words = [*WORDS, *(arguments.words_file.read_text(encoding="utf-8").split() if arguments.words_file else ())]
    uncased = backbone.build()
    cased, handle, pieces = make_cased(backbone, words)
    old, new, size = token_vectors(uncased), token_vectors(handle), backbone.tokenizer.vocab_size
    print(f"{size} tokens, and {len(pieces)} new ones")
    for text in TEXTS[:2]:
        print(" ".join(backbone.tokenizer.tokenize(text)), "->", " ".join(cased.tokenizer.tokenize(text)))

    # What has to be true.
    before, after = reader(uncased), reader(handle)
    lowered = [text.lower() for text in TEXTS]
    vectors = lambda model, tokenizer, texts: vectors_of(model, tokenizer, texts, arguments.max_length)  # noqa: E731
    as_before = vectors(before, backbone.tokenizer, lowered)
    print("texts in lower case differ by", np.abs(vectors(after, cased.tokenizer, lowered) - as_before).max())
    means = np.stack([old[ids].mean(axis=0) for ids in pieces])
    print("new vectors differ from the means by", np.abs(new[size:] - means).max(), flush=True)

    def cosine(model, tokenizer=cased.tokenizer):
        return {"cosine": 100 * np.mean(np.sum(unit(vectors(model, tokenizer, TEXTS)) * unit(as_before), axis=-1))}

    report = Report(arguments, "Cased words", "cosine", tokens=size, new_tokens=len(pieces))
    if arguments.save:
        cased.save(arguments.save, handle)
    table = handle.get_layer("Embedding-Token").embeddings
    table.assign(np.concatenate([old, np.random.default_rng(0).normal(0, old.std(), means.shape)]).astype(old.dtype))
    report.add("random vectors", cosine(after), baseline=True)
    table.assign(new)
    report.add("means of lower-case pieces", cosine(after))
    return report.finish()


if __name__ == "__main__":
    main()
