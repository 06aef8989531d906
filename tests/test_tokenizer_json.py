"""JsonTokenizer: ids, segments and offsets are those of the library; truncation, special tokens and errors are ours."""

import json

import numpy as np
import pytest

from keras_su import errors
from keras_su.tokenizers import JsonTokenizer, Tokenizer

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

CORPUS = ["今天天气不错，适合出门。", "the capital of France is Paris", "深度学习 deep learning", "hello hello world world"] * 3
TEXTS = ["今天天气不错", "the capital of France", " hello  world\n", "", "🦄 unseen Ωλ", "deep <|end|> learning", "x" * 40]


def byte_level(processor=None):
    """A byte-level BPE as Llama 3, Qwen and GPT-2 have it."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|begin|>", "<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processor or processors.ByteLevel(trim_offsets=True)
    return tokenizer


def with_template():
    template = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|begin|>:1 $B:1", special_tokens=[("<|begin|>", 0)]
    )
    return byte_level(processors.Sequence([processors.ByteLevel(trim_offsets=True), template]))


def roberta():
    return byte_level(processors.RobertaProcessing(("<|end|>", 1), ("<|begin|>", 0)))


def word_piece():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "天", "气", "deep", "##er", "learn", "##ing", "hello", "world"]
    tokenizer = tokenizers.Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(pieces[:5])
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def unigram():
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0), ("▁hello", -3.0), ("▁world", -3.0), ("天", -4.0)]
    tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    template = "<s> <s> $A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, pair=template + " $B </s> <s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


KINDS = {"byte_level": byte_level, "template": with_template, "roberta": roberta, "word_piece": word_piece, "unigram": unigram}


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """The library's tokenizer and ours. The file asks for truncation and padding, which nobody wants."""
    library = KINDS[request.param]()
    folder = tmp_path_factory.mktemp(request.param)
    library.enable_truncation(4)
    library.enable_padding(length=9)
    library.save(str(folder / "tokenizer.json"))
    library.no_truncation()
    library.no_padding()
    return library, JsonTokenizer(folder)


@pytest.mark.parametrize("second", [None, "hello world", ""])
def test_ids_segments_and_offsets_are_those_of_the_library(both, second):
    library, ours = both
    for text in TEXTS:
        wanted = library.encode(text, second)
        token_ids, segment_ids, offsets = ours.encode(text, second, return_offsets=True)
        assert (token_ids, segment_ids, offsets) == (wanted.ids, wanted.type_ids, wanted.offsets)
        assert ours.encode(text, second) == (wanted.ids, wanted.type_ids)
        if second is None:
            assert ours.tokenize(text) == wanted.tokens
            assert ours.tokens_to_ids(wanted.tokens) == wanted.ids
            assert ours.offsets(text) == wanted.offsets
            assert ours.encode(ours.tokenize(text))[0] == wanted.ids


def test_truncation_takes_from_the_texts_only(both):
    library, ours = both
    text = "hello world hello deep learning 天气"
    whole, special = library.encode(text).ids, library.num_special_tokens_to_add(False)
    for maxlen in range(special or 1, len(whole) + 3):
        library.enable_truncation(maxlen)
        wanted = library.encode(text)
        library.no_truncation()
        assert ours.encode(text, maxlen=maxlen)[0] == wanted.ids
        assert ours.tokenize(text, maxlen=maxlen) == wanted.tokens
        assert len(ours.encode(text, text, maxlen=maxlen + 5)[0]) == min(maxlen + 5, len(library.encode(text, text).ids))
    left = ours.encode(text, maxlen=len(whole) - 1, truncate_from="left")[0]
    place = next(i for i, part in enumerate(library.encode(text).sequence_ids) if part == 0)
    assert left == whole[:place] + whole[place + 1 :]
    needed = library.num_special_tokens_to_add(True)
    if needed > 1:
        with pytest.raises(errors.KerasSuError, match=f"at least {needed}, the number of special tokens"):
            ours.encode(text, text, maxlen=needed - 1)


def test_decode_is_that_of_the_library(both):
    library, ours = both
    for text in TEXTS:
        ids = library.encode(text).ids
        assert ours.decode(np.array(ids, "int64")) == library.decode(ids)
    assert ours.decode([], tokens=ours.tokenize("hello world")).strip() == "hello world"
    assert ours.id_to_token(np.int32(3)) == library.id_to_token(3)
    assert ours.id_to_token(10**6) == ""
    assert ours.vocab_size == max(library.get_vocab().values()) + 1
    for wrong in (-1, 1.5, "a"):
        with pytest.raises(errors.KerasSuError, match="id: got"):
            ours.id_to_token(wrong)


def test_word_piece_is_our_tokenizer(tmp_path):
    library = word_piece()
    library.save(str(tmp_path / "tokenizer.json"))
    ours, own = JsonTokenizer(tmp_path / "tokenizer.json"), Tokenizer(library.get_vocab(), do_lower_case=True)
    texts = [*TEXTS[:4], "Deeper learning 天气", ("天气", "deep"), ("hello world hello world", "天")]
    for arguments in (
        {},
        {"maxlen": 5},
        {"length": 6, "truncate_from": -2},
        {"pattern": "S*ES*E"},
        {"maxlen": 6, "truncate_from": 1},
    ):
        for found, wanted in zip(ours.encode_batch(texts, **arguments), own.encode_batch(texts, **arguments)):
            np.testing.assert_array_equal(found, wanted)
    for role in ("pad", "unk", "mask", "start", "end"):
        assert getattr(ours, f"{role}_id") == getattr(own, f"{role}_id")
    assert ours.encode(["[CLS]", "天", "[SEP]"], ["[CLS]", "气", "[SEP]"]) == own.encode("天", "气")


def test_the_configuration_beside_the_file_names_the_special_tokens(tmp_path):
    byte_level().save(str(tmp_path / "tokenizer.json"))
    assert JsonTokenizer(tmp_path).pad_id == 2  # no file says it: "<|pad|>" looks like padding
    config = {"eos_token": {"content": "<|end|>"}, "bos_token": None, "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": True}
    config["added_tokens_decoder"] = {"330": {"content": "<|image|>", "special": True, "lstrip": False}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = JsonTokenizer(tmp_path)
    assert (ours.pad_id, ours.start_id, ours.end_id, ours.unk_id) == (None, None, 1, None)
    assert ours.encode("a<|image|>")[0][-1] == 330 and ours.vocab_size == 331
    with pytest.raises(errors.KerasSuError, match="no padding token"):
        ours.encode_batch(["a", "hello world"])
    ours.pad_id = 2
    assert ours.encode_batch(["a", "hello world 天"])[0][0, -1] == 2
    with pytest.raises(errors.KerasSuError, match="no token 'zzz', and none for unknown words"):
        ours.token_to_id("zzz")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<|end|>"}))
    assert JsonTokenizer(tmp_path).pad_id == 1
    config["added_tokens_decoder"] = {"7": {"content": "<|end|>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(errors.KerasSuError, match="'<|end|>' has id 7 in tokenizer_config.json, but 1"):
        JsonTokenizer(tmp_path)


def test_llama_puts_tokens_as_its_configuration_says(tmp_path):
    byte_level().save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "tokenizer_class": "LlamaTokenizerFast"}
    plain = byte_level().encode("hello").ids
    for switches, before, after in (
        ({}, [0], []),
        ({"add_eos_token": True}, [0], [1]),
        ({"add_bos_token": False}, [], []),
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, **switches}))
        ours = JsonTokenizer(tmp_path)
        assert ours.encode("hello")[0] == before + plain + after
        assert ours.encode("hello", "hello")[0] == 2 * (before + plain + after)
        assert JsonTokenizer(tmp_path, token_end="<|end|>").encode("hello")[0] == before + plain + [1]
        assert JsonTokenizer(tmp_path, token_start=None, token_end=None).encode("hello")[0] == plain
    assert ours.offsets("a hello")[-1] == (2, 7)


def test_the_caller_says_what_stands_around_a_text(tmp_path):
    with_template().save(str(tmp_path / "tokenizer.json"))
    plain = byte_level().encode("hello").ids
    assert JsonTokenizer(tmp_path).encode("hello")[0] == [0, *plain]
    ours = JsonTokenizer(tmp_path, token_end="<|end|>")
    assert ours.encode("hello", "hello") == ([0, *plain, 1, *plain, 1], [0] * (len(plain) + 2) + [1] * (len(plain) + 1))
    assert (ours._token_start, ours._token_end, ours.end_id) == ("<|begin|>", "<|end|>", 1)
    assert JsonTokenizer(tmp_path, token_start=None).encode("hello")[0] == plain
    with pytest.raises(errors.KerasSuError, match="no token '<|edn|>' to put around texts. Did you mean"):
        JsonTokenizer(tmp_path, token_end="<|edn|>")


def test_a_bert_is_prepared_as_its_configuration_says(tmp_path):
    word_piece().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "strip_accents": None}))
    assert JsonTokenizer(tmp_path).tokenize("Deep deep") == ["[CLS]", "[UNK]", "deep", "[SEP]"]


def test_errors_name_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(errors.KerasSuError, match="is a folder. Expected a tokenizer.json"):
        JsonTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(errors.KerasSuError, match="does not describe a tokenizer"):
        JsonTokenizer(tmp_path)
    byte_level().save(str(tmp_path / "tokenizer.json"))
    ours = JsonTokenizer(tmp_path)
    for wrong in (None, 3, b"text"):
        with pytest.raises(errors.KerasSuError):
            ours.encode(wrong)
    with pytest.raises(errors.KerasSuError, match="maxlen"):
        ours.encode("a", maxlen=0)
    with pytest.raises(errors.KerasSuError, match="truncate_from"):
        ours.encode("a", truncate_from="middle")
    with pytest.raises(errors.KerasSuError, match="max_length"):
        ours.encode("a", maxlen=3, max_length=3)
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(errors.MissingDependencyError, match=r'pip install "keras_su\[bpe\]"'):
        JsonTokenizer(tmp_path)
