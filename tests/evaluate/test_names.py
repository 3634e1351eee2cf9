"""The flat names of metrics.json."""

from eegjax.evaluate.names import difference_name, number_name, of_first


def test_a_name_begins_with_task_and_model() -> None:
    assert number_name("kappa") == "kappa"
    assert number_name("f1_low", "random 100") == "random_100_f1_low"
    assert number_name("kappa", "eegnet", "left_right") == "left_right_eegnet_kappa"
    assert number_name("chance", task="left_right") == "left_right_chance"
    assert number_name(difference_name("random 10")) == "difference_to_random_10"


def test_other_models_are_told_by_their_differences() -> None:
    names = ["accuracy", "net_accuracy", difference_name("net"), "network_accuracy"]
    assert of_first(names) == ["accuracy", "network_accuracy"]
    assert of_first([]) == []
