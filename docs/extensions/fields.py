"""The reference shows how a class is made: the fields of Flax modules and named tuples as its arguments."""

from typing import Any

import griffe

MADE_OF_FIELDS = ("nn.Module", "Module", "NamedTuple")  # their bases as the code writes them


class Fields(griffe.Extension):
    """Gives a class an `__init__` of its annotated fields, where its base makes one when it is imported."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called when a class has been read with all its members."""
        if "__init__" in cls.members or not any(str(base) in MADE_OF_FIELDS for base in cls.bases):
            return
        fields = [field for field in cls.attributes.values() if field.annotation and "property" not in field.labels]
        if not fields:
            return
        either = griffe.ParameterKind.positional_or_keyword
        arguments = [
            griffe.Parameter(field.name, annotation=field.annotation, kind=either, default=field.value)
            for field in fields
        ]
        itself = griffe.Parameter("self", kind=either)
        cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(itself, *arguments)))
