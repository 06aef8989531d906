"""FewCLUE as texts with prompts: all nine layouts, and a scorer that knows the labels is right everywhere."""

import numpy as np
import pytest
from example_modules import load

from keras_su.zero_shot import candidate_contrast, sample_contrast

fewclue = load("readers.fewclue")
TASKS, read_samples = fewclue.TASKS, fewclue.read_samples

# What each row of the synthetic files is about, in words of its prompt; or its rank.
MEANT = {
    "eprstmt": ["很好", "很差", "很好"],
    "csldcp": ["作物学", "畜牧学/兽医学", "数学"],
    "tnews": ["体育", "科技", "体育"],
    "iflytek": ["K歌", "免费WIFI", "语言(非英语)"],
    "chid": ["一帆风顺", "雪中送炭"],
    "ocnli": [0, 1, 2],
    "bustm": [1, 0],
    "csl": [1, 0],
    "cluewsc": [1, 0],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("fewclue")
    fewclue.write_synthetic(path)
    return path


def test_all_tasks_are_there():
    assert set(MEANT) == set(TASKS) and len(TASKS) == 9


@pytest.mark.parametrize("task", TASKS)
def test_an_oracle_is_right_everywhere(folder, task):
    samples, meant = read_samples(folder, task, "dev_0"), MEANT[task]
    assert len(samples) == len(meant)
    if TASKS[task].ranked:
        assert all(len(sample.prompts) == 1 for sample in samples)
        predicted = sample_contrast(meant, np.bincount(meant, minlength=TASKS[task].classes))
    else:
        scores = [[float(word in prompt) for prompt in sample.prompts] for word, sample in zip(meant, samples)]
        assert all(sum(row) == 1 for row in scores)
        predicted = candidate_contrast(scores)
    assert predicted.tolist() == [sample.answer for sample in samples]


def test_formats_of_the_paper(folder):
    def first(task):
        return read_samples(folder, task, "train_0")[0]

    assert first("eprstmt").prompts == ("这次买的东西很好", "这次买的东西很差")
    assert first("tnews").prompts == ("这是一则体育新闻", "这是一则科技新闻")
    assert first("csldcp").prompts[1] == "这是一篇畜牧学/兽医学类论文"
    assert first("iflytek").prompts == ("这是一款免费WIFI类软件", "这是一款K歌类软件", "这是一款语言(非英语)类软件")
    assert first("chid").text == ("祝你", ",早日归来。")
    assert first("cluewsc")[:2] == ("小猫跳上桌子，因为它饿了。上文中它是指", ("小猫",))
    assert first("csl").prompts == ("图像去噪,小波变换",)
    assert first("ocnli")[:2] == ("他每天早上跑步", ("他从不运动",))
    assert {task: TASKS[task].order for task in TASKS if TASKS[task].order != "prefix"} == {"csl": "suffix"}
    assert read_samples(folder, "tnews", "dev_0", "{label}")[0].prompts == ("体育", "科技")


def test_quirks_of_the_files(folder, tmp_path):
    assert b"\r\n" in (folder / "ocnli" / "dev_0.json").read_bytes()
    assert all("\ufeff" not in sample.text for sample in read_samples(folder, "tnews", "dev_0"))
    assert list(fewclue.read_label_words(folder, "iflytek")) == [
        "免费WIFI",
        "K歌",
        "语言(非英语)",
    ]  # in the order of their numbers
    path = tmp_path / "rows.json"
    path.write_bytes('\ufeff{"a": "x\u2028y"}\r\n\r\n{"a": "z"}'.encode())
    assert [row["a"] for row in fewclue.read_rows(path)] == ["x\u2028y", "z"]
