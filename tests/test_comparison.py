import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span

from spacy_torch.comparison import (
    TOLERANCE,
    find_differences,
    make_docs,
    read_sample,
    sample_texts,
    words_per_second,
)


@Language.factory("annotate")
def make_annotate(
    nlp, name, tag: str = "N", head: int = 0, ent: str = "O", score: float = 0.5,
    span_end: int = 2, span_score: float = 0.5,
):  # fmt: skip
    """Writes what its config says on documents of two tokens."""

    def annotate(doc: Doc) -> Doc:
        if not len(doc):
            return doc
        words = [token.text for token in doc]
        doc = Doc(
            nlp.vocab,
            words=words,
            tags=[tag, "N"],
            heads=[head, head],
            deps=["ROOT", "dep"],
            ents=["B-X", ent],
        )
        doc.cats = {"A": score}
        doc.spans["sc"] = [Span(doc, 0, span_end, "Y")]
        doc.spans["sc"].attrs["scores"] = [span_score]
        return doc

    return annotate


def make_pipeline(**config) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("annotate", config=config)
    return nlp


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, []),
        ({"tag": "M"}, [("tag", 0, "N", "M")]),
        ({"ent": "I-X"}, [("entity", 1, ("O", "", "", ""), ("I", "X", "", ""))]),
        ({"score": 0.5 + 2 * TOLERANCE}, [("cats", None, {"A": 0.5}, {"A": 0.5002})]),
        ({"score": 0.5 + TOLERANCE / 2}, []),
        (
            {"span_end": 1},
            [("spans", None, {("sc", 0, 2, "Y"): 0.5}, {("sc", 0, 1, "Y"): 0.5})],
        ),
        (
            {"span_score": 0.75},
            [("spans", None, {("sc", 0, 2, "Y"): 0.5}, {("sc", 0, 2, "Y"): 0.75})],
        ),
    ],
)
def test_what_differs_is_named_with_its_place(config, expected):
    found = find_differences(make_pipeline(), make_pipeline(**config), ["", "two words"])
    assert [(d.what, d.token, d.before, d.after) for d in found] == expected
    assert {d.text for d in found} <= {1}


def test_another_head_is_a_difference():
    found = find_differences(make_pipeline(), make_pipeline(head=1), ["two words"])
    assert ("head", 0, 0, 1) in [(d.what, d.token, d.before, d.after) for d in found]


def test_document_keeps_its_tokens_and_loses_its_annotations():
    nlp = spacy.blank("en")
    given = Doc(nlp.vocab, words=["a-", "b"], spaces=[False, True], tags=["X", "Y"])
    (doc,) = make_docs(nlp, [given])
    assert [token.text_with_ws for token in doc] == ["a-", "b "]
    assert not doc.has_annotation("TAG")


def test_sample_is_read_from_lines_jsonl_and_spacy_files(tmp_path):
    nlp = spacy.blank("en")
    lines, rows, docs = (tmp_path / f"sample.{end}" for end in ("txt", "jsonl", "spacy"))
    lines.write_text("one\n\ntwo words\n", encoding="utf-8")
    srsly.write_jsonl(rows, [{"text": "one"}, {"text": "two words"}])
    DocBin(docs=[nlp("one"), nlp("two words")]).to_disk(docs)
    for path in (lines, rows, docs):
        texts = [doc.text for doc in make_docs(nlp, read_sample(path, nlp))]
        assert texts == ["one", "two words"]


def test_sample_without_texts_is_refused(tmp_path):
    empty, rows = tmp_path / "sample.txt", tmp_path / "sample.jsonl"
    empty.write_text("\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"sample.txt: there are no texts in it"):
        read_sample(empty, spacy.blank("en"))
    srsly.write_jsonl(rows, [{"text": "one"}, {"body": "two"}])
    with pytest.raises(ValueError, match=r"row 2 has no \"text\", got {'body': 'two'}"):
        read_sample(rows, spacy.blank("en"))


@pytest.mark.parametrize("lang", ["en", "de", "xx"])
def test_every_language_has_sample_texts(lang):
    texts = sample_texts(lang)
    assert "" in texts
    assert len(texts) == len(sample_texts("xx")) or len(texts) > 15


def test_speeds_are_of_the_words_that_were_given():
    nlp = spacy.blank("en")
    seen = []

    def run(batch):
        seen.append(len(batch))

    speeds = words_per_second(
        run, lambda batch: sum(range(10**5)), lambda: make_docs(nlp, ["a b"] * 5), batch_size=2,
        turns=2,
    )  # fmt: skip
    assert speeds[0] > speeds[1] > 0
    assert seen == [2, 2, 1] * 3
