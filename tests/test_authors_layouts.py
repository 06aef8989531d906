"""Models that transformers does not have in their authors' layout: the reference is a class of the same arithmetic, renamed.

InternLM2 and Baichuan compute what Llama does, ChatGLM what GLM does, MiniCPM what Granite does, CPT what BERT and BART do.
"""

import keras
import numpy as np
import pytest
from reference_models import BART, LLAMA, TEXT

from keras_su.errors import KerasSuError
from keras_su.models import build_transformer_model

transformers = pytest.importorskip("transformers", reason="the reference implementation is not installed")
torch = pytest.importorskip("torch", reason="the reference implementation needs it")

TOKENS = np.random.default_rng(3).integers(3, 99, (2, 10)).astype("int32")


def reference(name, settings):
    """A random model and its tensors by name."""
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        logits = model(torch.tensor(TOKENS, dtype=torch.long)).logits.numpy()
    return {name: value.numpy() for name, value in model.state_dict().items()}, logits


def check(family, config, tensors, logits, named=None):
    handle = build_transformer_model(config, tensors, named, return_keras_model=False, final_activation="linear")
    assert handle.family.name == family
    found = keras.ops.convert_to_numpy(handle.model(keras.ops.convert_to_tensor(TOKENS)))
    np.testing.assert_allclose(found, logits, atol=2e-4 * np.abs(logits).max())
    for name, value in dict(handle.tensors("torch")).items():
        if family != "baichuan2" or name != "lm_head.weight":  # whose rows are stored with length 1
            np.testing.assert_array_equal(value, tensors[name], err_msg=name)


def renamed(tensors, *pairs):
    result = {}
    for name, value in tensors.items():
        for old, new in pairs:
            name = name.replace(old, new)
        result[name] = value
    return result


def join(tensors, target, *sources, how=np.concatenate):
    """Replace ``sources`` of each layer by one tensor."""
    for name in [name for name in tensors if sources[0] in name]:
        parts = [tensors.pop(name.replace(sources[0], source)) for source in sources]
        tensors[name.replace(sources[0], target)] = how(parts)
    return tensors


def grouped(parts):
    """Query heads of a group, then its key, then its value: InternLM2's order of rows."""
    query, key, value = (part.reshape(2, -1, *part.shape[1:]) for part in parts)
    return np.concatenate([query, key, value], axis=1).reshape(-1, *parts[0].shape[1:])


ATTENTION = [("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")]


@pytest.mark.parametrize("bias", [False, True])
def test_internlm2(bias):
    tensors, logits = reference("Llama", {**LLAMA, "attention_bias": bias})
    tensors = join(tensors, "attention.wqkv", *ATTENTION[0], how=grouped)
    names = [("self_attn.o_proj", "attention.wo"), ("mlp.gate_proj", "feed_forward.w1"), ("mlp.up_proj", "feed_forward.w3")]
    names += [
        ("mlp.down_proj", "feed_forward.w2"),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ]
    tensors = renamed(tensors, *names, ("embed_tokens", "tok_embeddings"), ("lm_head", "output"))
    check("internlm2", {**LLAMA, "model_type": "internlm2", "bias": bias, "rms_norm_eps": 1e-6}, tensors, logits)
    lie = {**LLAMA, "model_type": "internlm", "bias": bias, "rms_norm_eps": 1e-6}  # some published files say so
    check("internlm2", lie, tensors, logits)


def test_internlm():
    tensors, logits = reference("Llama", {**LLAMA, "attention_bias": True})
    check("internlm", {**LLAMA, "model_type": "internlm", "bias": True, "rms_norm_eps": 1e-6}, tensors, logits)


@pytest.mark.parametrize("family", ["baichuan", "baichuan2"])
def test_baichuan(family):
    settings = {**LLAMA, "num_key_value_heads": 4, "vocab_size": 125696 if family == "baichuan2" else 99}
    tensors, logits = reference("Llama", settings)
    tensors = join(tensors, "self_attn.W_pack", *ATTENTION[0])
    if family == "baichuan2":  # the original divides the rows at every step
        logits = logits / np.linalg.norm(tensors["lm_head.weight"], axis=1)
    config = {**settings, "model_type": "baichuan", "rms_norm_eps": 1e-6}
    del config["num_key_value_heads"]
    check(family, config, tensors, logits)


def test_baichuan_of_13b_is_refused():
    config = {**TEXT, "model_type": "baichuan", "model_max_length": 4096}
    with pytest.raises(KerasSuError, match="ALiBi"):
        build_transformer_model(config, model="baichuan")


def test_chatglm():
    settings = {**LLAMA, "head_dim": 8, "attention_bias": True, "rope_theta": 500000.0, "rms_norm_eps": 1e-5}
    tensors, logits = reference("Glm", settings)
    tensors = join(tensors, "self_attention.query_key_value", *ATTENTION[0])
    names = [("model.layers", "transformer.encoder.layers"), ("self_attn.o_proj", "self_attention.dense")]
    names += [("mlp.gate_up_proj", "mlp.dense_h_to_4h"), ("mlp.down_proj", "mlp.dense_4h_to_h")]
    names += [("model.embed_tokens", "transformer.embedding.word_embeddings"), ("lm_head", "transformer.output_layer")]
    tensors = renamed(tensors, *names, ("model.norm", "transformer.encoder.final_layernorm"))
    tensors["transformer.rotary_pos_emb.inv_freq"] = np.ones(2, "float32")
    config = {"model_type": "chatglm", "num_layers": 2, "padded_vocab_size": 99, "hidden_size": 32, "ffn_hidden_size": 48}
    config |= {"kv_channels": 8, "num_attention_heads": 4, "multi_query_group_num": 2, "multi_query_attention": True}
    config |= {"add_qkv_bias": True, "layernorm_epsilon": 1e-5, "rope_ratio": 50, "original_rope": True, "rmsnorm": True}
    check("chatglm", config, tensors, logits)


def test_minicpm():
    factors = {"embedding_multiplier": 12.0, "residual_multiplier": 1.4 / 2**0.5, "logits_scaling": 32 / 8}
    settings = {**LLAMA, **factors, "attention_multiplier": 8**-0.5, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}
    tensors, logits = reference("Granite", settings)
    config = {**LLAMA, "model_type": "minicpm", "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 8, "rms_norm_eps": 1e-5}
    check("minicpm", config, tensors, logits)


def test_cpt():
    """The encoder is a BERT of four layers, of which the decoder (two layers) sees the states below the last two."""
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 99}
    encoder = transformers.BertModel(transformers.BertConfig(**sizes, max_position_embeddings=40), add_pooling_layer=False).eval()
    settings = {**BART, "encoder_layers": 4, "decoder_layers": 2}
    whole = transformers.BartForConditionalGeneration(transformers.BartConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *whole.parameters()]:
            parameter.add_(0.1 * torch.randn_like(parameter))
        whole.final_logits_bias.normal_()
        encoder.embeddings.word_embeddings.weight.copy_(whole.model.shared.weight)
        source = torch.tensor(TOKENS, dtype=torch.long)
        mask = torch.ones_like(source)
        source[0, 7:] = mask[0, 7:] = 0
        target = source.flip(0)[:, :6]
        states = encoder(source, mask, output_hidden_states=True).hidden_states[2]
        hidden = whole.model.decoder(target, encoder_hidden_states=states, encoder_attention_mask=mask).last_hidden_state
        expected = (whole.lm_head(hidden) + whole.final_logits_bias).numpy()
    tensors = {f"model.encoder.{name}": value.numpy() for name, value in encoder.state_dict().items()}
    theirs = {name: value.numpy() for name, value in whole.state_dict().items() if "model.encoder" not in name}
    tensors |= theirs
    config = {**settings, "model_type": "bart", "architectures": ["CPTForConditionalGeneration"]}
    handle = build_transformer_model(config, tensors, None, return_keras_model=False, with_lm="linear")
    assert handle.family.name == "cpt" and handle.encoder is not None
    found = handle.model([keras.ops.convert_to_tensor(a.numpy().astype("int32")) for a in (source, target)])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, atol=2e-4 * np.abs(expected).max())
