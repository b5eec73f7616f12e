"""What is read of labelling configurations."""

import pytest

from app.integrations.label_studio.labelling import (
    MAX_CHARACTERS,
    Control,
    LabellingError,
    read_labelling,
)


def test_tags_that_draw_on_a_picture() -> None:
    found = read_labelling(
        """
        <View>
          <Header value="Draw"/>
          <Image name="img" value="$photo"/>
          <Image name="second" valueList="$pages"/>
          <View><BrushLabels name="b" toName="img" showInline="true">
            <View><Label value="cat" background="#fff"/></View>
            <Label value="a dog" alias="dog" hotkey="d"/>
            <Label/>
            <Label value="cat"/>
          </BrushLabels></View>
          <polygonlabels name="p" toName="img"><Label value="tree"/></polygonlabels>
          <RectangleLabels name="r" toName="img"><Label value="box"/></RectangleLabels>
          <BrushLabels name="lost" toName="nobody"><Label value="lost"/></BrushLabels>
          <Label value="stray"/>
        </View>
        """
    )
    assert found.controls == (
        Control("brushlabels", "b", "img", "photo", ("cat", "dog")),
        Control("polygonlabels", "p", "img", "photo", ("tree",)),
    )
    assert found.labels == ("cat", "dog", "tree")
    assert dict(found.pictures) == {"img": "photo"}


def test_what_it_says_of_its_bytes_is_passed_over() -> None:
    config = """<?xml version="1.0" encoding="ISO-8859-1"?><View><Image name="i" value="$i"/>
    <BrushLabels name="b" toName="i"><Label value="Baumstümpfe 木"/></BrushLabels></View>"""
    assert read_labelling(config).labels == ("Baumstümpfe 木",)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "<View>",
        "no XML",
        '<!DOCTYPE v SYSTEM "http://169.254.169.254/"><View/>',
        '<!DOCTYPE v [<!ENTITY a "b">]><View>&a;</View>',
        "<View/>" + " " * MAX_CHARACTERS,
        "<View>\ud800</View>",
    ],
)
def test_what_is_none_is_refused(config: str) -> None:
    with pytest.raises(LabellingError):
        read_labelling(config)
