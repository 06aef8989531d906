"""LoRA example: how questions are asked, and that adapters and merged models are what was trained."""

import numpy as np
import pytest
from example_modules import load
from keras import ops

TEXTS = ["房间很好，服务也好。", "书太差了", "评论：情感坏"]


@pytest.fixture(scope="module")
def example():
    return load("lora_finetuning")


@pytest.fixture(scope="module")
def tokenizer(example):
    return example.Tokenizer(example.character_vocabulary(TEXTS), do_lower_case=True)


def outputs(model, inputs):
    return ops.convert_to_numpy(model(inputs))


@pytest.mark.parametrize("name, place", [("qwen3", -1), ("bert", 4)])
def test_prompt_says_where_the_answer_is(example, tokenizer, name, place):
    kind = example.KINDS[name](tokenizer)
    for room in (16, 64):
        ids, position = kind.prompt(TEXTS[0] * 9, room)
        assert len(ids) == room and position == (place if place >= 0 else room - 1)
        text = "".join(tokenizer.ids_to_tokens(ids))
        expected = {"qwen3": "评论：房间", "bert": "[CLS]情感：[MASK]。评论：房"}[name]
        assert text.startswith(expected) and text.endswith({"qwen3": "情感：", "bert": "[SEP]"}[name])
    short, position = kind.prompt("书", 64)
    assert len(short) < 20 and position < len(short)


def test_decoder_learns_every_next_token_and_no_padding(example, tokenizer):
    kind = example.KINDS["qwen3"](tokenizer)
    ids, positions, targets, weights = kind.lesson([[2, 7, 8, 3], [2, 9, 3]])
    assert positions[0, :3].tolist() == [0, 1, 2]
    for row, length in enumerate((4, 3)):
        assert weights[row].sum() == length - 1 and weights[row, : length - 1].all()
        np.testing.assert_array_equal(targets[row, : length - 1], ids[row, 1:length])


def test_encoder_learns_what_stood_at_the_masks(example, tokenizer):
    kind = example.KINDS["bert"](tokenizer)
    rows = [[2, *range(5, 20), 3], [2, 5, 3]]
    ids, positions, targets, weights = kind.lesson(rows)
    for row, original in enumerate(rows):
        read = np.array(original + [0] * (ids.shape[1] - len(original)))[positions[row]]
        np.testing.assert_array_equal(targets[row], read)
        np.testing.assert_array_equal(weights[row], read > 4)
        assert (ids[row] == tokenizer.mask_id).sum() == weights[row].sum() > 0
        assert ids[row, 0] == 2 and ids[row, len(original) - 1] == 3


def test_adapters_and_merged_model_give_what_the_adapted_one_gives(example, tokenizer, tmp_path):
    name = "bert"
    kind = example.KINDS[name](tokenizer)
    sizes = kind.small(tokenizer.vocab_size, 32, layers=1, width=32)
    small = example.Backbone(tokenizer, sizes, family=name)
    small.save(tmp_path / "base", small.build(**kind.options))
    backbone = example.Backbone(tokenizer, str(tmp_path / "base"), family=name)
    adapted = backbone.build(**kind.options)
    ids = np.array([kind.prompt(TEXTS[0], 16)[0]])
    inputs = [ids, np.zeros_like(ids)]
    plain = outputs(adapted.model, inputs)
    settings = {"rank": 2, "alpha": 6.0, "targets": ["query", "input_0"]}
    example.add_adapters(adapted.model, **settings)
    trained = adapted.model.trainable_variables
    assert len(trained) == 4 and all("/lora_kernel_" in variable.path for variable in trained)
    for number, variable in enumerate(trained):
        variable.assign(np.random.default_rng(number).normal(size=variable.shape))
    changed = outputs(adapted.model, inputs)
    assert np.abs(changed - plain).max() > 0.1

    example.save_adapters(adapted.model, tmp_path / "adapters.safetensors", **settings)
    again = backbone.build(**kind.options)
    example.load_adapters(again.model, tmp_path / "adapters.safetensors")
    np.testing.assert_allclose(outputs(again.model, inputs), changed, atol=1e-5)

    example.merge(backbone, kind, adapted, tmp_path / "merged")
    merged = example.Backbone(tokenizer, str(tmp_path / "merged"), family=None).build(**kind.options)
    assert not any("lora" in variable.path for variable in merged.model.variables)
    np.testing.assert_allclose(outputs(merged.model, inputs), changed, atol=1e-5)

    # A model that reads at some positions shares its layers with the adapted one, and leaves their weights alone.
    reader = example.reader(backbone, kind, adapted)
    places = np.array([[3, 1]])
    some = outputs(reader, [*inputs, places])
    np.testing.assert_allclose(some[0], changed[0, [3, 1]], atol=1e-5)
