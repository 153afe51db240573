"""Paths in annotation files do not lead out of the folder of pictures."""

import os

import pytest

from spacy_torch.features.image_paths import resolve_path


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    return tmp_path / "data"


def test_path_within_the_folder_is_found_from_there(root):
    assert resolve_path("deep/a.png", root=str(root)) == str(root / "deep" / "a.png")
    assert resolve_path("deep/../a.png", root=str(root)) == os.path.join(root, "deep/../a.png")
    inside = str(root / "a.png")
    assert resolve_path(inside, root=str(root)) == inside


def test_folder_may_be_relative_or_a_link(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_path("a.png", root="data") == os.path.join("data", "a.png")
    (tmp_path / "link").symlink_to(root)
    assert resolve_path("a.png", root="link") == os.path.join("link", "a.png")


@pytest.mark.parametrize("path", ["../a.png", "deep/../../a.png", "/etc/passwd", ".."])
def test_path_out_of_the_folder_is_refused_unless_allowed(root, path):
    with pytest.raises(ValueError, match="this leads out of the folder .* allow_outside = true"):
        resolve_path(path, root=str(root))
    assert resolve_path(path, root=str(root), allow_outside=True) == os.path.join(root, path)


def test_link_out_of_the_folder_is_refused(root, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "innocent.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"innocent\.png: this leads out of the folder"):
        resolve_path("innocent.png", root=str(root))


def test_folder_with_the_same_beginning_is_another_one(root, tmp_path):
    with pytest.raises(ValueError, match="this leads out of the folder"):
        resolve_path(str(tmp_path / "data2" / "a.png"), root=str(root))


def test_without_a_folder_any_path_but_a_url_is_allowed():
    assert resolve_path("../a.png", root=None) == "../a.png"
    with pytest.raises(ValueError, match="nothing is fetched from a URL"):
        resolve_path("http://a.b/c.png", root=None, allow_outside=True)


@pytest.mark.parametrize("path", ["", "a\0.png"])
def test_path_that_is_none_is_refused(path):
    with pytest.raises(ValueError, match="must not be empty or have a zero byte"):
        resolve_path(path, root=None)
