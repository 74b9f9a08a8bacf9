"""Base of typed documents: what artifacts hold, what processes exchange, and what commands and pages show."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, ClassVar, Final, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mtl_tasks.core.errors import ArtifactError

T = TypeVar("T")
VERSION_KEY: Final = "schema_version"


class Document(BaseModel):
    """A part of a document: immutable; an unknown key and a number that is not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form, with the keys in the order of the fields."""
        return self.model_dump(mode="json")


class ArtifactDocument(Document):
    """A part of a document that an artifact holds."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-serializable form, with sorted keys, of the fields that were given."""
        made: dict[str, Any] = _ordered(self.model_dump(mode="json", exclude_unset=True))
        return made


class PartialDocument(ArtifactDocument):
    """A document of which only some keys are read; others are kept as they are."""

    model_config = ConfigDict(extra="allow")


class StoredDocument(ArtifactDocument):
    """A document with a version of its own; one without a version is of version 1.

    Attributes
    ----------
    schema_version
        The version that this code reads and writes.
    """

    schema_version: ClassVar[int] = 1

    def to_stored(self) -> dict[str, Any]:
        """Return the form that an artifact holds."""
        return {VERSION_KEY: self.schema_version, **self.to_json()}

    @classmethod
    def parse(cls, document: Any, where: str) -> Self:
        """Invert :meth:`to_stored`.

        Raises
        ------
        ArtifactError
            If the document has another version or form; the message begins with ``where``.
        """
        if isinstance(document, dict):
            version = document.get(VERSION_KEY, 1)
            if version != cls.schema_version or isinstance(version, bool):
                raise ArtifactError(
                    f"{where}: written with schema version {version!r:.20}, and this code reads {cls.schema_version}: "
                    "use the code that wrote it, or make the run again"
                )
            document = {name: value for name, value in document.items() if name != VERSION_KEY}
        return validate(cls, document, where)


def validate(kind: type[T], document: Any, where: str) -> T:
    """Return a parsed JSON document as an object of ``kind``, such as ``dict[str, Measurement]``.

    Raises
    ------
    ArtifactError
        If it has another form; the message begins with ``where`` and names the first wrong field, without its value.
    """
    try:
        found: T = _adapter(cast("Hashable", kind)).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "document"
        more = f" and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise ArtifactError(
            f"{where}: not a document of the expected form ({field}: {first['msg']}{more}): "
            "it is damaged, or other code wrote it; make the run again"
        ) from error
    return found


def faults_in(error: ValidationError) -> str:
    """Return the faults of a document in one line, each with its key and without its value."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the document'}: {fault['msg']}" for fault in faults)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(part) for part in value] if isinstance(value, list) else value
