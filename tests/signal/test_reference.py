"""References against MNE's."""

import jax
import mne
import numpy as np
import pytest

from eegjax.errors import UserError
from eegjax.signal.reference import reference_to_average, reference_to_channel

CH_NAMES = ["C3", "Cz", "C4", "Pz"]


@pytest.fixture
def eeg() -> np.ndarray:
    return np.random.default_rng(0).normal(5, 20, (2, 50, 4))


def mnes(x: np.ndarray, reference: str | list[str]) -> np.ndarray:
    info = mne.create_info(CH_NAMES, 100, "eeg")
    with mne.use_log_level("ERROR"):
        epochs = mne.EpochsArray(x.swapaxes(1, 2), info)
        return mne.set_eeg_reference(epochs, reference, projection=False)[0].get_data().swapaxes(1, 2)


def test_the_common_average_is_mnes(eeg):
    np.testing.assert_allclose(reference_to_average(eeg), mnes(eeg, "average"))
    np.testing.assert_allclose(reference_to_average(eeg).sum(axis=-1), 0, atol=1e-10)
    np.testing.assert_allclose(reference_to_average(reference_to_average(eeg)), reference_to_average(eeg))


@pytest.mark.parametrize("name", CH_NAMES)
def test_a_channel_as_reference_is_mnes(eeg, name):
    np.testing.assert_allclose(reference_to_channel(eeg, CH_NAMES, name), mnes(eeg, [name]))
    assert not reference_to_channel(eeg, CH_NAMES, name)[..., CH_NAMES.index(name)].any()


def test_the_reference_it_was_recorded_against_does_not_matter(eeg):
    other = eeg + np.random.default_rng(1).normal(0, 50, (2, 50, 1))
    np.testing.assert_allclose(reference_to_average(other), reference_to_average(eeg))
    np.testing.assert_allclose(reference_to_channel(other, CH_NAMES, "Cz"), reference_to_channel(eeg, CH_NAMES, "Cz"))


def test_on_the_device_it_is_the_same(eeg):
    x = eeg.astype(np.float32)
    np.testing.assert_allclose(reference_to_average(jax.numpy.asarray(x)), reference_to_average(x), atol=1e-4)
    np.testing.assert_allclose(
        reference_to_channel(jax.numpy.asarray(x), CH_NAMES, "C4"), reference_to_channel(x, CH_NAMES, "C4"), atol=1e-5
    )


def test_an_unknown_channel_is_an_error(eeg):
    with pytest.raises(UserError, match=r"reference is 'Czz'; there are C3, Cz, C4, Pz\. Did you mean 'Cz'\?"):
        reference_to_channel(eeg, CH_NAMES, "Czz")
