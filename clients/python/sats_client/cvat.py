"""CVAT's labels by a SATS model: a function for `cvat-cli task auto-annotate`.

    cvat-cli task auto-annotate 137 --function-module sats_client.cvat \\
        -p url=str:http://127.0.0.1:8000 -p model=str:default --allow-unmatched-labels

Needs cvat-sdk, cvat-cli, numpy and Pillow.
"""

from typing import Any

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk.masks import encode_mask
from PIL import Image

from sats_client._segmenting import outlined
from sats_client._settings import Asked
from sats_client.client import Client


class Function:
    """A detection function of cvat-sdk: one mask for each class that a picture shows.

    It asks one version from its first picture to its last, whatever goes live meanwhile.

    Args:
        client: of the service.
        model: that answers.
        version: number of its version; default: the one that is live now.
        classes: names of classes, commas between them; default: all but background.
        size: at how many pixels of its longer side the model sees a picture.

    Raises:
        SatsError: the service does not answer, or has no such model, version or class.
    """

    def __init__(
        self,
        client: Client,
        model: str = "default",
        version: int | None = None,
        classes: str | None = None,
        size: int | None = None,
    ) -> None:
        known = client.classes(model, version)
        self._client = client
        self._asked = Asked(model=model, version=known.version)
        if classes is not None:
            self._asked["classes"] = [classes]
        if size is not None:
            self._asked["size"] = size
        self._labels = [one.index for one in known.classes if one.index]
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[
                cvataa.label_spec(one.name, one.index, type="mask")
                for one in known.classes
                if one.index
            ]
        )

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """Return the shapes of a picture.

        Args:
            context: cvat-sdk's: a pixel whose class is less probable than `conf_threshold` is
                background; `conv_mask_to_poly` asks for polygons, which have no holes.
            image: the picture.
        """
        asked = Asked(**self._asked)
        if context.conf_threshold is not None:
            asked["min_score"] = context.conf_threshold
        if context.conv_mask_to_poly:
            return self._polygons(image, asked)
        mask = self._client.segment(image, **asked).mask
        shown = ((index, mask == index) for index in self._labels)
        return [cvataa.mask(index, encode_mask(where)) for index, where in shown if where.any()]

    def _polygons(self, image: Image.Image, asked: Asked) -> list[Any]:
        return [
            cvataa.polygon(index, [float(number) for point in ring for number in point])
            for index, ring in self._client._run(outlined(image, asked))
        ]


def create(
    url: str | None = None,
    api_key: str | None = None,
    model: str = "default",
    version: int | None = None,
    classes: str | None = None,
    size: int | None = None,
) -> Function:
    """Return the function: what cvat-cli calls, with its `-p`.

    Args:
        url: of the service; default: `SATS_URL`.
        api_key: default: `SATS_API_KEY`, which other users of the machine do not see in a list of
            processes.
        model: as of `Function`.
        version: as of `Function`.
        classes: as of `Function`.
        size: as of `Function`.
    """
    client = Client(url, api_key)
    try:
        return Function(client, model, version, classes, size)
    except BaseException:
        client.close()
        raise
