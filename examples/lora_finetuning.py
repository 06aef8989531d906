"""LoRA: fine-tune a decoder (Qwen3) or BERT by training a few weights beside the others, keep those apart, merge them back.

Both kinds answer with one word, 好 or 坏, so both use the output they were pre-trained with and need no new layers: the
decoder as the next token of ``评论：... 情感：``, BERT at the mask of ``情感：[MASK]。评论：...``. Without ``--pretrained``
a small base is trained first, on texts without labels; it is then saved, and treated like a published one.

    python lora_finetuning.py --data-dir sentiment --corpus reviews.txt.xz              # a small decoder, from scratch
    python lora_finetuning.py --data-dir sentiment --pretrained Qwen3-0.6B-Base         # pip install "keras_su[bpe]"
    python lora_finetuning.py --data-dir sentiment --model-kind bert --pretrained chinese_roberta --save runs/lora

``--save`` keeps ``adapters.safetensors`` (the LoRA weights only) and ``merged``, a plain folder that loads without LoRA.

Data: ``sentiment.train.data`` and ``sentiment.valid.data``, ``text TAB 0 or 1``, of
https://github.com/bojone/bert4keras/tree/master/examples/datasets. The paper: https://arxiv.org/abs/2106.09685.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_su.data import BucketedDataset
from keras_su.errors import KerasSuError, require
from keras_su.tokenizers import JsonTokenizer, Tokenizer
from keras_su.weights import open_checkpoint, write_safetensors
from readers.classification import read_corpus
from readers.corpus import read_documents
from readers.one_word import KINDS
from readers.sentiment import write_sentiment
from toolbox import VERBOSE, AtPositions, Backbone, Options, Report, character_vocabulary, in_order, optimizer, padded
from toolbox.baselines import majority

WORDS = "坏好"  # what the labels 0 and 1 are called


def reader(backbone, kind, handle, with_states=False):
    """A model over the layers of ``handle``: token ids (segment ids), positions -> logits there (and what they come from)."""
    positions = keras.Input((None,), dtype="int32", name="Positions")

    def edit(spec):
        states = [AtPositions(None, positions)] if with_states else []
        return replace(spec, heads=(*states, AtPositions(spec.heads[-1], positions)))

    config = backbone.config
    if isinstance(config, str) and Path(config).is_dir():
        config = Path(config) / "config.json"  # of a whole folder the weights would be loaded, too, over those of the handle
    shared = Backbone(backbone.tokenizer, config, family=handle.family)
    return shared.build(layers=handle.layers, additional_input_layers=positions, edit=edit, **kind.options).model


# LoRA itself. -----------------------------------------------------------------------------------------------------------


def add_adapters(model, rank, alpha, targets):
    """Freeze a model and put trainable matrices A (input, rank) and B (rank, output) beside the kernels of its blocks.

    The kernel becomes W + A·B·alpha/rank. B is zero in the beginning, so at first nothing changes.
    """
    for variable in model.variables:
        variable.trainable = False
    for layer in model._flatten_layers():  # sub-layers included: Transformer-0-MultiHeadSelfAttention/query, ...
        if isinstance(layer, keras.layers.Dense) and (layer.path or "").endswith(tuple(f"/{name}" for name in targets)):
            layer.enable_lora(rank, lora_alpha=alpha)


def save_adapters(model, path, **settings):
    """The LoRA weights by their paths, and what `add_adapters` has to know beside them."""
    write_safetensors(path, {v.path: ops.convert_to_numpy(v) for v in model.variables if "/lora_kernel_" in v.path})
    path.with_suffix(".json").write_text(json.dumps(settings, indent=2) + "\n")


def load_adapters(model, path):
    """Into a model as it was built, which is the base that they were trained for."""
    add_adapters(model, **json.loads(path.with_suffix(".json").read_text()))
    with open_checkpoint(path) as file:
        for variable in model.variables:
            if "/lora_kernel_" in variable.path:
                variable.assign(file.read(variable.path))


def merge(backbone, kind, adapted, folder):
    """Write the adapted model as a plain checkpoint: of a layer with LoRA, Keras saves W + A·B·alpha/rank as its kernel."""
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "adapted.weights.h5"
        adapted.model.save_weights(weights)
        plain = backbone.build(**kind.options)
        plain.load_weights_from_checkpoint(weights)
    plain.save_pretrained(folder)


# The example. -----------------------------------------------------------------------------------------------------------


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_sentiment,
        scratch={"epochs": 3, "learning_rate": 2e-3, "full_learning_rate": 5e-4, "max_length": 64, "rank": 8},
        pretrained={"epochs": 3, "learning_rate": 2e-4, "full_learning_rate": 2e-5, "max_length": 128},
        smoke={"max_length": 32, "rank": 2},
    )
    options.add_argument("--model-kind", choices=KINDS, default="qwen3", help="default: qwen3")
    options.add_argument(
        "--full-learning-rate", type=float, help="of full fine-tuning; LoRA stands, and needs, about ten times that"
    )
    options.add_argument("--rank", type=int, help="columns of A and rows of B; default: 8")
    options.add_argument("--alpha", type=float, default=16, help="what LoRA adds is multiplied by alpha / rank; default: 16")
    names = ["query", "key", "value", "output", "input_0", "input_1"]
    options.add_argument("--targets", nargs="+", default=names, help="layers of a block; the paper: query value; default: all")
    options.add_argument("--corpus", type=Path, help="texts for the small base, a sentence a line; default: the training texts")
    options.add_argument("--base-epochs", type=int, default=2, help="of the small base on these texts; default: 2")
    options.add_argument("--save", type=Path, metavar="DIR", help="folder for the adapters, the merged model and a small base")
    return options.read(argv)


def fit(model, samples, collate, arguments, epochs, learning_rate):
    """Cross-entropy at the positions that a batch names."""
    batches = BucketedDataset(samples, collate, arguments.batch_size, length=lambda sample: len(sample[0]), seed=arguments.seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(optimizer(learning_rate, epochs * len(batches)), loss=loss)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=VERBOSE)


def small_base(arguments, texts, folder):
    """Train a small language model on texts and save it."""
    tokenizer = Tokenizer(character_vocabulary([*texts, "评论情感：。好坏"], 1 if arguments.smoke else 2), do_lower_case=True)
    kind = KINDS[arguments.model_kind](tokenizer)
    size = {"layers": 1, "width": 32} if arguments.smoke else {}
    small = Backbone(tokenizer, kind.small(tokenizer.vocab_size, arguments.max_length, **size), family=arguments.model_kind)
    rows = [(tokenizer.encode(text, maxlen=arguments.max_length)[0],) for text in texts]

    def collate(samples):
        ids, positions, targets, weights = kind.lesson([row for (row,) in samples])
        return inputs_of(kind, ids, positions), targets, weights.astype("float32")

    handle = small.build(**kind.options)
    epochs = 1 if arguments.smoke else arguments.base_epochs
    fit(reader(small, kind, handle), rows, collate, arguments, epochs, 1e-3)
    small.save(folder, handle)
    return Backbone(tokenizer, str(folder), family=arguments.model_kind)


def base(arguments, texts, folder):
    """What is to be adapted: a published model, or a small one that is trained first."""
    if arguments.from_scratch:
        return small_base(arguments, corpus_of(arguments, texts), folder)
    if arguments.pretrained and (Path(arguments.pretrained) / "tokenizer.json").is_file() and arguments.model_kind == "qwen3":
        return Backbone(JsonTokenizer(arguments.pretrained), arguments.pretrained, family=arguments.family)
    return Backbone.of(arguments, texts)


def corpus_of(arguments, texts):
    if arguments.corpus is None or arguments.smoke:
        return texts
    return ["".join(sentences) for sentences in read_documents(arguments.corpus)]


def inputs_of(kind, ids, positions):
    return [ids, np.zeros_like(ids), positions] if kind.segments else [ids, positions]


def answers(model, samples, collate, words):
    """For each sample the label whose word has the higher logit; also all logits, and all states if the model has them."""
    outputs = in_order(model, samples, collate, length=lambda sample: len(sample[0]), name="answer")
    states, logits = zip(*outputs) if isinstance(outputs[0], (tuple, list)) else (None, outputs)
    logits = np.stack(logits)[:, 0]
    return logits[:, words].argmax(axis=1), logits, states if states is None else np.stack(states)[:, 0]


def compare(arguments, train, valid, folder):
    """All rows of the table."""
    report = Report(arguments, f"sentiment, {arguments.model_kind}", "accuracy", train=len(train), valid=len(valid))
    backbone = base(arguments, [text for text, _ in train], folder / "base")
    kind = KINDS[arguments.model_kind](backbone.tokenizer)
    words = [kind.ids(word) for word in WORDS]
    if max(map(len, words)) > 1:
        raise KerasSuError(f"The answers {WORDS[0]!r} and {WORDS[1]!r} have to be single tokens; this tokenizer has {words}.")
    words = [word for (word,) in words]

    def samples_of(rows):
        return [(*kind.prompt(text, arguments.max_length), label) for text, label in rows]

    def collate(samples):
        ids, positions, labels = zip(*samples)
        inputs = inputs_of(kind, padded(ids), np.array(positions)[:, None])
        return inputs, np.array(words)[list(labels)][:, None]

    learn, test = samples_of(train), samples_of(valid)
    gold = np.array([label for _, label in valid])

    def add(row, found, trained=0, kilobytes=0.0, **options):
        figures = {"accuracy": 100 * np.mean(np.asarray(found) == gold), "trained": trained, "file KB": kilobytes}
        report.add(row, figures, **options)

    add("majority", majority([label for _, label in train], len(valid)), baseline=True)
    handle = backbone.build(**kind.options)
    model = reader(backbone, kind, handle, with_states=True)
    _, _, features = answers(model, learn, collate, words)
    found, _, test_features = answers(model, test, collate, words)
    add("frozen base, its own words", found, baseline=True)
    linear = require("sklearn.linear_model", "examples", "The baseline of this example")
    head = linear.LogisticRegression(max_iter=2000).fit(features, [label for _, label in train])
    add("frozen base, linear head", head.predict(test_features), features.shape[1] + 1, baseline=True)

    # LoRA. The base of the comparison above goes on, frozen, with adapters.
    settings = {"rank": arguments.rank, "alpha": arguments.alpha, "targets": arguments.targets}
    add_adapters(handle.model, **settings)
    model = reader(backbone, kind, handle)
    fit(model, learn, collate, arguments, arguments.epochs, arguments.learning_rate)
    found, adapted, _ = answers(model, test, collate, words)
    file = folder / "adapters.safetensors"
    save_adapters(handle.model, file, **settings)
    add("LoRA", found, trainable(handle.model), file.stat().st_size / 1e3)

    # What was saved is the same model: base and adapters, and the merged one, which knows nothing of LoRA.
    again = backbone.build(**kind.options)
    load_adapters(again.model, file)
    merge(backbone, kind, handle, folder / "merged")
    merged = replace(backbone, config=str(folder / "merged"), checkpoint=None, family=arguments.model_kind)
    plain = merged.build(**kind.options)
    for name, other in (("reloaded", again), ("merged", plain)):
        _, logits, _ = answers(reader(backbone, kind, other), test, collate, words)
        report.facts[f"{name}_difference"] = difference = float(np.abs(logits - adapted).max())
        print(
            f"largest difference of a logit, adapted and {name}: {difference:.2g} (logits go up to {np.abs(adapted).max():.1f})"
        )

    handle = backbone.build(**kind.options)
    model = reader(backbone, kind, handle)
    fit(model, learn, collate, arguments, arguments.epochs, arguments.full_learning_rate)
    weights = trainable(handle.model)
    add("full fine-tuning", answers(model, test, collate, words)[0], weights, 4 * weights / 1e3)
    return report.finish()


def trainable(model):
    """How many numbers are trained."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def main(argv=None):
    arguments = parse(argv)
    corpus = read_corpus(arguments.data_dir, "sentiment")
    with tempfile.TemporaryDirectory() as temporary:
        return compare(arguments, corpus.train, corpus.valid, arguments.save or Path(temporary))


if __name__ == "__main__":
    main()
