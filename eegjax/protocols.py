"""What configuration files share: their argument `protocol[,key=value...]`, and the settings of a run."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from eegjax.errors import UserError, did_you_mean


def parse(argument: str, protocols: Sequence[str], keys: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, str]]:
    """Read a configuration's argument.

    Args:
        argument: what stands after the colon of `--config=FILE:...`; empty means the first protocol.
        protocols: those the configuration has.
        keys: key -> the values it may take.

    Returns:
        The protocol, and the keys that were given.

    Raises:
        UserError: an unknown protocol, key or value.
    """
    protocol, *pairs = (argument or protocols[0]).split(",")
    _check("protocol", protocol, protocols)
    given = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"config: '{pair}' should be key=value; keys are {', '.join(keys)}")
        _check("key", key, list(keys))
        _check(f"value of {key}", value, keys[key])
        given[key] = value
    return protocol, given


def _check(what: str, word: str, allowed: Sequence[str]) -> None:
    if word not in allowed:
        raise UserError(f"config: no {what} '{word}'; there are {', '.join(allowed)}.{did_you_mean(word, allowed)}")


def run_settings() -> ConfigDict:
    """`config.run` of every study: what changes nothing in the results."""
    return ConfigDict(
        {
            "root": "runs",
            "workers": 2,
            "log_every_steps": 20,
            "checkpoint_every_s": 10.0,
            "tensorboard": True,
            "resident_bytes": 8_000_000_000,  # larger data streams from disk
            "members_at_once": 0,  # 0: one by one on a CPU, elsewhere as many as `members_bytes` of a device hold
            "members_bytes": 40_000_000_000,
            "space": 1,
            "compilation_cache": "",
        }
    )
