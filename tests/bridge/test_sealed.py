"""A sealed file comes back as it was, or says that it is damaged."""

import pytest

from spacy_torch.bridge.sealed import read_sealed, write_sealed
from spacy_torch.bridge.weights import WeightsError


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256))])
def test_bytes_come_back(data, tmp_path):
    write_sealed(tmp_path / "file", data)
    assert read_sealed(tmp_path / "file") == data


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    path = tmp_path / "file"
    write_sealed(path, b"some bytes")
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"damaged.*Restore the file from where it came"):
            read_sealed(path)


@pytest.mark.parametrize("n_bytes", [0, 5, 21, 40, 62])
def test_no_missing_end_goes_unnoticed(n_bytes, tmp_path):
    path = tmp_path / "file"
    write_sealed(path, b"some bytes")
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(WeightsError, match=r"damaged"):
        read_sealed(path)
