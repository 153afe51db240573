"""One bad document in a stream costs no other."""

import pytest
import spacy
from images import CORNERS, as_bytes, write_image
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model

from spacy_torch.components.torch_pipe import TorchPipe
from spacy_torch.features.pixels import read_pixels


class Brightness(TorchPipe):
    """Writes how bright each picture is."""

    def predict(self, docs):
        return read_pixels(list(docs), size=8)[0].mean(axis=(1, 2, 3))

    def set_annotations(self, docs, scores):
        for doc, score in zip(docs, scores, strict=True):
            doc.cats = {"bright": score / 255}


@pytest.fixture
def nlp():
    @Language.factory("brightness_for_tests")
    def make(nlp: Language, name: str):
        return Brightness(nlp.vocab, Model("none", lambda *_: None), name)

    nlp = spacy.blank("image")
    nlp.add_pipe("brightness_for_tests", name="brightness")
    return nlp


@pytest.fixture
def paths(tmp_path):
    good = [write_image(tmp_path / f"{number}.png") for number in range(5)]
    half = as_bytes(CORNERS, "JPEG")
    (tmp_path / "half.jpg").write_bytes(half[: len(half) // 2])
    bad = [tmp_path / "missing.png", "https://a.b/c.png", tmp_path / "half.jpg"]
    return [good[0], bad[0], good[1], bad[1], bad[2], *good[2:]]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_bad_pictures_go_to_the_error_handler_and_the_others_on(nlp, paths, batch_size):
    failed = []
    nlp.set_error_handler(lambda name, proc, docs, error: failed.append((docs, str(error))))
    docs = list(nlp.pipe(paths, batch_size=batch_size))
    assert [doc.text for doc in docs] == [str(paths[i]) for i in (0, 2, 5, 6, 7)]
    assert all(doc.cats for doc in docs)
    assert [[doc.text for doc in docs] for docs, _ in failed] == [
        [str(paths[i])] for i in (1, 3, 4)
    ]
    for (_, message), part in zip(failed, ["missing.png", "URL", "half.jpg"], strict=True):
        assert part in message


def test_without_a_handler_the_error_is_raised(nlp, paths):
    stream = nlp.pipe(paths)
    assert isinstance(next(stream), Doc)
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        next(stream)
    with pytest.raises(ValueError, match=r"half\.jpg: .*damaged|this is not an image"):
        nlp(paths[4])
