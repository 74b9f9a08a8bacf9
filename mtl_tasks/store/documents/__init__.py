"""Typed forms of the documents that a run's artifacts hold, shared by those who write and those who show them."""

from mtl_tasks.store.documents.reading import read_document, read_part

__all__ = ["read_document", "read_part"]
