"""Splits from files of ids: nothing of a test material is learnt from, and mistakes are told."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from farm.errors import InputError
from trainer.data.split import DEFAULT_RULE, SplitRule, composition_key, split_crystals
from trainer.data.split_file import rule_from_file, with_compositions


@pytest.fixture
def crystals(dataset_of):
    return list(dataset_of(40).crystals)


@pytest.fixture
def polymorphs(crystals, rock_salt):
    """Another cell of each composition, under an id of its own."""
    return [
        replace(
            rock_salt(*crystal.species, 6.0),
            material_id=f"{crystal.material_id}-2",
            species=crystal.species * 2,
            frac_coords=((0.0, 0.0, 0.0), (0.25, 0.25, 0.25), (0.5, 0.5, 0.5), (0.75, 0.75, 0.75)),
        )
        for crystal in crystals
    ]


def written(tmp_path, **lists):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(lists))
    return path


def ids_of(crystals, rows):
    return {crystals[i].material_id for i in rows}


def test_parts_are_those_of_the_file_and_the_rest_goes_by_the_rule(tmp_path, crystals):
    ids = [crystal.material_id for crystal in crystals]
    train, validation, test, others = ids[:12], ids[12:16], ids[16:24], ids[24:]
    path = written(tmp_path, train=train, validation=validation, test=[*test, "elsewhere"])
    split = split_crystals(crystals, rule_from_file(path, crystals))
    by_rule = split_crystals(crystals).held_out
    assert ids_of(crystals, split.held_out) == set(test) | (ids_of(crystals, by_rule) & set(others))
    assert set(train) <= ids_of(crystals, split.train)
    assert set(validation) <= ids_of(crystals, split.validation)
    # Of those in no list an eighth stops the training early too.
    assert ids_of(crystals, split.validation) - set(validation) <= set(others)


def test_polymorphs_of_test_materials_are_not_learnt_from(tmp_path, crystals, polymorphs):
    both = [*crystals, *polymorphs]
    test = [crystal.material_id for crystal in crystals[:10]]
    # The file would have their polymorphs learnt from.
    train = [crystal.material_id for crystal in polymorphs[:5]]
    validation = [crystal.material_id for crystal in polymorphs[5:8]]
    split = split_crystals(
        both, rule_from_file(written(tmp_path, train=train, val=validation, test=test), both)
    )
    seen = {composition_key(both[i]) for i in np.concatenate([split.train, split.validation])}
    assert not seen & {composition_key(crystal) for crystal in crystals[:10]}
    assert ids_of(both, split.held_out) >= {*test, *train, *validation}


def test_without_validation_at_hand_an_eighth_stops_the_training(tmp_path, crystals):
    path = written(
        tmp_path,
        train=[c.material_id for c in crystals[5:]],
        validation=["elsewhere"],
        test=[c.material_id for c in crystals[:5]],
    )
    split = split_crystals(crystals, rule_from_file(path, crystals))
    assert split.validation.size == -(-split.n_learning // 8)
    assert split.n_learning == 35


def test_compositions_in_the_file_make_the_rule_final(tmp_path, crystals, polymorphs):
    ids = [crystal.material_id for crystal in crystals]
    formulas = {crystal.material_id: crystal.formula for crystal in crystals}
    path = written(tmp_path, train=ids[8:], test=ids[:8], compositions=formulas)
    rule = rule_from_file(path)
    assert rule == rule_from_file(path, polymorphs)
    split = split_crystals(polymorphs, rule)
    assert ids_of(polymorphs, split.held_out) == {f"{name}-2" for name in ids[:8]}


def test_compositions_are_added_to_lists_of_ids(tmp_path, crystals, polymorphs):
    ids = [crystal.material_id for crystal in crystals]
    path = written(tmp_path, train=ids[8:], val=["elsewhere"], test=ids[:8], compositions={ids[0]: "XeF2"})
    document = with_compositions(path, [*crystals[1:], *polymorphs])
    assert set(document["compositions"]) == set(ids)
    assert (document["compositions"][ids[0]], document["validation"]) == ("F2Xe1", ["elsewhere"])
    full = tmp_path / "full.json"
    full.write_text(json.dumps(document))
    # What it says is what the crystals say.
    assert rule_from_file(full) == rule_from_file(path, crystals[1:])


def test_a_card_gives_the_rule_back(tmp_path, crystals):
    path = written(tmp_path, test=[crystals[0].material_id], train=[crystals[1].material_id])
    rule = rule_from_file(path, crystals)
    split = json.loads(json.dumps({"hash": rule.hash, **asdict(rule), "materials": ["x"]}))
    assert SplitRule.from_dict(split) == rule
    assert SplitRule.from_dict({"salt": "a", "held_out_share": 0.5}) == SplitRule(
        salt="a", held_out_share=0.5
    )


def test_hash_changes_when_a_composition_changes_sides_and_only_then(tmp_path, crystals):
    held_out = split_crystals(crystals).held_out.tolist()
    learning = [i for i in range(len(crystals)) if i not in held_out]
    moved, same = crystals[learning[0]], crystals[held_out[0]]
    path = written(tmp_path, test=[moved.material_id, same.material_id])
    assert rule_from_file(path, [same]).hash == DEFAULT_RULE.hash
    assert rule_from_file(path, [same, moved]).hash != DEFAULT_RULE.hash
    path = written(tmp_path, test=[moved.material_id], train=[same.material_id])
    back = rule_from_file(path, [same, moved])
    assert not back.is_held_out(composition_key(same))
    assert len({back.hash, DEFAULT_RULE.hash, rule_from_file(path, [moved]).hash}) == 3


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": ["a"]}, "no list `test`"),
        ({"tests": ["a"]}, "unknown field tests"),
        ({"test": "a"}, "test: not a list"),
        ({"test": ["a"], "train": ["b", "a"]}, "a is in two lists"),
        ({"test": ["a"]}, "nothing is known of its 1 test ids"),
        ({"test": ["a"], "compositions": {"a": "Xx"}}, "compositions: a: 'Xx' is no formula"),
        ({"test": ["a"], "compositions": {"a": ""}}, "is no formula"),
        ({"test": ["a"], "compositions": {"a": 3}}, "is no formula"),
        ({"test": ["a"], "compositions": ["Mg"]}, "compositions: not an object"),
    ],
)
def test_mistakes_name_the_file_and_the_field(tmp_path, lists, message, crystals):
    path = written(tmp_path, **lists)
    with pytest.raises(InputError, match=message) as error:
        rule_from_file(path, crystals)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_json_and_one_that_is_not_there(tmp_path):
    path = tmp_path / "split.json"
    for text in (None, "{", "[]"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(InputError, match="not a split"):
            rule_from_file(path)
