"""LightGBM's text format is read only if it is what was written."""

from __future__ import annotations

import pytest

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models.boosting.trees import digest_of, from_bytes


@pytest.mark.faults(26)
@pytest.mark.parametrize(
    "text", [b"", b"hello", b"\xff", b"hello\npandas_categorical:null\n", b"\xff\npandas_categorical:null\n"]
)
def test_a_text_that_is_no_model_is_refused(text: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"like\.0\.lightgbm\.txt: not a .*LightGBM model") as caught:
        from_bytes(text, "like.0.lightgbm.txt", digest_of(text))
    assert "\n" not in str(caught.value)
