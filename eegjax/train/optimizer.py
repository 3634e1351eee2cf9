"""Optimisers, schedules, and parameter groups by regular expression."""

import re
from typing import Any

import flax.traverse_util
import jax
import optax
from ml_collections import ConfigDict

from eegjax.errors import UserError, check_choice

OPTIMIZERS = {
    "adam": optax.scale_by_adam,
    "rmsprop": optax.scale_by_rms,
    "sgd": lambda: optax.trace(0.9),
}
LBFGS = "lbfgs"  # it needs the loss itself, not an estimate: one step sees the whole training part
FROZEN = "(frozen)"  # the label of parameters in no group, and no group's name
SCHEDULES = ("constant", "cosine", "exponential", "one_cycle")


def make_schedule(train: ConfigDict, total_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate over steps.

    `constant`; `cosine` to zero; `exponential`: times `decay_per_epoch` at the end of every epoch; `one_cycle`: up to
    the rate within the first tenth and down to nearly zero. All but the last rise linearly over `warmup_steps` first.
    """
    rate = train.learning_rate
    warmup = train.warmup_steps
    check_choice("config.train.schedule", train.schedule, SCHEDULES)
    if train.schedule == "one_cycle":
        return optax.cosine_onecycle_schedule(max(total_steps, 2), rate, pct_start=0.1)
    decayed = optax.exponential_decay(rate, steps_per_epoch, train.decay_per_epoch, staircase=True)
    after = {
        "constant": lambda: optax.constant_schedule(rate),
        "cosine": lambda: optax.cosine_decay_schedule(rate, max(total_steps - warmup, 1)),
        "exponential": lambda: lambda step: decayed(step + warmup),  # joined schedules count from where they begin
    }[train.schedule]()
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup])


def make_optimizer(
    train: ConfigDict, params: Any, total_steps: int, steps_per_epoch: int, frozen: str = ""
) -> optax.GradientTransformation:
    """The optimiser of `config.train`: clipping, then each group of parameters with its own rate and decay.

    What is frozen gets no update, and its gradient doesn't count in the norm that is clipped.

    `lbfgs` (Liu & Nocedal 1989; it remembers ten steps) is of another kind. How far a step goes is decided by a line
    search (the strong Wolfe conditions), so `learning_rate` and `schedule` have no say. It minimises the loss alone,
    over all parameters at once: what would change its steps behind its back (weight decay, clipping, rates of
    groups, frozen parameters) is refused, and so are batches in pieces.

    Args:
        train: `optimizer`, `learning_rate`, `schedule`, `weight_decay`, `clip_norm` (0: none), and `groups`: name ->
            (`pattern`, `rate`, `decay`, `frozen`). A parameter belongs to the group whose pattern is found in its path
            (`features/conv1_1/kernel`); `rate` and `decay` multiply the values above. Decay is decoupled and on kernels
            only (Loshchilov & Hutter 2019) unless there is a field `decoupled_decay` that is False: then it is added
            to the clipped gradient of every parameter, before Adam scales it, as by torch's `Adam(weight_decay=)`.
        params: the model's parameters (or their shapes).
        total_steps: of the run.
        steps_per_epoch: of the run.
        frozen: a pattern; parameters whose path it is found in are in no group and are not trained. Empty: none.

    Raises:
        UserError: an unknown optimiser or schedule, a parameter in no group or in two, a pattern without parameters;
            with `lbfgs` what doesn't go with it.
    """
    names = (*OPTIMIZERS, LBFGS)
    check_choice("config.train.optimizer", train.optimizer, names)
    schedule = make_schedule(train, total_steps, steps_per_epoch)
    if train.optimizer == LBFGS:
        _check_lbfgs(train, frozen)
        label_parameters(train.groups, params)
        return optax.lbfgs()
    transforms = {FROZEN: optax.set_to_zero()}
    for name, group in train.groups.items():
        if group.frozen:
            transforms[name] = optax.set_to_zero()
            continue
        rule = OPTIMIZERS[train.optimizer]()
        decay = train.weight_decay * group.decay
        if train.decoupled_decay:
            rule = optax.chain(rule, optax.add_decayed_weights(decay, mask=_kernels))
        else:
            rule = optax.chain(optax.add_decayed_weights(decay), rule)
        transforms[name] = optax.chain(rule, optax.scale_by_learning_rate(schedule), optax.scale(group.rate))
    labels = label_parameters(train.groups, params, frozen)
    still = {FROZEN, *(name for name, group in train.groups.items() if group.frozen)}
    trained = jax.tree.map(lambda name: name not in still, labels)
    clip = optax.clip_by_global_norm(train.clip_norm) if train.clip_norm else optax.identity()
    return optax.chain(optax.masked(clip, trained), optax.partition(transforms, labels))


def label_parameters(groups: ConfigDict, params: Any, frozen: str = "") -> Any:
    """The tree of group names: every parameter is FROZEN or in exactly one group, every pattern finds a parameter."""
    paths = flax.traverse_util.flatten_dict(params, sep="/")
    patterns = {name: _pattern(f"config.train.groups.{name}.pattern", group.pattern) for name, group in groups.items()}
    still = {path for path in paths if frozen and _pattern("the frozen parameters' pattern", frozen).search(path)}
    if frozen and not still:
        raise UserError(
            f"frozen parameters: no parameter is found by '{frozen}'; the parameters are {', '.join(paths)}"
        )
    labels = {}
    used = set()
    for path in paths:
        found = [name for name, pattern in patterns.items() if pattern.search(path)]
        used |= set(found)
        if len(found) != 1 and path not in still:
            given = {name: group.pattern for name, group in groups.items()}
            raise UserError(
                f"config.train.groups: parameter '{path}' is in {found or 'no group'} of {given}; "
                "each parameter must be found by exactly one pattern"
            )
        labels[path] = FROZEN if path in still else found[0]
    if unused := set(groups) - used:
        raise UserError(
            f"config.train.groups: no parameter is found by {sorted(unused)}; the parameters are {', '.join(paths)}"
        )
    return flax.traverse_util.unflatten_dict(labels, sep="/")


def _check_lbfgs(train: ConfigDict, frozen: str) -> None:
    wrong = {
        "weight_decay": (train.weight_decay, 0),
        "clip_norm": (train.clip_norm, 0),
        "accumulate_steps": (train.accumulate_steps, 1),
        **{f"groups.{name}.rate": (group.rate, 1) for name, group in train.groups.items()},
        **{f"groups.{name}.frozen": (group.frozen, False) for name, group in train.groups.items()},
    }
    said = "which doesn't go with config.train.optimizer='lbfgs'"
    for name, (found, wanted) in wrong.items():
        if found != wanted:
            raise UserError(
                f"config.train.{name} is {found}, {said}: give --config.train.{name}={wanted} or another optimizer "
                f"({', '.join(OPTIMIZERS)})"
            )
    if frozen:
        raise UserError(
            f"parameters found by '{frozen}' are frozen, {said}: train them too, or give another optimizer "
            f"({', '.join(OPTIMIZERS)})"
        )


def _pattern(field: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UserError(f"{field} is '{text}': no regular expression ({error})") from error


def _kernels(params: Any) -> Any:
    """Weight decay is for kernels: biases and normalisation parameters have one axis."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
