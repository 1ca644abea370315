"""A folder of the kit's data for the tests of both directions."""

import pytest


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A temporary LMUData; subsets are allowed, and no download is ever tried."""
    base = pytest.importorskip("vlmeval.dataset.image_base", reason="needs the extra [vlmeval]")
    from vlmeval.dataset import DATASET_CLASSES

    from vtprune_eval.benchmarks.vlmeval import reader

    def no_network(url, path):
        raise Exception(f"Failed to download {url}")

    monkeypatch.setattr(base, "download_file", no_network)
    monkeypatch.setenv(reader.LOCAL_TSV, "1")
    monkeypatch.setenv("LMUData", str(tmp_path / "elsewhere"))
    for cls in DATASET_CLASSES:
        if isinstance(getattr(cls, "DATASET_MD5", None), dict):
            monkeypatch.setattr(cls, "DATASET_MD5", dict(cls.DATASET_MD5))
    return tmp_path
