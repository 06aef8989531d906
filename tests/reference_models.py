"""Tiny models of transformers with random weights: one line for each architecture and variant that must be read and written.

``REFERENCES`` is a table of :class:`Reference`; tests build the model, save it, and compare outputs.
"""

from dataclasses import dataclass, field

import numpy as np

TEXT = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
BERT = {**TEXT, "max_position_embeddings": 40, "type_vocab_size": 2, "pad_token_id": 0, "initializer_range": 0.3}
LLAMA = {**TEXT, "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3, "pad_token_id": 0}
GPT = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "initializer_range": 0.3}
T5 = {"vocab_size": 99, "d_model": 32, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4, "initializer_factor": 3.0}
T5 |= {"pad_token_id": 0, "decoder_start_token_id": 0, "num_decoder_layers": 3, "relative_attention_max_distance": 20}
BART = {"vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "init_std": 0.3}
BART |= {
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
DEBERTA = {
    **BERT,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["c2p", "p2c"],
}
DEBERTA |= {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True, "layer_norm_eps": 1e-7}
WINDOWS = {"sliding_window": 4, "head_dim": 16}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3["original_max_position_embeddings"] = 32


@dataclass(frozen=True)
class Reference:
    """A model of transformers.

    Attributes:
        name: of the row.
        config, model: names of its classes.
        settings: of the configuration.
        family: what it must be recognised as.
        heads: keyword arguments that build the same outputs as ``outputs``.
        outputs: names of attributes of the result of the reference, in our order.
        kind: ``"encoder"`` (compared at tokens), ``"segments"`` (the same with segment ids), ``"decoder"`` or ``"seq2seq"``.
    """

    name: str
    config: str
    model: str
    settings: dict
    family: str
    heads: dict = field(default_factory=dict)
    outputs: tuple = ("logits",)
    kind: str = "encoder"

    def make(self):
        """The model with every parameter random."""
        import torch
        import transformers

        torch.manual_seed(0)
        model = getattr(transformers, self.model)(getattr(transformers, self.config)(**self.settings))
        model.set_attn_implementation("eager")  # the only one that caps scores
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:  # norms and biases are ones and zeros otherwise
                    parameter.add_(0.1 * torch.randn_like(parameter))
            if hasattr(model, "final_logits_bias"):
                model.final_logits_bias.normal_()
        return model.eval()

    def inputs(self):
        """Token ids with padding, segment or decoder ids, and the attention mask."""
        dice = np.random.default_rng(1)
        pad = self.settings.get("pad_token_id", 0)
        tokens = dice.integers(3, 99, (3, 11))
        tokens[1, 7:] = pad
        mask = (tokens != pad).astype("int32")
        second = dice.integers(3, 99, (3, 6)) if self.kind == "seq2seq" else (np.arange(11)[None] > 5) * mask
        return tokens.astype("int32"), second.astype("int32"), mask

    def run(self, model):
        """Outputs of the reference as numpy arrays."""
        import torch

        tokens, second, mask = (torch.tensor(a, dtype=torch.long) for a in self.inputs())
        arguments = {"input_ids": tokens, "attention_mask": mask}
        if self.kind == "segments":
            arguments["token_type_ids"] = second
        if self.kind == "seq2seq":
            arguments["decoder_input_ids"] = second
        with torch.no_grad():
            result = model(**arguments)
        return [getattr(result, name).float().numpy() for name in self.outputs]


def _encoder(name, prefix, settings, family, model="{}ForMaskedLM", kind="segments", **fields):
    fields = {"heads": {"with_mlm": "linear"}, **fields}
    return Reference(name, f"{prefix}Config", model.format(prefix), settings, family, kind=kind, **fields)


def _decoder(name, prefix, family, settings, **fields):
    heads = {"final_activation": "linear"}
    return Reference(name, f"{prefix}Config", f"{prefix}ForCausalLM", settings, family, heads, kind="decoder", **fields)


def _seq2seq(name, prefix, family, settings):
    heads = {"with_lm": "linear"}
    return Reference(name, f"{prefix}Config", f"{prefix}ForConditionalGeneration", settings, family, heads, kind="seq2seq")


PRETRAINING = {"heads": {"with_mlm": "linear"}, "outputs": ("prediction_logits",), "model": "{}ForPreTraining"}
POOLED = {"heads": {"with_pool": True}, "outputs": ("pooler_output",), "model": "{}Model"}
HIDDEN = {"heads": {}, "outputs": ("last_hidden_state",), "model": "{}Model"}
ROBERTA = {**BERT, "pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 42}
GEMMA = {**LLAMA, **WINDOWS, "query_pre_attn_scalar": 20, "num_hidden_layers": 3}
MODERN = {**TEXT, "pad_token_id": 0, "max_position_embeddings": 64, "num_hidden_layers": 4, "local_attention": 6}
MODERN |= {"initializer_range": 0.3, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}

REFERENCES = [
    _encoder("bert", "Bert", BERT, "bert", **PRETRAINING),
    _encoder("bert-pooled", "Bert", BERT, "bert", **POOLED),
    _encoder("albert", "Albert", {**BERT, "embedding_size": 16, "num_hidden_layers": 4}, "albert", **PRETRAINING),
    _encoder("albert-groups", "Albert", {**BERT, "embedding_size": 32, "num_hidden_layers": 4, "num_hidden_groups": 2}, "albert"),
    _encoder("nezha", "Nezha", {**BERT, "max_relative_position": 4}, "nezha", **PRETRAINING),
    _encoder("roformer", "RoFormer", {**BERT, "embedding_size": 16}, "roformer"),
    _encoder("electra-generator", "Electra", {**BERT, "embedding_size": 16}, "electra_generator"),
    _encoder(
        "electra",
        "Electra",
        BERT | {"embedding_size": 32},
        "electra",
        model="{}ForPreTraining",
        heads={"with_discriminator": "linear"},
    ),
    _encoder("ernie", "Ernie", {**BERT, "type_vocab_size": 4, "use_task_id": True, "hidden_act": "relu"}, "ernie", **PRETRAINING),
    _encoder("roberta", "Roberta", ROBERTA, "xlm_roberta", kind="encoder"),
    _encoder("xlm-roberta", "XLMRoberta", ROBERTA, "xlm_roberta", kind="encoder", **POOLED),
    _encoder("megatron", "MegatronBert", BERT, "megatron_bert", **PRETRAINING),
    _encoder("deberta", "DebertaV2", DEBERTA, "deberta_v2", kind="encoder"),
    _encoder("deberta-conv", "DebertaV2", {**DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"}, "deberta_v2", kind="encoder"),
    _encoder(
        "deberta-own-keys",
        "DebertaV2",
        {**DEBERTA, "share_att_key": False, "type_vocab_size": 2, "position_buckets": -1, "norm_rel_ebd": "none"},
        "deberta_v2",
    ),
    _encoder("deberta-c2p", "DebertaV2", {**DEBERTA, "pos_att_type": ["c2p"]}, "deberta_v2", kind="encoder", **HIDDEN),
    _encoder("modernbert", "ModernBert", MODERN, "modernbert", kind="encoder"),
    _encoder(
        "modernbert-bias", "ModernBert", {**MODERN, "norm_bias": True, "mlp_bias": True}, "modernbert", kind="encoder", **HIDDEN
    ),
    Reference(
        "openai-gpt", "OpenAIGPTConfig", "OpenAIGPTLMHeadModel", GPT, "gpt", {"final_activation": "linear"}, kind="decoder"
    ),
    Reference("gpt2", "GPT2Config", "GPT2LMHeadModel", GPT, "gpt2", {"final_activation": "linear"}, kind="decoder"),
    _seq2seq("t5", "T5", "t5.1.0", T5),
    _seq2seq("t5-gated", "T5", "t5.1.1", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    _seq2seq("mt5", "MT5", "mt5.1.1", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    _seq2seq("umt5", "UMT5", "umt5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    _seq2seq("bart", "Bart", "bart", BART),
    _seq2seq("bart-scaled", "Bart", "bart", {**BART, "scale_embedding": True, "pad_token_id": 1}),
    _decoder("llama", "Llama", "llama", LLAMA),
    _decoder("llama-bias", "Llama", "llama", {**LLAMA, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    _decoder("llama3-scaling", "Llama", "llama", {**LLAMA, "rope_theta": 500.0, "rope_scaling": LLAMA3}),
    _decoder("llama-linear", "Llama", "llama", {**LLAMA, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    _decoder(
        "llama-dynamic",
        "Llama",
        "llama",
        {**LLAMA, "max_position_embeddings": 8, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    ),
    _decoder("llama-yarn", "Llama", "llama", {**LLAMA, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
    _decoder("mistral", "Mistral", "mistral", {**LLAMA, "sliding_window": 4}),
    _decoder("qwen2", "Qwen2", "qwen2", {**LLAMA, "tie_word_embeddings": True}),
    _decoder(
        "qwen2-window", "Qwen2", "qwen2", {**LLAMA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    ),
    _decoder("qwen3", "Qwen3", "qwen3", {**LLAMA, "head_dim": 16}),
    _decoder("gemma", "Gemma", "gemma", {**LLAMA, "head_dim": 16}),
    _decoder("gemma2", "Gemma2", "gemma2", GEMMA),
    _decoder("gemma3", "Gemma3", "gemma3", GEMMA),
    _decoder("glm", "Glm", "glm", {**LLAMA, "head_dim": 8, "attention_bias": True}),
    _decoder("glm4", "Glm4", "glm4", {**LLAMA, "head_dim": 8, "attention_bias": True}),
    _decoder("ernie4_5", "Ernie4_5", "ernie4_5", {**LLAMA, "head_dim": 8}),
]
SPECIAL = {"gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM")}
REFERENCES = [
    row if row.name not in SPECIAL else Reference(row.name, *SPECIAL[row.name], *list(vars(row).values())[3:])
    for row in REFERENCES
]
