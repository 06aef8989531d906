"""SpTokenizer on small SentencePiece models trained here."""

import pickle
import random
import sys

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from keras_su.errors import KerasSuError, MissingDependencyError
from keras_su.tokenizers import SpTokenizer

WORDS = ["今天", "天气", "真好", "我们", "play", "playing", "the", "quick", "2021", "。", "，"]


def train(folder, name, **options):
    generator = random.Random(0)
    lines = [" ".join(generator.choices(WORDS, k=8)) for _ in range(200)]
    (folder / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.Train(
        input=str(folder / "lines.txt"),
        model_prefix=str(folder / name),
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 60, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, **options},
    )
    return str(folder / f"{name}.model")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train(tmp_path_factory.mktemp("sp"), "small")


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory):
    return train(tmp_path_factory.mktemp("bytes"), "bytes", byte_fallback=True, vocab_size=320)


def test_encode_and_decode(model):
    tokenizer = SpTokenizer(model, token_start=None, token_end="</s>")
    reference = sentencepiece.SentencePieceProcessor(model_file=model)
    text = "今天天气真好，playing the 2021"
    token_ids, segment_ids = tokenizer.encode(text)
    assert token_ids == reference.encode(text) + [1] and segment_ids == [0] * len(token_ids)
    assert tokenizer.tokenize(text) == reference.encode(text, out_type=str) + ["</s>"]
    assert tokenizer.decode(token_ids) == tokenizer.decode(np.array(token_ids)) == reference.decode(token_ids)
    assert tokenizer.encode(text, maxlen=5)[0] == token_ids[:4] + [1]
    assert tokenizer.encode(text, "天气")[1].count(1) == len(tokenizer.encode("天气")[0])
    batch, _ = tokenizer.encode_batch([text, "天气"])
    assert batch.shape == (2, len(token_ids)) and batch[1, -1] == 0


def test_special_ids(model):
    tokenizer = SpTokenizer(model, token_start=None, token_end="</s>")
    assert (tokenizer._token_pad, tokenizer._token_unk) == ("<pad>", "<unk>")
    assert (tokenizer.pad_id, tokenizer.end_id, tokenizer.unk_id, tokenizer.start_id, tokenizer.mask_id) == (0, 1, 2, None, None)
    assert tokenizer.vocab_size == tokenizer._vocab_size == tokenizer.sp_model.get_piece_size()
    assert [tokenizer._is_special(i) for i in range(4)] == [True, True, True, False]
    assert [tokenizer._is_decodable(i) for i in (0, 3, tokenizer.vocab_size)] == [False, True, False]
    assert tokenizer.token_to_id("no such piece") == 2


def test_ids_out_of_range(model):
    tokenizer = SpTokenizer(model, token_start=None, token_end=None)
    assert tokenizer.id_to_token(np.int64(10**6)) == ""
    ids = tokenizer.encode("今天天气")[0]
    assert tokenizer.decode([*ids, tokenizer.vocab_size + 5]) == "今天天气"
    for wrong in (-1, 0.5, "a"):
        with pytest.raises(KerasSuError, match="id"):
            tokenizer.decode([wrong])


def test_translate_and_pre_tokenize(model):
    tokenizer = SpTokenizer(
        model, None, None, pre_tokenize=lambda text: [w.replace("\n", "▃") for w in text], token_translate={"▃": "<unk>"}
    )
    tokens = tokenizer.tokenize("天\n气")
    assert tokens == [
        "<unk>" if t == "▃" else t for t in sentencepiece.SentencePieceProcessor(model_file=model).encode("天 ▃ 气", out_type=str)
    ]
    assert "<unk>" in tokens and "▃" in tokenizer.decode(tokenizer.tokens_to_ids(tokens))
    with pytest.raises(KerasSuError, match="pre_tokenize"):
        tokenizer.offsets("天")


@given(
    text=st.text(
        st.one_of(st.sampled_from(list("今天气真好playing 2021ｆ½①\u3000İ한😀，")), st.characters(exclude_categories=["Cs"])),
        max_size=30,
    )
)
@pytest.mark.parametrize("kind", ["model", "byte_model"])
def test_offsets(request, kind, text):
    tokenizer = SpTokenizer(request.getfixturevalue(kind), token_start=None, token_end="</s>")
    spans = tokenizer.offsets(text)
    tokens = tokenizer.tokenize(text)
    assert len(spans) == len(tokens) and spans[-1] == (0, 0)
    previous = 0
    for token, (start, stop) in zip(tokens[:-1], spans[:-1]):
        assert previous <= start <= stop <= len(text)
        previous = start
        surface = token.lstrip("▁")
        assert bool(surface) == (start < stop)
        if not tokenizer.sp_model.is_byte(tokenizer.token_to_id(token)):
            assert surface in tokenizer.sp_model.normalize(text[start:stop])


def test_offsets_of_examples(model, byte_model):
    assert SpTokenizer(byte_model, None, None).offsets("한")[-3:] == [(0, 1)] * 3
    text = "今天½"
    tokenizer = SpTokenizer(model, None, None)
    found = dict(zip(tokenizer.tokenize(text), tokenizer.offsets(text)))
    assert found.get("▁今天", (0, 2)) == (0, 2) and tokenizer.offsets(text)[-1] == (2, 3)
    assert tokenizer.encode(text, return_offsets=True)[2] == tokenizer.offsets(text)


def test_start_token_must_be_a_piece(model):
    with pytest.raises(KerasSuError, match=r"no '\[CLS\]'.*token_start=None"):
        SpTokenizer(model).encode("今天")


def test_models_without_padding(tmp_path):
    tokenizer = SpTokenizer(train(tmp_path, "bare", pad_id=-1, unk_id=0, eos_id=-1), None, None)
    assert tokenizer.pad_id is None and tokenizer.unk_id == 0
    with pytest.raises(KerasSuError, match="pad_id"):
        tokenizer.encode_batch(["今天", "今天天气真好"])


def test_folder_pickle_and_errors(model, tmp_path):
    folder = model.rsplit("/", 1)[0]
    assert SpTokenizer(folder, None, None).encode("今天") == SpTokenizer(model, None, None).encode("今天")
    copy = pickle.loads(pickle.dumps(SpTokenizer(model, None, "</s>")))
    assert copy.encode("今天天气") == SpTokenizer(model, None, "</s>").encode("今天天气")
    (tmp_path / "spiece.model").write_bytes(b"nonsense")
    for path, message in (
        (tmp_path / "spiece.model", "not a SentencePiece model"),
        (tmp_path / "spieces.model", "Did you mean 'spiece.model'"),
        (tmp_path / "a" / "b.model", "no SentencePiece model"),
    ):
        with pytest.raises(KerasSuError, match=message):
            SpTokenizer(path)
    (tmp_path / "other.model").write_bytes(b"nonsense")
    with pytest.raises(KerasSuError, match=r"is a folder.*other\.model, spiece\.model"):
        SpTokenizer(tmp_path)


def test_missing_package(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingDependencyError, match=r"SpTokenizer needs.*keras_su\[sentencepiece\]"):
        SpTokenizer(model)
