"""Word segmentation before WordPiece, with the real jieba."""

import pickle
import subprocess
import sys

import jieba
import pytest
import rjieba

from keras_su.errors import KerasSuError
from keras_su.tokenizers import Tokenizer, segmentation, segmenter

TEXTS = [
    "我爱北京天安门，天安门上太阳升。",
    "今天天气真好！我们去公园playing吧，2021年3月14日 hello world",
    "结婚的和尚未结婚的 他来到了网易杭研大厦\n永和服装饰品有限公司",
    "",
]


@pytest.fixture
def own_dictionary(monkeypatch):
    """jieba with a dictionary that may be changed."""
    jieba.initialize()
    monkeypatch.setattr(jieba.dt, "FREQ", dict(jieba.dt.FREQ))
    monkeypatch.setattr(jieba.dt, "total", jieba.dt.total)
    monkeypatch.setattr(jieba.dt, "dictionary", None)
    monkeypatch.setattr(jieba.dt, "initialized", True)
    monkeypatch.setattr(jieba.finalseg, "Force_Split_Words", set())
    return jieba


@pytest.fixture
def calls(monkeypatch):
    """Which engine cut, text by text."""
    seen = []
    monkeypatch.setattr(rjieba, "cut", lambda *a, cut=rjieba.cut: seen.append("rjieba") or cut(*a))
    monkeypatch.setattr(jieba, "lcut", lambda *a, cut=jieba.lcut, **k: seen.append("jieba") or cut(*a, **k))
    return seen


def test_rjieba_cuts_while_jieba_has_its_own_dictionary(own_dictionary, calls):
    cut = segmenter()
    for text in TEXTS:
        assert cut(text) == list(jieba.cut(text, HMM=False))
    assert calls == ["rjieba"] * len(TEXTS)
    assert segmenter("jieba")(TEXTS[0]) == cut(TEXTS[0]) and calls[-2:] == ["jieba", "rjieba"]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: jieba.add_word("上太阳"),
        lambda path: jieba.add_word("上太阳", freq=0),
        lambda path: jieba.del_word("太阳"),
        lambda path: jieba.load_userdict(["上太阳 9"]),
        lambda path: jieba.suggest_freq(("天", "安门"), tune=True),
        lambda path: jieba.set_dictionary(path),
    ],
)
def test_jieba_cuts_once_its_dictionary_is_another(own_dictionary, calls, tmp_path, change):
    cut = segmenter()
    cut(TEXTS[0])
    (tmp_path / "words.txt").write_text("上太阳 9 n\n", encoding="utf-8")
    change(str(tmp_path / "words.txt"))
    assert cut(TEXTS[0]) == list(jieba.cut(TEXTS[0], HMM=False))
    assert calls == ["rjieba", "jieba"]


def test_jieba_cuts_where_there_is_no_rjieba(own_dictionary, calls, monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    segmentation._has_rjieba.cache_clear()
    try:
        assert segmenter()(TEXTS[0]) == list(jieba.cut(TEXTS[0], HMM=False))
        assert calls == ["jieba"]
    finally:
        segmentation._has_rjieba.cache_clear()


@pytest.mark.parametrize("engine", [None, "jieba", "rjieba"])
def test_all_engines_cut_like_jieba_without_hmm(engine):
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
