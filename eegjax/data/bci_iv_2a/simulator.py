"""Simulated motor imagery in the files of BCI Competition IV 2a as BNCI Horizon has them: `A01T.mat`, `A01E.mat`.

The truth is known here, so there is an oracle: each trial's likelihood under the model that made it, which is about the
most that a decoder can reach. With 288 trials of a session it is right in .75 to .85 of those of the other session,
common spatial patterns of 8-30 Hz in .5 to .75, and in fewer where they were learnt from other subjects.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import fft, io, special

from eegjax.data.bci_iv_2a.signals import (
    AREAS,
    CLASSES,
    N_EEG,
    SENSOR_UV,
    SFREQ,
    STEP_S,
    WIDTHS_HZ,
    Brain,
    Gain,
    amplify,
    band,
    compute_task_power,
    draw_artifacts,
    draw_brain,
    draw_brain_eeg,
    draw_waxing,
    one_over_f,
)
from eegjax.errors import UserError
from eegjax.files import write_aside

VERSION = 1  # raised when the same arguments give other recordings
SESSIONS = ("T", "E")
DEPTHS = (0.9, 0.8, 0.85, 0.0, 0.8, 0.85, 0.9, 0.8, 0.85)  # of subjects 1 to 9
CHANCE_SUBJECT = 4  # whose imagery leaves no trace in the EEG: every decoder is at chance
HEADER = b"MATLAB 5.0 MAT-file, simulated by eegjax".ljust(116)  # text at the start of a file
CALIBRATION_S = 30.0  # the first run, without trials
CUE_S = 2.0  # after the fixation cross
IMAGERY_S = 4.0  # after the cue, what a decoder is given
TASK_S = (-0.5, 5.5)  # around the cue, when imagery changes the rhythms: no longer than a trial
N_DRAWS = 2000  # of what the oracle doesn't know

_SUBJECT, _SESSION, _LABELS, _TRIALS, _EEG, _ARTIFACTS, _AMPLIFIER, _ORACLE = range(1, 9)  # streams of randomness


class Run(NamedTuple):
    """What is drawn for a run before its signal."""

    key: tuple[int, int, int, int]  # seed, subject, session, number of the run: what its randomness comes from
    brain: Brain
    n_times: int
    fixations: np.ndarray  # [n_trials] int64, samples at which the cross appears; the cue comes 2 s later
    labels: np.ndarray  # [n_trials] int8, 0 to 3
    efforts: np.ndarray  # [n_trials], in 0..1
    delays_s: np.ndarray  # [n_trials], how late the subject begins


def write_session(
    folder: str | Path, seed: int, subject: int, session: str, n_runs: int = 6, n_trials_per_run: int = 48
) -> Path:
    """Simulate a session and write it as BNCI Horizon does; the same arguments give the same arrays.

    The first run has no trials. All others hold each class equally often, so that nothing of a run tells the class.

    Args:
        folder: made if missing; a file of the same name is replaced.
        seed: of the whole simulated study, 0 or more.
        subject: 1 to 9; frequencies, patterns and depth of the desynchronisation are the subject's in both sessions.
        session: "T" or "E", training or evaluation, which differ in gains, patterns and frequencies.
        n_runs: runs with trials.
        n_trials_per_run: a multiple of four.

    Returns:
        The path of the file, about 9 MB for a run of 48 trials.

    Raises:
        UserError: `subject` or `session` is none of the data set's, or `n_trials_per_run` can't hold the classes
            equally often.
    """
    runs = _draw_session(seed, subject, session, n_runs, n_trials_per_run)
    cells = np.empty((1, len(runs)), object)
    cells[0] = [_recorded(run) for run in runs]
    path = Path(folder) / f"A{subject:02d}{session}.mat"

    def write(aside: Path) -> None:
        io.savemat(aside, {"data": cells})
        with aside.open("r+b") as file:  # SciPy puts the time there: the same data would have another hash each time
            file.write(HEADER)

    return write_aside(path, write)


def true_labels(seed: int, subject: int, session: str, n_runs: int = 6, n_trials_per_run: int = 48) -> np.ndarray:
    """Return the classes of `write_session`'s trials, [n_trials] int8 in 0..3, without making its signal."""
    return np.concatenate([run.labels for run in _draw_session(seed, subject, session, n_runs, n_trials_per_run)])


def oracle(seed: int, subject: int, session: str, n_runs: int = 6, n_trials_per_run: int = 48) -> np.ndarray:
    """Return the probability of each class given a trial of `write_session`, by the model that made it.

    Rhythms and background are Gaussian. Filtered to the band of a rhythm, the EEG x(t) has the covariance

        C(t) = B + P diag(s(t)) P',    s_a(t) = rms_a^2 envelope_a(t)^2 power_a(t)

    where P holds the areas' patterns, B is what background and sensors leave in the band, and power_a(t) what the
    imagery of a class makes of the area's rhythm. With the covariance S of x in a segment of half a second, which
    holds n independent samples (twice bandwidth times length), a class has the log-likelihood, summed over bands and
    segments,

        -n/2 (log det C + trace C^-1 S)
            = n/2 (trace (I + diag(s) G)^-1 diag(s) P' B^-1 S B^-1 P - log det(I + diag(s) G)) + constant,

    with G = P' B^-1 P. Frequencies, patterns, depth and the background's covariance are the model's own. A trial's
    effort and delay and the waxing and waning of its rhythms are not known: the likelihood is the mean over 2000 draws
    of them. The window is the 4 s after the cue, and the EEG is that before artifacts and amplifier.

    Args:
        seed: as for `write_session`.
        subject: as for `write_session`.
        session: as for `write_session`.
        n_runs: as for `write_session`.
        n_trials_per_run: as for `write_session`.

    Returns:
        [n_trials, 4] float64, rows that sum to 1, in the order of the file's trials.

    Raises:
        UserError: what `write_session` raises.
    """
    runs = _draw_session(seed, subject, session, n_runs, n_trials_per_run)[1:]
    rng = _rng((seed, subject, 0, 0), _ORACLE)
    power = _drawn_power(rng, runs[0].brain.depth)
    eeg = [_brain_eeg(run)[:, :N_EEG] for run in runs]
    fit = sum(_fit(runs, eeg, rhythm, power[..., rhythm, :]) for rhythm in range(len(WIDTHS_HZ)))
    return special.softmax(special.logsumexp(fit, axis=2), axis=1)


def _draw_session(seed: int, subject: int, session: str, n_runs: int, n_trials_per_run: int) -> list[Run]:
    """Draw everything but the signal: the run without trials, then those with."""
    if not 1 <= subject <= len(DEPTHS):
        raise UserError(f"subject: found {subject}, expected 1 to {len(DEPTHS)}, as in BCI Competition IV 2a")
    if session not in SESSIONS:
        raise UserError(f"session: found {session!r}, expected 'T' (training) or 'E' (evaluation)")
    if n_trials_per_run < 1 or n_trials_per_run % len(CLASSES):
        raise UserError(f"n_trials_per_run: found {n_trials_per_run}, expected a multiple of {len(CLASSES)}")
    if n_runs < 1:
        raise UserError(f"n_runs: found {n_runs}, expected at least 1")
    drawn_for = (seed, subject, SESSIONS.index(session))
    of_subject = _rng((seed, subject, 0, 0), _SUBJECT)
    of_session = _rng((*drawn_for, 0), _SESSION)
    brain = draw_brain(of_subject, of_session, DEPTHS[subject - 1])
    return [_draw_run((*drawn_for, number), brain, n_trials_per_run if number else 0) for number in range(n_runs + 1)]


def _rng(key: tuple[int, int, int, int], stream: int) -> np.random.Generator:
    return np.random.default_rng([*key, stream])


def _draw_run(key: tuple[int, int, int, int], brain: Brain, n_trials: int) -> Run:
    """Draw a run; its labels have a stream of their own: nothing else that is drawn changes with them."""
    rng = _rng(key, _TRIALS)
    lengths_s = rng.uniform(7.5, 8.0, n_trials)
    starts_s = 2 + np.cumsum(lengths_s) - lengths_s
    efforts, delays_s = _draw_efforts(rng, n_trials)
    return Run(
        key=key,
        brain=brain,
        n_times=int(SFREQ * (2 + lengths_s.sum() if n_trials else CALIBRATION_S)),
        fixations=(SFREQ * starts_s).astype(np.int64),
        labels=_rng(key, _LABELS).permutation(np.arange(n_trials, dtype=np.int8) % len(CLASSES)),
        efforts=efforts,
        delays_s=delays_s,
    )


def _draw_efforts(rng: np.random.Generator, n_trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw how hard the subject tries in each trial, [n_trials] in 0..1, and how late, [n_trials] s."""
    return rng.beta(3, 1, n_trials), rng.normal(0, 0.15, n_trials)


def _from_cue(run: Run, start_s: float, stop_s: float) -> np.ndarray:
    """Return the samples between two times after each cue, [n_trials, n_samples]."""
    return run.fixations[:, None] + np.arange(int(SFREQ * (CUE_S + start_s)), int(SFREQ * (CUE_S + stop_s)))


def _brain_eeg(run: Run) -> np.ndarray:
    """Return a run's EEG before artifacts and amplifier, [n_times, 25] float32, µV."""
    power = np.ones((len(AREAS), len(WIDTHS_HZ), run.n_times))
    samples = _from_cue(run, *TASK_S)
    time_s = np.arange(samples.shape[1]) / SFREQ + TASK_S[0] - run.delays_s[:, None]
    power[:, :, samples] = compute_task_power(time_s, run.labels, run.efforts, run.brain.depth).transpose(1, 2, 0, 3)
    return draw_brain_eeg(_rng(run.key, _EEG), run.brain, power)


def _recorded(run: Run) -> dict[str, Any]:
    """Return a run as the file holds it."""
    disturbance, (start, stop) = draw_artifacts(_rng(run.key, _ARTIFACTS), run.n_times)
    last = _from_cue(run, 0, IMAGERY_S)[:, -1]
    return {
        "X": amplify(_rng(run.key, _AMPLIFIER), run.brain, _brain_eeg(run) + disturbance),
        "trial": run.fixations[:, None] + 1.0,
        "y": run.labels[:, None] + 1.0,
        "fs": SFREQ,
        "classes": np.array([CLASSES], object),
        "artifacts": ((run.fixations < stop) & (last >= start))[:, None].astype(np.uint8),
        "gender": "simulated",
        "age": np.nan,
    }


def _drawn_power(rng: np.random.Generator, depth: float) -> np.ndarray:
    """Draw the power of rhythms of rms 1 in the segments of trials, [n_classes, n_draws, n_areas, 2, n_segments]."""
    n_segments = int(IMAGERY_S / STEP_S)
    efforts, delays_s = _draw_efforts(rng, N_DRAWS)
    amplitudes = draw_waxing(rng, N_DRAWS * n_segments).reshape(len(AREAS), N_DRAWS, 1, n_segments).swapaxes(0, 1)
    middles_s = STEP_S * (np.arange(n_segments) + 0.5) - delays_s[:, None]
    labels = np.tile(np.arange(len(CLASSES))[:, None], N_DRAWS)
    return np.stack([amplitudes**2 * compute_task_power(middles_s, label, efforts, depth) for label in labels])


def _fit(runs: list[Run], eeg: list[np.ndarray], rhythm: int, power: np.ndarray) -> np.ndarray:
    """Return the log-likelihoods of the oracle in one band, [n_trials, n_classes, n_draws]."""
    brain = runs[0].brain
    gain = band(brain.centres_hz[rhythm], WIDTHS_HZ[rhythm])
    mixing = brain.mixing_uv[:, :N_EEG]
    rest = _share(one_over_f(brain.slope), gain) * mixing.T @ mixing
    rest += SENSOR_UV**2 * _share(np.ones_like, gain) * np.eye(N_EEG)
    unmixing = np.linalg.solve(rest, brain.patterns.T)  # B^-1 P
    overlap = brain.patterns @ unmixing
    seen = np.concatenate([_seen(_filtered(x @ unmixing, gain), run) for run, x in zip(runs, eeg, strict=True)])
    sources = np.swapaxes(power, 2, 3) * brain.rms_uv[:, rhythm] ** 2 * _share(gain, gain)
    scaled = np.eye(len(AREAS)) + sources[..., None] * overlap
    explained = np.linalg.solve(scaled, sources[..., None] * np.eye(len(AREAS)))
    trace = np.tensordot(seen, explained, axes=([1, 2, 3], [2, 4, 3]))
    return 0.5 * _n_independent(gain) * (trace - np.linalg.slogdet(scaled)[1].sum(axis=2))


def _seen(sources: np.ndarray, run: Run) -> np.ndarray:
    """Return the covariances of [n_times, n_areas] in the segments, [n_trials, n_segments, n_areas, n_areas]."""
    segments = sources[_from_cue(run, 0, IMAGERY_S)].reshape(len(run.labels), -1, int(SFREQ * STEP_S), len(AREAS))
    return np.swapaxes(segments, 2, 3) @ segments / segments.shape[2]


def _filtered(eeg: np.ndarray, gain: Gain) -> np.ndarray:
    """Filter [n_times, n_chans] by a gain, without a change of phase."""
    n_fft = fft.next_fast_len(len(eeg), real=True)
    spectrum = fft.rfft(eeg.T, n_fft)
    return fft.irfft(spectrum * gain(fft.rfftfreq(n_fft, 1 / SFREQ)), n_fft)[:, : len(eeg)].T


_FREQS_HZ = np.linspace(0, SFREQ / 2, 10_001)


def _share(spectrum: Gain, gain: Gain) -> float:
    """Return the share of noise's power that a filter leaves."""
    return float(np.sum((spectrum(_FREQS_HZ) * gain(_FREQS_HZ)) ** 2) / np.sum(spectrum(_FREQS_HZ) ** 2))


def _n_independent(gain: Gain) -> float:
    """Return how many independent samples a segment of noise holds behind a filter: twice bandwidth times length."""
    power = gain(_FREQS_HZ) ** 4
    return 2 * STEP_S * float(np.sum(power) ** 2 / np.sum(power**2) * _FREQS_HZ[1])
