"""Word segmentation before WordPiece, with the real jieba."""

import pickle
import subprocess
import sys

import jieba
import pytest

from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer, segmenter

TEXTS = [
    "我爱北京天安门，天安门上太阳升。",
    "今天天气真好！我们去公园playing吧，2021年3月14日 hello world",
    "结婚的和尚未结婚的 他来到了网易杭研大厦\n永和服装饰品有限公司",
    "",
]


@pytest.mark.parametrize("engine", ["jieba", "rjieba"])
def test_both_engines_cut_like_jieba_without_hmm(engine):
    cut = pickle.loads(pickle.dumps(segmenter(engine)))
    for text in TEXTS:
        assert list(cut(text)) == jieba.lcut(text, HMM=False)


def test_words_of_the_vocabulary_stay_whole():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "北京", "天安门", "我", "爱", "北", "京", "play", "##ing", "，", "上"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(vocabulary, do_lower_case=True, pre_tokenize=segmenter())
    text = "我爱北京天安门，Playing上海"
    assert tokenizer._tokenize(text) == ["我", "爱", "北京", "天安门", "，", "play", "##ing", "上", "海"]
    assert tokenizer._tokenize(text) == Tokenizer(vocabulary, True, pre_tokenize=lambda s: jieba.cut(s, HMM=False))._tokenize(
        text
    )
    assert [text[a:b].lower() for a, b in tokenizer.offsets(text)[1:-1]] == [
        "我",
        "爱",
        "北京",
        "天安门",
        "，",
        "play",
        "ing",
        "上",
        "海",
    ]
    assert tokenizer.decode(tokenizer.encode(text)[0]) == "我爱北京天安门，playing上"


def test_unknown_engine():
    with pytest.raises(KerasSuError, match="Did you mean 'rjieba'"):
        segmenter("rjiebaa")


def test_the_package_loads_without_jieba():
    code = "import sys, keras_su.tokenizers; print(sorted({'jieba', 'rjieba', 'sentencepiece'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
