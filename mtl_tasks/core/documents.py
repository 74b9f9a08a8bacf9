"""Base of typed documents: what processes exchange, and what commands and pages show."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Document(BaseModel):
    """Base of every typed document: immutable; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form, with the keys in the order of the fields."""
        return self.model_dump(mode="json")


def faults_in(error: ValidationError) -> str:
    """Return the faults of a document in one line, each with its key and without its value."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the document'}: {fault['msg']}" for fault in faults)
