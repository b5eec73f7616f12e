"""What `/segment` answers with."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

EXAMPLE: dict[str, Any] = {
    "model": "default",
    "version": 2,
    "pictures": [
        {
            "name": "meadow.jpg",
            "width": 4,
            "height": 2,
            "classes": [
                {
                    "index": 0,
                    "name": "background",
                    "colour": "#000000",
                    "pixels": 6,
                    "share": 0.75,
                    "score": 0.97,
                    "rle": None,
                },
                {
                    "index": 5,
                    "name": "sheep",
                    "colour": "#800080",
                    "pixels": 2,
                    "share": 0.25,
                    "score": 0.91,
                    "rle": {"size": [2, 4], "counts": "222"},
                },
            ],
        }
    ],
}


class RunLengthsJson(BaseModel):
    """A class's pixels as COCO's compressed run lengths; `pycocotools.mask.decode` reads them."""

    size: tuple[int, int] = Field(description="Height and width of the mask, pixels.")
    counts: str = Field(description="The runs, column by column, packed as COCO does.")


class ShownClassJson(BaseModel):
    """A class that a picture shows."""

    index: int = Field(description="The class's value in masks; 0 is background.")
    name: str = Field(description="The class's name.")
    colour: str = Field(description="Its colour in PNG and overlay, `#rrggbb`.")
    pixels: int = Field(description="How many pixels show it.")
    share: float = Field(description="Those pixels as a share of the picture, 0 to 1.")
    score: float = Field(
        description="Mean probability that the model gives to the class over those pixels, 0 to 1."
    )
    rle: RunLengthsJson | None = Field(
        None,
        description="Its pixels; null for background, which is whatever no other class covers.",
    )


class SegmentedPictureJson(BaseModel):
    """One picture, in the order they were posted."""

    name: str = Field(description="Name of the posted file; `picture` where it has none.")
    width: int = Field(description="Width after EXIF orientation is applied, pixels.")
    height: int = Field(description="Height after EXIF orientation is applied, pixels.")
    classes: list[ShownClassJson] = Field(
        description="Every class that the picture shows, background among them, by index."
    )


class SegmentationJson(BaseModel):
    """What the pictures show, and which version says so."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    model: str = Field(description="The model that answered.")
    version: int = Field(description="Number of its version that answered.")
    pictures: list[SegmentedPictureJson] = Field(description="One entry for each posted picture.")
