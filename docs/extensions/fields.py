"""The reference shows how a class is made: by the fields of a Flax module or named tuple; of a protocol, its call."""

from typing import Any

import griffe

MADE_OF_FIELDS = ("nn.Module", "Module", "NamedTuple")  # their bases as the code writes them
EITHER = griffe.ParameterKind.positional_or_keyword


class Fields(griffe.Extension):
    """Gives a class the `__init__` that its base makes when it is imported; a protocol has that of what it calls."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called when a class has been read with all its members."""
        bases = [str(base) for base in cls.bases]
        if "__init__" in cls.members:
            return
        if "Protocol" in bases and "__call__" in cls.members:
            call = cls.members["__call__"]
            cls.set_member("__init__", griffe.Function("__init__", parameters=call.parameters, returns=call.returns))
        elif fields := _fields(cls) if set(bases) & set(MADE_OF_FIELDS) else []:
            itself = griffe.Parameter("self", kind=EITHER)
            cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(itself, *fields)))


def _fields(cls: griffe.Class) -> list[griffe.Parameter]:
    return [
        griffe.Parameter(field.name, annotation=field.annotation, kind=EITHER, default=field.value)
        for field in cls.attributes.values()
        if field.annotation and "property" not in field.labels
    ]
