"""Reading a model configuration so that nothing in it is overlooked.

Every key ends in one of four ways: read by the family; known not to change the computation; known to change it, and then an
error when the family has no such feature; unknown, and then a warning for a key of a file and an error for a keyword of the
caller.
"""

import json
from pathlib import Path

from keras_su.errors import KerasSuError, bad_value, did_you_mean, listing, nearest

REQUIRED = object()

# Keys of configuration files that say nothing about the computation of an encoder or decoder.
_SILENT = {
    "_attn_implementation", "_commit_hash", "_flash_attn_2_enabled", "_name_or_path", "_num_labels", "activation_dropout",
    "add_bias_logits", "apply_query_key_layer_scaling", "architectures", "attention_softmax_in_fp32", "attn_implementation",
    "author", "auto_map", "bad_words_ids", "begin_suppress_tokens", "bias_dropout_fusion", "bos_token_id",
    "cache_implementation", "chunk_size_feed_forward", "classif_dropout", "classifier_dropout", "classifier_dropout_prob",
    "classifier_pooling", "cls_token_id", "decoder_layerdrop", "decoder_start_token_id", "dense_act_fn",
    "deterministic_flash_attn", "directionality", "diversity_penalty", "do_sample", "dtype", "early_stopping",
    "encoder_layerdrop", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty", "finetuning_task",
    "force_bos_token_to_be_generated", "forced_bos_token_id", "forced_eos_token_id", "fp32_residual_connection",
    "generator_hidden_size", "generator_size", "gradient_checkpointing", "id2label", "init_std", "initializer_cutoff_factor",
    "initializer_factor", "initializer_range", "is_gated_act", "keys_to_ignore_at_inference", "label2id", "language",
    "length_penalty", "mask_token_id", "max_length", "max_window_layers", "min_length", "mlm_probability", "model_type",
    "n_ctx", "n_special", "name", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_labels", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_past", "output_scores", "pad_to_multiple_of", "pad_token_id",
    "pooler_dropout", "pooler_fc_size", "pooler_hidden_act", "pooler_hidden_size", "pooler_num_attention_heads",
    "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "predict_special_tokens", "prefix", "prefix_projection",
    "problem_type", "reference_compile", "remove_invalid_values", "repad_logits_with_grad", "repetition_penalty", "return_dict",
    "return_dict_in_generate", "router_aux_loss_coef", "sep_token_id", "seq_length", "sparse_pred_ignore_index",
    "sparse_prediction", "summary_activation", "summary_first_dropout", "summary_hidden_size", "summary_last_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "suppress_tokens", "task_specific_params", "temperature",
    "tf_legacy_loss", "tokenizer_class", "tokenizer_type", "top_k", "top_p", "torch_dtype", "torchscript",
    "transformers_version", "typical_p", "unk_token_id", "use_bfloat16", "use_cache", "use_flash_attn", "vocab_file",
    "vocab_type", "z_loss_weight",
}  # fmt: skip

# Keys that do change the computation, with the values at which they do not.
_NEUTRAL = {
    "add_cross_attention": (False,),
    "add_final_layer_norm": (False,),
    "cross_attention_hidden_size": (None,),
    "embedding_scale": (None, 1, 1.0),
    "hidden_dropout": (),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "layer_norm_type": ("postln",),
    "ln_type": ("postln",),
    "normalize_before": (False,),
    "normalize_embedding": (True,),
    "position_embedding_type": ("absolute", None),
    "pretraining_tp": (1,),
    "pre_seq_len": (None, 0),
    "pruned_heads": ({}, None),
    "quantization_bit": (None, 0),
    "quantization_config": (None,),
    "reorder_and_upcast_attn": (False,),
    "rope_scaling": (None,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "scale_attn_weights": (True,),
    "sliding_window": (None,),
    "static_position_embeddings": (False,),
    "task_type_vocab_size": (None, 0),
    "tie_encoder_decoder": (False,),
    "tie_word_embeddings": (True,),
    "use_bidirectional_attention": (False, None),
    "use_sliding_window": (False,),
    "use_task_id": (False,),
}


def read_json(path):
    """The dictionary in a JSON file, with an error that names the file when it is not one."""
    path = Path(path)
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*.json")] if path.parent.is_dir() else []
        hint = f" JSON files there: {listing(beside)}." if beside else ""
        raise KerasSuError(f"No configuration file {str(path)!r}.{hint}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise KerasSuError(f"{str(path)!r} is not a JSON configuration: {error}.") from error
    if not isinstance(values, dict):
        raise KerasSuError(f"{str(path)!r} holds a {type(values).__name__}, expected a JSON object with settings.")
    return values


class Config:
    """Settings of a file and of the caller, who wins; remembers which were read.

    Args:
        values: dictionary of the configuration file.
        overrides: keyword arguments of the caller.
        family: name of the model family, for messages.
        application: ``"encoder"``, ``"lm"`` or ``"unilm"``; the last two want a language model head.
        reader: the opened checkpoint, or ``None``; some settings follow from what is in it.

    Attributes:
        answers: what was read so far, by its first name.
    """

    def __init__(self, values, overrides=None, family="?", application="encoder", reader=None):
        self.values = dict(values)
        self.overrides = dict(overrides or {})
        self.family = family
        self.application = application
        self.reader = reader
        self._asked = set()
        self._settings = {}
        self._own = {}
        self.answers = {}
        self.renamed = {}

    @property
    def is_hugging_face(self):
        """Whether the file is a ``config.json`` of transformers, whose defaults then apply."""
        return bool({"model_type", "architectures", "transformers_version"} & self.values.keys())

    def read(self, *names, default=REQUIRED):
        """A setting of the architecture: the value of the first of several aliases that is present and not ``None``.

        The caller's keywords come first. The last alias is the name in Hugging Face files, under which it is exported.

        Raises:
            KerasSuError: no alias is present and there is no default.
        """
        value = self.read_option(*names, default=default)
        self._settings.setdefault(self._aliases(names)[-1], value)  # a second reader may have another default
        return value

    def _aliases(self, names):
        """With what the family calls a setting otherwise: ``renamed`` is a dictionary of usual names and its own."""
        return (*names, *(self.renamed[name] for name in names if name in self.renamed))

    def read_own(self, *names, default):
        """A setting of the architecture that Hugging Face files cannot express, unless it has its default."""
        value = self.read_option(*names, default=default)
        if value != default:
            self._own[names[0]] = value
        return value

    def read_option(self, *names, default=REQUIRED):
        """A choice of the caller that is not part of the architecture, such as a head."""
        names = self._aliases(names)
        self._asked.update(names)
        found = [source[name] for source in (self.overrides, self.values) for name in names if source.get(name) is not None]
        self.answers[names[0]] = found[0] if found else default
        if found:
            return found[0]
        if default is REQUIRED:
            aliases = f" (also called {', '.join(names[1:])})" if names[1:] else ""
            raise KerasSuError(
                f"The configuration of model {self.family!r} lacks {names[0]!r}{aliases}.{self._nearest(names[0])}"
            )
        return default

    def refuse_export(self, **settings):
        """Settings with which a Hugging Face file cannot be written."""
        self._own.update(settings)

    def note(self, **settings):
        """Settings to export that follow from others, and were not read under these names."""
        self._settings.update(settings)

    def is_setting(self, name):
        """Whether the family has read ``name`` as a setting of its architecture."""
        return name in self._settings

    @property
    def head_options(self):
        """Names of the settings that switch heads on, of those that the family has asked for."""
        return sorted(name for name in self._asked if name.startswith("with_"))

    def has_tensor(self, *names):
        """Whether the checkpoint holds a tensor of one of these names; ``False`` without a checkpoint."""
        if self.reader is None:
            return False
        known = set(self.reader.names())
        return any(name in known for name in names)

    def is_untied(self, head, table):
        """Whether the checkpoint holds an output matrix ``head`` whose numbers differ from those of the token ``table``."""
        if not self.has_tensor(head):
            return False
        if not self.has_tensor(table) or self.reader.shape(head) != self.reader.shape(table):
            return True
        rows = [0, 1, self.reader.shape(head)[0] - 1]
        return bool((self.reader.read(head, rows=rows) != self.reader.read(table, rows=rows)).any())

    def export(self):
        """The settings under their Hugging Face names, with what the file said about tokens and training.

        Raises:
            KerasSuError: the model has something that such a file cannot express.
        """
        if self._own:
            named = listing(f"{name}={value!r}" for name, value in self._own.items())
            raise KerasSuError(
                f"A Hugging Face {self.family} cannot express {named}. Save the model as a TF checkpoint or a .keras file."
            )
        skip = {"architectures", "auto_map", "torch_dtype", "dtype", "transformers_version", "model_type", "_name_or_path"}
        kept = {name: value for name, value in self.values.items() if name in _SILENT and name not in skip}
        settings = {name: value for name, value in self._settings.items() if value is not None}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        return {**kept, **listed}

    def read_head_size(self, hidden_size, heads):
        """Width of an attention head: a setting of its own, or the hidden size shared out among the heads."""
        size = self.read_option("attention_head_size", default=None)
        if size is not None:
            if size * heads != hidden_size:
                self.refuse_export(attention_head_size=size)
            return size
        if not isinstance(heads, int) or heads < 1:
            raise bad_value("num_attention_heads", heads, "a positive integer")
        if hidden_size % heads:
            raise KerasSuError(
                f"hidden_size {hidden_size} cannot be shared out among {heads} attention heads. Set attention_head_size."
            )
        return hidden_size // heads

    def read_choice(self, name, choices, default):
        """The value behind a choice of the caller that allows only the keys of ``choices``."""
        value = self.read_option(name, default=default)
        if value not in choices:
            raise bad_value(name, value, " or ".join(repr(key) for key in choices))
        return choices[value]

    def _nearest(self, name):
        found = nearest(name, [*self.overrides, *self.values])
        return f" It has {found[0]!r}: is that what was meant?" if found else ""

    def done(self):
        """Check that every setting found its use.

        Returns:
            Names of settings of the file that are unknown, for the load report.

        Raises:
            KerasSuError: an unread keyword, or a setting that the family cannot honour.
        """
        for name in self.overrides:
            if name not in self._asked:
                hint = did_you_mean(name, self._asked) or f" Settings: {listing(sorted(self._asked), 60)}."
                raise KerasSuError(f"Unused setting {name!r} for model {self.family!r}.{hint}")
        unknown = []
        for name, value in self.values.items():
            if name in self._asked or name in _SILENT:
                continue
            if name not in _NEUTRAL:
                unknown.append(name)
            elif value not in _NEUTRAL[name]:
                raise KerasSuError(
                    f"The configuration sets {name}={value!r}, which model {self.family!r} does not compute (it knows {name} = "
                    f"{' or '.join(repr(v) for v in _NEUTRAL[name])}). Is this file of another family?"
                )
        return unknown
