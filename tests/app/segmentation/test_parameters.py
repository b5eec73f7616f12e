from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.segmentation.asking import SegmentQuery
from tests.app.segmentation.requests import as_files, encoded, left_red_right_green


def test_the_parameters_are_those_of_the_document(document: Any) -> None:
    documented = document["paths"]["/segment"]["post"]["parameters"]
    assert [one["name"] for one in documented] == list(SegmentQuery.model_fields)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("class=red", "query.class"),
        ("Classes=red", "query.Classes"),
        ("min_score=0.5&min_score=0.9", "query.min_score"),
        ("version=1&version=2", "query.version"),
    ],
)
def test_a_parameter_that_nobody_reads_is_told(client: TestClient, query: str, field: str) -> None:
    picture = as_files(encoded(left_red_right_green()))
    refused = client.post(f"/segment?{query}", **picture)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]
