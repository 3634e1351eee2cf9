"""The sentences that a user reads."""

import pytest

from eegjax.errors import UserError, check_choice, did_you_mean


def test_the_nearest_word_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("vgg61", ["shallow", "vgg16"]) == " Did you mean 'vgg16'?"
    assert did_you_mean("transformer", ["shallow", "vgg16"]) == ""


def test_a_word_that_there_is_passes() -> None:
    for choices in (["shallow", "vgg16"], {"shallow": 1, "vgg16": 2}, iter(["shallow", "vgg16"])):
        check_choice("config.model.name", "vgg16", choices)


def test_another_word_is_told_with_the_words_there_are() -> None:
    with pytest.raises(UserError) as error:
        check_choice("config.model.name", "vgg61", iter(["shallow", "vgg16"]))
    expected = "config.model.name is 'vgg61'; there are shallow, vgg16. Did you mean 'vgg16'?"
    assert str(error.value) == expected


@pytest.mark.parametrize("given", [None, 16, 0.5, ["vgg16"], ""])
def test_what_is_no_word_at_all_is_told_too(given: object) -> None:
    with pytest.raises(UserError) as error:
        check_choice("config.model.name", given, ["shallow"])
    assert str(error.value) == f"config.model.name is '{given}'; there are shallow."
