"""The other libraries of ``bench_decode.py`` and ``bench_constrained.py``.

Each is measured in a process of its own by the interpreter that it is installed for.

    python decode_peers.py NAME SETTING    # SETTING: a Setting as JSON; prints the figures as JSON

Nothing of keras_su is imported here. All decode greedily with random weights and without an end id.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Setting:
    """The model and the task."""

    layers: int = 6
    hidden: int = 384
    heads: int = 6
    vocabulary: int = 21128
    prompt: int = 32
    new: int = 32
    batches: tuple = (1, 8)
    repeats: int = 15
    seconds: float = 4.0  # after these no repeat begins
    beam: int = 1
    keys: str = ""  # folder with ids.npy and bounds.npy: only these keys are allowed

    def prompts(self, batch):
        """Random ids, ``(batch, prompt)``."""
        return np.random.default_rng(batch).integers(5, self.vocabulary, (batch, self.prompt)).astype("int32")

    def to_json(self):
        return json.dumps(asdict(self))


class KerasHub:
    """``GPT2CausalLM.generate``, compiled as a whole; on TensorFlow without XLA, as Keras decides by itself."""

    def __init__(self, setting):
        import keras_hub

        self.setting = setting
        self.length = setting.prompt + setting.new
        backbone = keras_hub.models.GPT2Backbone(
            vocabulary_size=setting.vocabulary,
            num_layers=setting.layers,
            num_heads=setting.heads,
            hidden_dim=setting.hidden,
            intermediate_dim=4 * setting.hidden,
            max_sequence_length=self.length,
            dropout=0.0,
        )
        self.model = keras_hub.models.GPT2CausalLM(backbone=backbone, preprocessor=None)
        self.compile()

    def compile(self):
        self.model.compile(sampler="greedy")

    def __call__(self, prompts):
        ids, mask = (np.zeros((len(prompts), self.length), "int32") for _ in range(2))
        ids[:, : prompts.shape[1]], mask[:, : prompts.shape[1]] = prompts, 1
        found = self.model.generate({"token_ids": ids, "padding_mask": mask}, stop_token_ids=None)
        return np.asarray(found["token_ids"])[:, prompts.shape[1] :]


class KerasHubXLA(KerasHub):
    """The same, XLA asked for."""

    def compile(self):
        self.model.compile(sampler="greedy", jit_compile=True)


class Transformers:
    """``GPT2LMHeadModel.generate`` of Hugging Face, with its default cache; keys are a nested dictionary, as in GENRE."""

    def __init__(self, setting):
        import torch
        import transformers

        torch.set_num_threads(1)
        self.setting = setting
        config = transformers.GPT2Config(
            vocab_size=setting.vocabulary,
            n_positions=setting.prompt + setting.new,
            n_embd=setting.hidden,
            n_layer=setting.layers,
            n_head=setting.heads,
            bos_token_id=1,
            eos_token_id=None,
            pad_token_id=0,
        )
        self.model = transformers.GPT2LMHeadModel(config).eval()
        self.options = {"max_new_tokens": setting.new, "num_beams": setting.beam, "do_sample": False, "use_cache": True}
        if setting.keys:
            self.root = nested_dictionary(Path(setting.keys))
            self.options["prefix_allowed_tokens_fn"] = self.allowed

    def __call__(self, prompts):
        import torch

        with torch.inference_mode():
            ids = torch.tensor(prompts.astype("int64"))
            found = self.model.generate(ids, attention_mask=torch.ones_like(ids), **self.options)
        return found[:, prompts.shape[1] :].numpy()

    def allowed(self, row, ids):
        """What may follow: a child, or the last token again and again behind a complete key."""
        node = self.root
        for token in ids[self.setting.prompt :].tolist():
            last, node = token, node.get(token, {})
        return list(node) or [last]


class Bert4keras:
    """``AutoRegressiveDecoder.beam_search`` on a UniLM BERT, which computes the whole sequence at every step.

    It takes one text at a time. A batch is a beam of that width on one text here, which is the same amount of work a step.
    """

    def __init__(self, setting):
        import tensorflow as tf

        tf.keras.Model  # noqa: B018  TensorFlow loads it lazily, and bert4keras replaces it
        from bert4keras.models import build_transformer_model
        from bert4keras.snippets import AutoRegressiveDecoder

        config = {
            "vocab_size": setting.vocabulary,
            "hidden_size": setting.hidden,
            "num_hidden_layers": setting.layers,
            "num_attention_heads": setting.heads,
            "intermediate_size": 4 * setting.hidden,
            "hidden_act": "gelu",
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "attention_probs_dropout_prob": 0.0,
            "hidden_dropout_prob": 0.0,
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "config.json")
            path.write_text(json.dumps(config))
            model = build_transformer_model(str(path), None, model="bert", application="unilm")

        class Decoder(AutoRegressiveDecoder):
            @AutoRegressiveDecoder.wraps(default_rtype="probas")
            def predict(self, inputs, output_ids, states):
                tokens, segments = inputs
                tokens = np.concatenate([tokens, output_ids], axis=1)
                segments = np.concatenate([segments, np.ones_like(output_ids)], axis=1)
                return self.last_token(model).predict([tokens, segments], verbose=0)

        never = setting.vocabulary + 5
        self.decoder = Decoder(start_id=None, end_id=never, maxlen=setting.new)

    def __call__(self, prompts):
        return self.decoder.beam_search([prompts[0], np.zeros_like(prompts[0])], topk=len(prompts))


def nested_dictionary(folder):
    """One dictionary a node, for the keys ``ids[bounds[i]:bounds[i + 1]]``."""
    root, ids, bounds = {}, np.load(folder / "ids.npy").tolist(), np.load(folder / "bounds.npy").tolist()
    for start, stop in zip(bounds, bounds[1:]):
        node = root
        for token in ids[start:stop]:
            node = node.setdefault(token, {})
    return root


PEERS = {"keras-hub": KerasHub, "keras-hub, XLA": KerasHubXLA, "transformers": Transformers, "bert4keras": Bert4keras}


def figures(generate, setting):
    """For every batch size the CPU seconds of the first call, those of the following ones, and the ids found."""
    found = {}
    for batch in setting.batches:
        prompts = setting.prompts(batch)
        first, ids = timed(generate, prompts)
        times = [timed(generate, prompts)[0]]
        while len(times) < setting.repeats and sum(times) < setting.seconds:
            times.append(timed(generate, prompts)[0])
        found[str(batch)] = {"first": first, "times": times, "ids": np.asarray(ids).tolist()}
    return found


def timed(function, argument):
    """``(CPU seconds of this process, result)``."""
    started = time.process_time()
    result = function(argument)
    return time.process_time() - started, result


if __name__ == "__main__":
    chosen = Setting(**json.loads(sys.argv[2]))
    print(json.dumps(figures(PEERS[sys.argv[1]](chosen), chosen)))
