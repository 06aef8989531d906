"""The tagging examples: what is odd about the files, and whether spans stay at their characters on every way."""

import itertools

import keras
import numpy as np
import pytest
from example_modules import load

from keras_su.tokenizers import Tokenizer


@pytest.fixture(scope="module")
def readers():
    return load("readers.tagging")


@pytest.fixture(scope="module")
def tagging():
    return load("toolbox.tagging")


def encoder_of(tagging, tokens, texts, pairs=True):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *tokens]
    tokenizer = Tokenizer({token: i for i, token in enumerate(tokens)}, do_lower_case=True)
    return tagging.CharacterEncoder(load("toolbox").Backbone(tokenizer, {}), texts, pairs)


# ---- readers


def test_place_in_the_word_is_taken_off_and_digits_stay(readers, tmp_path):
    path = tmp_path / "weibo"
    path.write_text("在0\tO\n10\tO\n哈12\tB-PER.NAM\n\ufffd\ufffd0\tI-PER.NAM\n\n\n好0\tO\n", encoding="utf-8")
    (characters, spans), (last, none) = readers.read_columns(path, "BIO", digits=True)
    assert characters == ["在", "1", "哈", "\ufffd\ufffd"] and spans == {("PER.NAM", 2, 3)}
    assert last == ["好"] and none == set()


def test_blanks_and_carriage_returns_in_columns(readers, tmp_path):
    path = tmp_path / "people"
    path.write_bytes("\u3000 O\r\n北 B-LOC\r\n京 I-LOC\r\n\r\n5 O".encode())
    assert readers.read_columns(path, "BIO") == [(["\u3000", "北", "京"], {("LOC", 1, 2)}), (["5"], set())]


def test_ends_of_cluener_are_inclusive_and_mentions_repeat(readers, tmp_path):
    path = tmp_path / "train.json"
    path.write_text('{"text": "Dota和Dota", "label": {"game": {"Dota": [[0, 3], [5, 8]]}}}\n', encoding="utf-8")
    assert readers.read_cluener(path) == [(list("Dota和Dota"), {("game", 0, 3), ("game", 5, 8)})]


def test_only_blanks_separate_words(readers, tmp_path):
    path = tmp_path / "pku"
    path.write_text("\ufeff共同  １\u3000２  的  \n\n世纪  \n", encoding="utf-8")
    (characters, spans), (_, second) = readers.read_words(path)
    assert characters == list("共同１\u3000２的") and spans == {("", 0, 1), ("", 2, 4), ("", 5, 5)}
    assert second == {("", 0, 1)}


def test_words_of_conll(readers, tmp_path):
    path = tmp_path / "train.conll"
    path.write_text("# text\n1\t同样\t_\n2-3\t不能\t_\n2\t不\t_\n3\t能\t_\n\n1\t的\t_", encoding="utf-8")
    assert [sorted(spans) for _, spans in readers.read_conll_words(path)] == [[("", 0, 1), ("", 2, 2), ("", 3, 3)], [("", 0, 0)]]


def test_last_tenth_is_for_evaluation(readers, tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "msr_training.utf8").write_text("".join(f"第{i}  行\n" for i in range(25)), encoding="utf-8")
    training, evaluation = readers.read_segmentation(tmp_path, "msr")
    assert len(training) == 23 and ["".join(text) for text, _ in evaluation] == ["第23行", "第24行"]


def test_synthetic_files_of_all_layouts_say_the_same(readers, tmp_path):
    readers.write_synthetic_ner(tmp_path)
    people, resume, cluener = (readers.read_ner(tmp_path, task, "dev") for task in ("people_daily", "resume", "cluener"))
    assert people == resume and all(spans for _, spans in resume)
    assert [(text, {(kind.upper(), *place) for kind, *place in spans}) for text, spans in cluener] == resume
    weibo = readers.read_ner(tmp_path, "weibo", "dev")
    assert [text[:-1] for text, _ in weibo] == [text for text, _ in resume] and weibo[0][0][-1] == "\ufffd\ufffd"


# ---- tags


@pytest.mark.parametrize("types, outside", [(["LOC", "PER"], True), ([""], False)])
def test_tags_and_spans_and_back(tagging, types, outside):
    tags = tagging.Tags(types, outside)
    spans = {(types[0], 0, 0), (types[-1], 1, 2), (types[0], 3, 6)}
    path = tags.of(7, spans)
    assert tags.spans(path) == spans
    assert tags.allowed()[path[:-1], path[1:]].all() and path[0] in tags.starts() and path[-1] in tags.ends()


def test_of_overlapping_spans_the_longer_one_stays(tagging):
    tags = tagging.Tags(["A", "B"])
    assert tags.spans(tags.of(6, {("A", 1, 2), ("B", 1, 4), ("A", 5, 5)})) == {("B", 1, 4), ("A", 5, 5)}


def test_decoded_paths_are_whole_spans(tagging):
    tags = tagging.Tags(["A", "B"])
    scores = np.random.default_rng(0).normal(size=(20, len(tags))) * 5
    path = tags.decoder(np.zeros((len(tags), len(tags)))).decode(scores)
    letters = sum(tags.names[tag][0] in "BS" for tag in path)
    assert tags.allowed()[path[:-1], path[1:]].all() and len(tags.spans(path)) == letters > 0


def test_labels_stand_below_their_characters(tagging):
    tags = tagging.Tags(["A"])
    labels = tagging.tag_labels(tags, [(list("北京好"), {("A", 0, 1)}), (["好"], set())], 6)
    b, e, o = (tags.index[name] for name in ("B-A", "E-A", "O"))
    assert labels.tolist() == [[-1, b, e, o, -1, -1], [-1, o, -1, -1, -1, -1]]


# ---- long texts


def test_pieces_end_behind_punctuation_and_nothing_is_lost(tagging):
    text = list("一二三。四五六七，八九十" + "甲" * 25)
    pieces = tagging.cut(text, 10)
    assert pieces[:3] == [(0, 4), (4, 9), (9, 19)]
    assert [i for first, end in pieces for i in range(first, end)] == list(range(len(text)))
    assert tagging.cut(text, 37) == [(0, 37)] and tagging.cut([], 5) == [(0, 0)]


def test_spans_of_pieces_are_spans_of_the_text(tagging):
    text = list("王小明去北京。李华在上海，欧阳春在杭州")
    spans = {("N", 0, 2), ("L", 4, 5), ("N", 7, 8), ("L", 10, 11), ("N", 13, 15), ("L", 17, 18)}
    pieces = tagging.cut_samples([(text, spans)], 8)
    by_text = {"".join(piece): found for piece, found in pieces}
    assert len(pieces) == 3
    assert tagging.predict_spans(lambda found: [by_text["".join(piece)] for piece in found], [text, text[:7]], 8) == [
        spans,
        {("N", 0, 2), ("L", 4, 5)},
    ]


def test_training_spans_across_a_cut_are_left_out(tagging):
    assert tagging.cut_samples([(list("甲乙丙丁"), {("A", 1, 2), ("A", 3, 3)})], 2) == [
        (["甲", "乙"], set()),
        (["丙", "丁"], {("A", 1, 1)}),
    ]


# ---- ids


def test_characters_of_a_word_that_was_cut_through_have_no_label(tagging):
    words = tagging.Tags([""], outside=False)
    pieces = tagging.cut_samples([("一二三四五", {("", 0, 0), ("", 1, 4)})], 3)
    assert pieces == [("一二三", {("", 0, 0)}), ("四五", set())]
    assert tagging.tag_labels(words, pieces, 5).tolist() == [[-1, words.index["S"], -1, -1, -1], [-1, -1, -1, -1, -1]]


def test_one_id_for_each_character_whatever_it_is(tagging):
    text = ["A", "b", " ", "\u3000", "\ufffd\ufffd", "1", "京", "犇", "é"]
    encoder = encoder_of(tagging, ["a", "b", "1", "京", "e", "##b"], [text], pairs=False)
    tokens = encoder.tokenizer.ids_to_tokens(encoder.ids(text))
    assert tokens == ["[CLS]", "a", "b", "[UNK]", "[UNK]", "[UNK]", "1", "京", "[UNK]", "e", "[SEP]"]
    assert [x.shape for x in encoder.inputs([text, text[:2]])] == [(2, 32)] * 2


def test_pairs_are_those_with_the_left_and_the_right_neighbour(tagging):
    encoder = encoder_of(tagging, "北京好", [list("北京"), list("北京好")])
    tokens, _, before, after = (x[0, :5].tolist() for x in encoder.inputs([list("北京好")]))
    pair = encoder.pairs[tokens[1], tokens[2]]
    start = encoder.pairs[tokens[0], tokens[1]]
    assert pair > 1 and start > 1
    assert before == [1, start, pair, 1, 1]  # 京好 and 好[SEP] occur once
    assert after == [start, pair, 1, 1, 1]


def test_training_hides_rare_characters_and_leaves_lengths(tagging):
    text = list("北京") * 40
    encoder = encoder_of(tagging, "北京好", [text, ["好"]])
    ids = np.concatenate([encoder.inputs([[*text, "好"]], training=True)[0] for _ in range(60)])
    assert (ids != 0).sum(axis=1).tolist() == [83] * 60
    assert 5 < (ids[:, 81] == 1).sum() < 30 and (ids[:, 1:81] == 1).mean() < 0.03  # a count of 1: 0.23; of 40: 0.007


# ---- the baseline


def test_longest_match(tagging):
    samples = [(list("上海人在上海"), {("LOC", 4, 5)}), (list("上海大学"), {("ORG", 0, 3)}), (list("上海"), {("LOC", 0, 1)})]
    matcher = tagging.LongestMatch([*samples, (list("上海"), {("ORG", 0, 1)})])
    assert matcher.spans(list("在上海大学上海")) == {("ORG", 1, 4), ("LOC", 5, 6)}
    assert matcher.spans(list("在上海"), every=True) == {("", 0, 0), ("LOC", 1, 2)}


# ---- the decoders of the heads


@pytest.fixture(scope="module")
def ner():
    return load("task_ner")


def test_best_path_of_the_markov_model_is_the_best_of_all(ner):
    head = ner.TagHead("memm", ["A"], 1e-3)
    count = len(head.tags)
    dice = np.random.default_rng(3)
    head.layer.build((None, None, count))
    head.layer.set_weights([dice.normal(size=(count, count)) / head.layer.lr_multiplier])
    scores = dice.normal(size=(3, count)).astype("float32") * 2
    allowed, starts, ends = head.tags.allowed(), head.tags.starts(), head.tags.ends()
    paths = [p for p in itertools.product(range(count), repeat=3) if p[0] in starts and p[-1] in ends]
    paths = np.array([path for path in paths if all(allowed[a, b] for a, b in zip(path, path[1:]))])
    # The loss of the layer is the negative mean of both directions, so the best path has the smallest one.
    losses = [float(keras.ops.convert_to_numpy(head.layer.sparse_loss(path[None], scores[None]))) for path in paths]
    assert [int(tag) for tag in head._memm_path(scores)] == paths[int(np.argmin(losses))].tolist()


def test_surer_spans_displace_what_overlaps_them(ner):
    head = ner.PointerHead("global_pointer", ["A", "B"])
    scores = np.full((2, 5, 5), -np.inf)
    scores[0, 0, 2], scores[1, 2, 3], scores[0, 3, 4], scores[1, 4, 4] = 1.0, 3.0, 2.0, 0.5
    assert head.decode(scores) == {("B", 2, 3), ("B", 4, 4)}
    assert head.labels([(list("甲乙"), {("B", 0, 1)})], 4).nonzero() == tuple(np.array([[0], [1], [1], [2]]))
