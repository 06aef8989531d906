"""What tokens write: concatenated, they give the text back."""

import pytest

from keras_su.decoding.token_bytes import token_bytes
from keras_su.errors import KerasSuError
from keras_su.tokenizers import JsonTokenizer, SpTokenizer, Tokenizer

TEXTS = ["天气 is fine\n", "naïve café 😀", "a_b  c\t{}", "日本语"]


def test_word_pieces_write_their_characters():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing", "天", "[unused1]", "[", "##", "[MASK]"]
    tokenizer = Tokenizer({word: index for index, word in enumerate(words)} | {"gap": 12})
    assert token_bytes(tokenizer) == [b"", b"", b"", b"", b"play", b"ing", "天".encode(), b"", b"[", b"", b"", b"", b"gap"]


def bytes_of_text(tokenizer, text):
    ids = tokenizer.encode(text)[0]
    writes = token_bytes(tokenizer)
    assert len(writes) == tokenizer.vocab_size
    return b"".join(writes[index] for index in ids).decode()


@pytest.mark.parametrize("text", TEXTS)
def test_byte_level_tokens_write_their_bytes(text, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False)
    library.train_from_iterator(TEXTS * 3, trainer)
    library.add_tokens(["日本语"])  # an ordinary token that is written as it reads
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = JsonTokenizer(tmp_path)
    assert bytes_of_text(tokenizer, text) == text
    assert token_bytes(tokenizer)[tokenizer.token_to_id("<|end|>")] == b""
    assert {bytes([byte]) for byte in range(256)} <= set(token_bytes(tokenizer))


@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_tokens_write_blanks_and_bytes(text, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "corpus").write_text("天气 is fine\n日本语\na_b c\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus"),
        model_prefix=str(tmp_path / "small"),
        vocab_size=300,
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    tokenizer = SpTokenizer(tmp_path / "small.model", token_start=None, token_end="</s>")
    assert bytes_of_text(tokenizer, text) == " " + text  # SentencePiece puts a blank first
    assert token_bytes(tokenizer)[:3] == [b"", b"", b""]


def test_json_files_with_word_pieces(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "play": 1, "##ing": 2, "[SEP]": 3}
    library = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    library.decoder = tokenizers.decoders.WordPiece()
    library.save(str(tmp_path / "tokenizer.json"))
    assert token_bytes(JsonTokenizer(tmp_path)) == [b"", b"play", b"ing", b""]


@pytest.mark.parametrize("wrong", [3, "ab", [1, 2], None])
def test_what_is_no_vocabulary(wrong):
    with pytest.raises(KerasSuError, match="vocabulary: got"):
        token_bytes(wrong)
