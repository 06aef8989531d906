"""Vectors of tokens and sentences from a BERT, and how similar they say two sentences are.

    python basic_extract_features.py --pretrained chinese_roberta_wwm_ext
    python basic_extract_features.py --config bert_config.json --checkpoint bert_model.ckpt --vocab vocab.txt
    python basic_extract_features.py --pretrained runs/tiny --data-dir senteval_cn --pooling cls  # LCQMC/LCQMC.valid.data
    python basic_extract_features.py --smoke

A BERT gives every token a vector that depends on its sentence. Their average is a first vector for the whole sentence, without
any training; `simbert_train.py` and its like do better. The cosine of two of them is never small, so what counts is the order: do
pairs that mean the same come before those that do not? The figure is how often that is so, for all couples of a pair with equal
and a pair with different meaning (the area under the ROC curve); chance has 50 %. The baseline counts characters in common.

Sentence pairs of the size that decides: https://github.com/bojone/BERT-whitening (LCQMC: text, text, label).
"""

from itertools import chain
from pathlib import Path

import keras
import numpy as np

from readers.similarity import read_pairs
from toolbox import Backbone, Options, Report
from toolbox.baselines import character_overlap
from toolbox.sentences import POOLINGS, sentence_vector, unit, vectors_of

SAME = (
    ("今天天气很好", "今天是个好天气"),
    ("这个多少钱", "这件东西卖什么价"),
    ("怎么学好英语", "学习英语有什么好方法"),
    ("我想退货", "这件商品可以退吗"),
    ("手机没电了", "手机电量用完了"),
    ("他昨天去了北京", "昨天他到北京去了"),
    ("这部电影很好看", "这是一部精彩的影片"),
    ("附近有没有饭店", "这周围哪里可以吃饭"),
    ("孩子发烧怎么办", "小孩体温高该如何处理"),
    ("火车几点出发", "列车什么时候开"),
    ("比赛因为下雨取消了", "由于大雨比赛没有举行"),
    ("公司今年的利润增加了", "企业本年度盈利上升"),
)
DIFFERENT = (
    ("今天天气很好", "今天股票很好"),
    ("这个多少钱", "这个多少岁"),
    ("怎么学好英语", "怎么做好红烧肉"),
    ("我想退货", "我想睡觉"),
    ("手机没电了", "手机在哪里买的"),
    ("他昨天去了北京", "北京的人口有多少"),
    ("这部电影很好看", "这件衣服很好看"),
    ("附近有没有饭店", "家里有没有米饭"),
    ("孩子发烧怎么办", "电脑死机怎么办"),
    ("火车几点出发", "火车是谁发明的"),
    ("比赛因为下雨取消了", "比赛因为观众太多而加座"),
    ("公司今年的利润增加了", "公司今年搬到了上海"),
)


def parse(argv):
    options = Options(__doc__)
    options.add_argument("--data-dir", type=Path, help="folder of sentence pairs; default: two dozen pairs in this file")
    options.add_argument("--name", default="LCQMC", help="the set of pairs in that folder; default: LCQMC")
    options.add_argument("--pooling", choices=POOLINGS, default="last-avg", help="where the sentence vector comes from")
    return options.read(argv)


def in_right_order(similarities, same):
    """How often, in percent, a pair that means the same is more similar than one that does not; equal values count half."""
    order = np.unique(similarities, return_inverse=True)[1]
    yes, no = order[same][:, None], order[~same][None]
    return 100 * float(np.mean((yes > no) + 0.5 * (yes == no)))


def main(argv=None):
    arguments = parse(argv)
    if arguments.data_dir:
        rows = read_pairs(arguments.data_dir, arguments.name, "valid")
        pairs, same = [(row.first, row.second) for row in rows], np.array([row.label > 0 for row in rows])
    else:
        pairs, same = [*SAME, *DIFFERENT], np.arange(len(SAME) + len(DIFFERENT)) < len(SAME)
    backbone = Backbone.of(arguments, list(chain(*pairs)))
    handle = backbone.build(with_pool=arguments.pooling == "pooler")
    tokenizer = backbone.tokenizer

    # Tokens. The same character has another vector in another sentence; an embedding table could not tell the two apart.
    hidden = handle.model.get_layer(f"Transformer-{handle.spec.num_layers - 1}-FeedForward-Norm").output
    encoder = keras.Model(handle.model.inputs, hidden)
    found = []
    for text in ("天气很好", "好久不见"):
        token_ids, segment_ids = tokenizer.encode_batch([text])
        vectors = encoder.predict_on_batch((token_ids, segment_ids))
        found.append(vectors[0, tokenizer.tokenize(text).index("好")])
        print(f"{text}: token vectors {vectors.shape}")
    print(f"好 in one and in the other: cosine {float(unit(found[0]) @ unit(found[1])):.3f}\n")

    # Sentences.
    model = keras.Model(handle.model.inputs, sentence_vector(handle, arguments.pooling))
    texts = list(chain(*pairs))
    vectors = unit(vectors_of(model, tokenizer, texts, arguments.max_length))
    cosines = np.sum(vectors[::2] * vectors[1::2], axis=-1)
    for (a, b), cosine, is_same in list(zip(pairs, cosines, same))[:: max(len(pairs) // 24, 1)]:
        print(f"{cosine:6.3f}  {'same     ' if is_same else 'different'}  {a} | {b}")

    report = Report(arguments, "Similar sentences", "order", pairs=len(pairs), pooling=arguments.pooling)
    report.add("characters in common", {"order": in_right_order(character_overlap(pairs), same)}, baseline=True)
    report.add(f"cosine, {arguments.pooling}", {"order": in_right_order(cosines, same)})
    return report.finish()


if __name__ == "__main__":
    main()
