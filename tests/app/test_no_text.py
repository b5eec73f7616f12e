"""A JSON body that is no text."""

import pytest


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/admin/keys"),
        ("post", "/admin/webhooks"),
        ("put", "/admin/models/{model}/aliases/live"),
        ("put", "/admin/models/{model}/gate"),
    ],
)
def test_json_that_is_no_text_is_answered_as_the_document_says(client, document, method, path):
    answer = client.request(
        method,
        path.format(model="default"),
        content=b"\xff\x89PNG",
        headers={"Content-Type": "application/json"},
    )
    assert str(answer.status_code) in document["paths"][path][method]["responses"]
    assert answer.status_code in (400, 422)
