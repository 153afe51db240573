"""Labelling configs are written, and those of users are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_torch.annotation.label_studio_interface import (
    Interface,
    make_interface,
    read_interface,
    write_interface,
)

LABEL = st.text(st.characters(min_codepoint=33, max_codepoint=0x1F600, exclude_categories=["C"]))
KINDS = [
    ("choices", "text"),
    ("choices", "image"),
    ("labels", "text"),
    ("rectanglelabels", "image"),
]


@given(
    st.sampled_from(KINDS),
    st.lists(LABEL.filter(str.strip), min_size=1, unique=True),
    st.booleans(),
)
def test_an_interface_that_was_written_is_read_again(kind, labels, many):
    many = many and kind[0] == "choices"
    interface = make_interface(kind[0], labels, media=kind[1], many=many)
    assert read_interface(write_interface(interface)) == interface


def test_the_interface_of_a_user_is_read():
    xml = """<View>
      <!-- of a template -->
      <Header value="Which?"/>
      <Image name="picture" value="$photo"/>
      <View><RectangleLabels name="boxes" toName="picture">
        <Label value="Cell"/><Label value="Red one" alias="RED" background="#f00"/>
      </RectangleLabels></View>
      <Choices name="whole" toName="picture" choice="multiple"><Choice value="good"/></Choices>
      <TextArea name="notes" toName="picture"/>
    </View>"""
    boxes = Interface(
        "rectanglelabels",
        "image",
        ("Cell", "RED"),
        from_name="boxes",
        to_name="picture",
        key="photo",
    )
    assert read_interface(xml, from_name="boxes") == boxes
    assert read_interface(xml, from_name="whole").many
    with pytest.raises(ValueError, match=r"several controls .*\['whole', 'boxes'\]: name one"):
        read_interface(xml)
    with pytest.raises(ValueError, match="no control 'other' .*those that can are"):
        read_interface(xml, from_name="other")


def test_spans_and_their_labels_may_have_other_names():
    xml = (
        '<View><Labels name="ner" toName="t"><Label value="ORG"/></Labels>'
        '<Text name="t" value="$body"/></View>'
    )
    assert read_interface(xml) == Interface(
        "labels", "text", ("ORG",), from_name="ner", to_name="t", key="body"
    )


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<View>", "is not valid XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View/>', "must not have a DOCTYPE"),
        ("<View/>", "no control that can be learned: it must have Choices"),
        # Spans in sound: nothing that a component of ours learns.
        (
            '<View><Labels name="l" toName="a"><Label value="x"/></Labels>'
            '<Audio name="a" value="$a"/></View>',
            "no control that can be learned",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(xml, message):
    with pytest.raises(ValueError, match=message):
        read_interface(xml)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "labels", "labels": ["A"], "media": "image"}, "labels must be about text"),
        ({"kind": "choices", "labels": []}, "needs labels that are not empty"),
        ({"kind": "choices", "labels": ["A", " "]}, "needs labels that are not empty"),
        ({"kind": "choices", "labels": ["A", "A"]}, "must differ"),
    ],
)
def test_an_interface_must_make_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_interface(**arguments)
