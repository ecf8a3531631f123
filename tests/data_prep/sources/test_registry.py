"""Tests of the list of kinds of data sets, which the command line and its help are read from."""

import re

import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import options_of
from cereals_tf.data_prep.sources.registry import KINDS, all_options, kind_named, open_source

OWN = {name: {option.name for option in options_of(kind.options)} for name, kind in KINDS.items()}


def test_unknown_kinds_and_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="--dataset=jigsaw: unknown, expected one of cityscapes"):
        open_source("jigsaw", tmp_path)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        open_source("masks", tmp_path / "nowhere")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", [option.name for option in all_options()])
def test_an_option_of_other_kinds_is_refused_with_the_names_of_those(kind, option):
    takers = [name for name in KINDS if option in OWN[name]]
    if kind in takers:
        kind_named(kind).checked({option: _default(kind, option)})
        return
    with pytest.raises(UserError) as caught:
        kind_named(kind).checked({option: "?"})
    expected = " or ".join(f"--dataset={name}" for name in takers)
    assert str(caught.value) == f"--{option}: no option of --dataset={kind}, expected {expected}"


def _default(kind, name):
    return next(found.default for found in options_of(KINDS[kind].options) if found.name == name)


def test_options_of_several_kinds_are_one_with_the_help_of_each():
    found = {option.name: option for option in all_options()}
    assert set(found) == set().union(*OWN.values())
    assert found["annotations"].default == ""
    assert re.search(r"^cityscapes: .* By default gtFine\. coco: ", found["annotations"].help)
    assert found["tolerance"].default == 1.0
    assert found["tolerance"].help.startswith("cityscapes, voc, camvid, masks: ")
    assert found["unlabelled_train"].help.startswith("People ")
