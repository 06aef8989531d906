"""Reads golden cases and checks them against the package: what a case means, in one place."""

import json
import os
from pathlib import Path

import golden_training
import keras
import numpy as np

import keras_su.activations
import keras_su.backend
import keras_su.layers
import keras_su.tokenizers
from keras_su.decoding import generate
from keras_su.models import build_transformer_model, list_models
from keras_su.snippets import AutoRegressiveDecoder

HERE = Path(__file__).parent / "golden"
FUNCTIONS = ("activations", "apply_rotary_position_embeddings", "sequence_masking", "sinusoidal_embeddings")
TOKENIZERS = ("tokenizer", "sp_tokenizer")


def folders():
    """Roots of golden cases: the committed ones, and those that ``KERAS_SU_GOLDEN`` names."""
    extra = os.environ.get("KERAS_SU_GOLDEN")
    return [HERE, *([Path(extra)] if extra else [])]


def find_cases(*kinds):
    """Folders of the cases of some kinds that the package claims to support, each name once, committed ones first."""
    found = {}
    for root in folders():
        for path in sorted(root.rglob("case.json")):
            case = json.loads(path.read_text(encoding="utf-8"))
            if case["kind"] in kinds and supported(case):
                found.setdefault(case["name"], path.parent)
    return list(found.values())


def supported(case):
    """Committed cases are always supported; of the others, those whose family or layer exists."""
    if case["kind"] == "model":
        return all(run["builder"].get("model", "bert") in list_models() for run in case["runs"])
    if case["kind"] == "layer":
        return golden_training.knows(case) or case["layer"] in FUNCTIONS or hasattr(keras_su.layers, case["layer"])
    return case["kind"] in (*TOKENIZERS, "beam_search", "snippets")


class Case:
    """One golden case: its description and arrays."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.data = json.loads((self.folder / "case.json").read_text(encoding="utf-8"))
        arrays = self.folder / "io.npz"
        self.arrays = dict(np.load(arrays)) if arrays.exists() else {}

    def input(self, name):
        return self.arrays[f"in_{name}"]

    def compare(self, name, got, tolerance, mask=None):
        """Assert that an output equals the recorded one; infinities must match, a finite stand-in below -1e9 counts as one."""
        want = self.arrays[f"out_{name}"]
        got = np.asarray(keras.ops.convert_to_numpy(got) if not isinstance(got, np.ndarray) else got)
        assert got.shape == want.shape, f"{name}: shape {got.shape}, expected {want.shape}"
        if mask is not None and want.ndim >= 2 and want.shape[:2] == mask.shape:
            got, want = got[mask == 1], want[mask == 1]
        got, want = got.astype("float64"), want.astype("float64")
        np.testing.assert_array_equal(got < -1e9, want < -1e9, err_msg=name)
        finite = want >= -1e9
        atol, rtol = (0, 0) if tolerance.get("exact") else (tolerance.get("atol", 1e-5), tolerance.get("rtol", 0))
        np.testing.assert_allclose(got[finite], want[finite], atol=atol, rtol=rtol, err_msg=name)

    # ---- models

    def build(self, builder, **changes):
        """The model of one run; ``changes`` replace or add arguments."""
        arguments = {**builder, **changes}
        if "compound_tokens" in arguments:  # JSON has no tuples
            items = arguments["compound_tokens"]
            arguments["compound_tokens"] = [tuple(item) if isinstance(item[0], list) else item for item in items]
        condition = self.data.get("conditional_layer_norm")
        if condition:
            tensor = keras.Input((condition["size"],), name="Input-Condition")
            arguments |= {
                "layer_norm_cond": tensor,
                "additional_input_layers": tensor,
                "layer_norm_cond_hidden_size": condition.get("hidden_size"),
                "layer_norm_cond_hidden_act": condition.get("hidden_act"),
            }
        arguments.setdefault("checkpoint_path", str(self.folder / self.data["checkpoint"]))
        model = build_transformer_model(str(self.folder / self.data["config"]), **arguments)
        if self.data.get("extra_weights"):
            target = model if isinstance(model, keras.Model) else model.model
            for name, value in np.load(self.folder / self.data["extra_weights"]).items():
                layer, dense, _ = name.split("/")
                getattr(target.get_layer(layer), dense).set_weights([value])
        return model

    def check_model(self):
        gelu = self.data.get("setup", {}).get("set_gelu")
        try:
            if gelu:
                keras_su.backend.set_gelu(gelu)
            for run in self.data["runs"]:
                self._check_run(run)
        finally:
            keras_su.backend.set_gelu("erf")

    def _check_run(self, run):
        if run.get("generate"):
            return self._check_generation(run)
        model = self.build(run["builder"])
        mask = self.arrays.get("in_attention_mask")
        # Called, not predicted: compiling each of these tiny models would take longer than running them.
        outputs = model([keras.ops.convert_to_tensor(self.input(name)) for name in run["inputs"]], training=False)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        assert len(outputs) == len(run["outputs"])
        for name, output in zip(run["outputs"], outputs):
            decoded = name == "lm" and "in_decoder_ids" in self.arrays  # the mask is that of the source
            self.compare(name, output, self.data["tolerance"][name], None if decoded else mask)

    def _check_generation(self, run):
        """Greedy continuation without an end of sequence, judged at once: each token is what the model says behind its prefix."""
        generated, segment = self.arrays["out_generated"], self.data["compute"].get("gen_segment")
        assert generated.shape[1] > run["max_new_tokens"]
        ids = generated[:, :-1]
        if run["inputs"] == ["prompt_ids"]:
            model, inputs = self.build(run["builder"], final_activation="linear"), [ids]
            assert np.array_equal(ids[:, : -run["max_new_tokens"] + 1], self.input("prompt_ids"))
        else:
            model, inputs = self.build(run["builder"], with_lm="linear"), [self.input("token_ids"), ids]
        inputs += [] if segment is None else [np.full_like(ids, segment)]
        logits = keras.ops.convert_to_numpy(model([keras.ops.convert_to_tensor(a) for a in inputs], training=False))
        new = run["max_new_tokens"]
        np.testing.assert_array_equal(logits[:, -new:].argmax(-1), generated[:, -new:])
        # Written with a cache.
        prompts, options = generated[:, :-new], {}
        if run["inputs"] != ["prompt_ids"]:
            options["context"] = {model.inputs[0].name: self.input("token_ids")}
        elif segment is not None:
            options |= {"segment": segment, "segments": np.full_like(prompts, segment)}
        for row, result in zip(generated, generate(model, prompts, max_new_tokens=new, **options)):
            np.testing.assert_array_equal(result.tokens, row[-new:])

    # ---- layers and functions

    def tensors(self):
        return {name[3:]: keras.ops.convert_to_tensor(value) for name, value in self.arrays.items() if name.startswith("in_")}

    def check_layer(self):
        if golden_training.knows(self.data):
            return golden_training.check(self)
        if self.data["layer"] in FUNCTIONS:
            return self._check_function()
        layer = getattr(keras_su.layers, self.data["layer"])(**self.data["kwargs"])
        tensors = self.tensors()
        inputs = [tensors[name] for name in self.data["inputs"] if not name.startswith("mask")]
        inputs = inputs[0] if len(inputs) == 1 else inputs
        arguments = dict(self.data.get("call") or {})
        if arguments.get("mask") is not None:
            masks = [None if name is None else tensors[name] for name in arguments["mask"]]
            arguments["mask"] = masks if isinstance(inputs, list) else masks[0]
        layer(inputs, **arguments)  # builds it
        weights = [self.arrays[f"w_{index:02d}"] for index in range(len(self.data["weights"]))]
        if weights:
            layer.set_weights(weights)
        outputs = layer(inputs, **arguments)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        for name, output in zip(self.data["outputs"], outputs, strict=True):
            self.compare(name, output, self.data["tolerance"])

    def _check_function(self):
        t, check = self.tensors(), lambda name, value: self.compare(name, value, self.data["tolerance"])
        if self.data["layer"] == "activations":
            for name in self.data["outputs"]:
                function = keras_su.activations.get(name) if name == "gelu" else getattr(keras_su.backend, name)
                check(name, function(t["x"]))
        elif self.data["layer"] == "apply_rotary_position_embeddings":
            query, key = keras_su.backend.apply_rotary_position_embeddings(t["sinusoidal"], t["q"], t["k"])
            check("q", query)
            check("k", key)
        elif self.data["layer"] == "sinusoidal_embeddings":
            size = self.data["kwargs"]["dim"]
            check("y", keras_su.backend.sinusoidal_embeddings(t["pos"], size))
            check("y_base5", keras_su.backend.sinusoidal_embeddings(t["pos"], size, 5.0))
        else:
            masking = keras_su.backend.sequence_masking
            check("default", masking(t["x"], t["mask"]))
            check("neg_inf", masking(t["x"], t["mask"], -np.inf, 1))
            check("float_mask", masking(t["x"], keras.ops.cast(t["mask"], "float32"), 5.0))
            check("last_axis", masking(t["x4"], t["mask"], -np.inf, -1))
            check("two_axes_tril", masking(t["x4"], t["mask"], -np.inf, [2, 3], t["tril"]))

    # ---- decoding

    def check_beam_search(self):
        tables = self.input("table"), self.input("table2")

        class Decoder(AutoRegressiveDecoder):
            @AutoRegressiveDecoder.wraps(default_rtype="probas")
            def predict(self, inputs, output_ids, states):
                prompt, length = inputs[0][:, -1], output_ids.shape[1]
                last = [output_ids[:, -back] if length >= back else prompt for back in (1, 2)]
                weights = np.exp(tables[0][last[0]] + tables[1][last[1]])
                return weights / weights.sum(axis=-1, keepdims=True)

        for run in self.data["runs"]:
            decoder = Decoder(*(run[name] for name in ("start_id", "end_id", "maxlen", "minlen")))
            options = {name: run[name] for name in ("topk", "temperature", "min_ends")}
            assert decoder.beam_search([run["prompt"]], **options).tolist() == run["output_ids"], run

    # ---- tokenizers

    def check_tokenizer(self):
        sentence_piece = self.data["kind"] == "sp_tokenizer"
        path = self.folder / self.data["model" if sentence_piece else "vocab"]
        for name, part in self.data["bert4keras"].items():
            if name == "load_vocab_simplified":
                tokens, keep = keras_su.tokenizers.load_vocab(path, simplified=True, startswith=part["startswith"])
                assert tokens == part["token_dict"] and list(keep) == part["keep_tokens"]
                continue
            arguments = dict(part.get("kwargs", {}))
            if not sentence_piece:
                arguments["do_lower_case"] = part["do_lower_case"]
            if name.startswith("pre_tokenize"):
                arguments["pre_tokenize"] = lambda text: text.split(" ")
            tokenizer = (keras_su.tokenizers.SpTokenizer if sentence_piece else keras_su.tokenizers.Tokenizer)(path, **arguments)
            for row in part["single"]:
                self._check_text(name, tokenizer, row)
            for pair in part.get("pair", []):
                if pair["ids"] is not None:
                    ids, segments = tokenizer.encode(pair["first"], pair["second"], **pair["kwargs"])
                    assert (list(ids), list(segments)) == (pair["ids"], pair["segment_ids"]), (name, pair)

    @staticmethod
    def _check_text(name, tokenizer, row):
        text = row["text"]
        tokens = tokenizer.tokenize(text)
        got = {"tokens": list(tokens)}
        if "ids" in row:
            ids, segments = tokenizer.encode(text)
            got |= {"ids": list(ids), "segment_ids": list(segments)}
        if "ids_maxlen8" in row:
            got["ids_maxlen8"] = list(tokenizer.encode(text, maxlen=8)[0])
        if row.get("rematch") is not None:
            got["rematch"] = [list(positions) for positions in tokenizer.rematch(text, tokens)]
        if "decode" in row:
            got["decode"] = tokenizer.decode(row["ids"])
        for key, value in got.items():
            if key in row:
                assert value == row[key], (name, text, key)
