"""Outputs equal those of bert4keras and transformers."""

import json

import pytest
from golden_cases import HERE, Case, find_cases, supported


def by_name(folder):
    return folder.name


@pytest.mark.parametrize("folder", find_cases("model"), ids=by_name)
def test_model(folder):
    Case(folder).check_model()


@pytest.mark.parametrize("folder", find_cases("layer", "snippets"), ids=by_name)
def test_layer(folder):
    Case(folder).check_layer()


@pytest.mark.parametrize("folder", find_cases("tokenizer", "sp_tokenizer"), ids=by_name)
def test_tokenizer(folder):
    Case(folder).check_tokenizer()


@pytest.mark.parametrize("folder", find_cases("beam_search"), ids=by_name)
def test_beam_search(folder):
    Case(folder).check_beam_search()


def test_every_committed_case_is_run():
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in HERE.rglob("case.json")]
    assert len(cases) >= 70
    assert [case["name"] for case in cases if not supported(case)] == []
