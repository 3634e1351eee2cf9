"""What a sleep network has to beat: the commonest stage, the stage next door, and band powers.

All three return class probabilities, so they pass through the same metrics as a network.
"""

import numpy as np

BANDS_HZ = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0), "sigma": (12.0, 15.0), "beta": (15.0, 30.0)}


def predict_majority(train_labels: np.ndarray, n_test: int, n_classes: int) -> np.ndarray:
    """Predict the commonest training class everywhere, with the training shares as probabilities.

    Args:
        train_labels: [n_train] int.
        n_test: the number of test examples.
        n_classes: the number of classes.

    Returns:
        [n_test, n_classes] float64, equal rows.
    """
    shares = np.bincount(train_labels, minlength=n_classes) / len(train_labels)
    return np.tile(shares, (n_test, 1))


def predict_nearest(
    train_recording: np.ndarray,
    train_position: np.ndarray,
    train_labels: np.ndarray,
    test_recording: np.ndarray,
    test_position: np.ndarray,
    n_classes: int,
) -> np.ndarray:
    """Copy the label of the nearest training epoch of the same recording, without looking at the EEG.

    It shows what a split within recordings gives away: neighbouring epochs mostly share their stage.

    Args:
        train_recording: [n_train] str or int, the recording of each training epoch.
        train_position: [n_train] int, the number of each training epoch in its recording.
        train_labels: [n_train] int.
        test_recording: [n_test] str or int, that of each test epoch.
        test_position: [n_test] int, that of each test epoch.
        n_classes: the number of classes.

    Returns:
        [n_test, n_classes] float64, one-hot; of two equally near epochs the earlier one counts.

    Raises:
        ValueError: a recording in `test_recording` has no training epoch.
    """
    train_recording = np.asarray(train_recording)
    test_recording = np.asarray(test_recording)
    train_position = np.asarray(train_position)
    test_position = np.asarray(test_position)
    nearest = np.empty(len(test_recording), np.int64)
    for recording in np.unique(test_recording):
        rows = np.flatnonzero(train_recording == recording)
        if not rows.size:
            raise ValueError(
                f"no training epoch in recording {recording}: this baseline needs a split within recordings"
            )
        rows = rows[np.argsort(train_position[rows], kind="stable")]
        known = train_position[rows]
        wanted = test_position[test_recording == recording]
        later = np.searchsorted(known, wanted).clip(max=len(rows) - 1)
        earlier = (later - 1).clip(min=0)
        take_earlier = np.abs(wanted - known[earlier]) <= np.abs(known[later] - wanted)
        nearest[test_recording == recording] = rows[np.where(take_earlier, earlier, later)]
    return np.eye(n_classes)[np.asarray(train_labels)[nearest]]


def band_powers(epochs_uv: np.ndarray, sfreq: float) -> np.ndarray:
    """Log relative powers of the five classical EEG bands, by Welch's method with 4-s windows.

    Relative, because a recording's overall amplitude says more about its electrode than about its sleep.

    Args:
        epochs_uv: [n, n_times] float32, µV (any unit gives the same), one channel.
        sfreq: sampling rate, Hz.

    Returns:
        [n, 5] float32: log of each band's share of the power in `BANDS_HZ`.
    """
    from scipy.signal import welch

    window = min(epochs_uv.shape[1], round(4 * sfreq))
    powers = []
    for some in np.array_split(epochs_uv, len(epochs_uv) // 1000 + 1):  # many nights at once would fill gigabytes
        freqs, density = welch(some, sfreq, nperseg=window)
        powers.append([density[:, (freqs >= low) & (freqs < high)].sum(1) for low, high in BANDS_HZ.values()])
    power = np.concatenate(powers, axis=1).T
    power = np.maximum(power, np.finfo(power.dtype).tiny)  # a flat epoch has a logarithm too
    return np.log(power / power.sum(1, keepdims=True)).astype(np.float32)


def band_power_regression(
    train_features: np.ndarray, train_labels: np.ndarray, test_features: np.ndarray, n_classes: int, balanced: bool
) -> np.ndarray:
    """Multinomial logistic regression on standardised features.

    Args:
        train_features: [n_train, n_features] float.
        train_labels: [n_train] int.
        test_features: [n_test, n_features] float.
        n_classes: the number of classes.
        balanced: weight every class of the training part equally.

    Returns:
        [n_test, n_classes] float64; 0 for classes that do not occur in training.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(train_labels)) == 1:  # scikit-learn refuses a single class
        return predict_majority(train_labels, len(test_features), n_classes)
    regression = LogisticRegression(class_weight="balanced" if balanced else None, max_iter=1000)
    model = make_pipeline(StandardScaler(), regression).fit(train_features, train_labels)
    probabilities = np.zeros((len(test_features), n_classes))
    probabilities[:, regression.classes_] = model.predict_proba(test_features)
    return probabilities
