"""The cache on disk: round trips, damage, limits, several processes, and keys that hold everything."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import environment
from tests.sure import PATIENCE
from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.errors import SampleError, UserError
from vtprune_eval.pipeline.disk_cache import MAGIC, STALE_SECONDS, DiskCache
from vtprune_eval.pipeline.features import packed, unpacked, vit_key
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_cached, load_images
from vtprune_eval.pipeline.sweep import Sweep
from vtprune_eval.registry import make_method
from vtprune_eval.sample import Sample

KEY = "ab" + "0" * 62


def tensors(seed: int = 0, n: int = 10) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": torch.randn(n, 3, generator=generator),
        "b": torch.arange(n, dtype=torch.uint8),
        "c": torch.randn(n, generator=generator).to(torch.bfloat16),
    }


def same(x, y) -> bool:
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) and x[k].dtype == y[k].dtype for k in x)


def entries(folder):
    return sorted(folder.glob("*/*.st"))


def test_what_is_put_comes_back_to_another_process(tmp_path):
    cache = DiskCache(tmp_path, 1 << 20)
    assert cache.get(KEY) is None
    cache.put(KEY, tensors())
    assert same(DiskCache(tmp_path, 1 << 20).get(KEY), tensors())
    assert (cache.hits, cache.misses) == (0, 1)
    assert entries(tmp_path)[0].read_bytes().startswith(MAGIC)
    assert not list(tmp_path.glob("*/*.tmp"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:20],
        lambda raw: b"",
        lambda raw: b"\x80\x04pickle" + raw,
        lambda raw: raw[:200] + bytes([raw[200] ^ 1]) + raw[201:],
        lambda raw: raw[: len(MAGIC)] + b"0" * 64 + raw[len(MAGIC) + 64 :],
    ],
    ids=["cut", "torn", "empty", "foreign", "flipped", "checksum"],
)
def test_a_damaged_entry_is_dropped_and_made_again(tmp_path, damage, capsys):
    cache = DiskCache(tmp_path, 1 << 20)
    cache.put(KEY, tensors())
    path = entries(tmp_path)[0]
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY) is None
    assert cache.damaged == 1
    assert "damaged" in capsys.readouterr().err
    assert not path.exists()
    cache.put(KEY, tensors(1))
    assert same(cache.get(KEY), tensors(1))


def test_a_valid_checksum_over_something_else_is_dropped_too(tmp_path):
    import hashlib

    body = b"not safetensors"
    cache = DiskCache(tmp_path, 1 << 20)
    cache.put(KEY, tensors())
    entries(tmp_path)[0].write_bytes(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert cache.get(KEY) is None


def test_the_least_recently_used_goes_first_and_the_limit_holds(tmp_path, capsys):
    probe = DiskCache(tmp_path / "probe", 1 << 20)
    probe.put(KEY, tensors())
    size = entries(tmp_path / "probe")[0].stat().st_size
    cache = DiskCache(tmp_path / "c", 5 * size)
    keys = [f"{i:02x}" + "0" * 62 for i in range(7)]
    for age, key in enumerate(keys[:5]):
        cache.put(key, tensors())
        os.utime(tmp_path / "c" / key[:2] / f"{key}.st", (1000 + age, 1000 + age))
    assert cache.get(keys[0]) is not None  # now the latest in use
    cache.put(keys[5], tensors())
    there = {p.stem for p in entries(tmp_path / "c")}
    assert {keys[0], keys[5]} <= there
    assert keys[1] not in there
    assert sum(p.stat().st_size for p in entries(tmp_path / "c")) <= 5 * size
    cache.put(keys[6], {"a": torch.zeros(100 * size)})  # larger than the whole cache: not stored, nothing evicted
    assert {p.stem for p in entries(tmp_path / "c")} == there
    assert "larger than --cache-size" in capsys.readouterr().err


def test_leftovers_of_killed_writers_go_and_fresh_ones_stay(tmp_path):
    (tmp_path / "ab").mkdir()
    old, fresh = tmp_path / "ab" / "x.1-2.tmp", tmp_path / "ab" / "y.1-2.tmp"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * STALE_SECONDS,) * 2)
    DiskCache(tmp_path, 1 << 20)
    assert not old.exists()
    assert fresh.exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="name another folder"):
        DiskCache(tmp_path / "file" / "c", 1 << 20)


def test_a_write_that_fails_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    cache = DiskCache(tmp_path, 1 << 20)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.put(KEY, tensors())
    cache.put("cd" + KEY[2:], tensors())
    assert capsys.readouterr().err.count("could not be written") == 1
    assert cache.get(KEY) is None
    assert not list(tmp_path.glob("*/*.tmp"))


_WRITER = """
import sys, random, torch
from pathlib import Path
from vtprune_eval.pipeline.disk_cache import DiskCache
torch.set_num_threads(1)
seed, folder, limit = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
cache, rng = DiskCache(folder, limit), random.Random(seed)
print("ready", flush=True)
for _ in range(int(sys.argv[4])):
    n = rng.randrange(40)
    key = f"{n:02x}" + "0" * 62
    found = cache.get(key)
    if found is None:
        cache.put(key, {"a": torch.full((500 + n,), float(n))})
    elif not torch.equal(found["a"], torch.full((500 + n,), float(n))):
        raise SystemExit("wrong content")
if cache.damaged:
    raise SystemExit("saw a damaged entry")
"""


def test_processes_that_read_write_evict_and_are_killed_never_give_a_wrong_entry(tmp_path):
    limit = 20 * 2300  # half of what they write, so that they evict each other's entries
    start = [sys.executable, "-c", _WRITER]
    runs = [
        subprocess.Popen(
            [*start, str(i), str(tmp_path), str(limit), "150" if i else "1000000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for i in range(3)
    ]
    assert runs[0].stdout is not None
    assert runs[0].stdout.readline() == "ready\n"
    time.sleep(0.2)
    runs[0].kill()  # in the middle of its work
    runs[0].wait()
    for run in runs[1:]:
        out, err = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, out + err
    assert sum(p.stat().st_size for p in entries(tmp_path)) <= 2 * limit
    last = DiskCache(tmp_path, limit)
    found = [last.get(f"{n:02x}" + "0" * 62) for n in range(40)]
    assert sum(f is not None for f in found) > 3
    assert not last.damaged


def plain(outcome):
    return replace(outcome, times=None, peak_bytes=0)


@pytest.mark.parametrize("names", [("full", "snapkv", "visionzip", "divprune"), ("full",), ("pixelprune", "resize")])
def test_answers_from_a_cold_and_a_warm_cache_are_those_without_one(adapter, make_sample, tmp_path, names, monkeypatch):
    sample = make_sample(21, 2)
    cells = [
        Pipeline(adapter, make_method(n), Budget.parse("100" if n == "full" else "30"), max_new_tokens=4) for n in names
    ]
    alone = [plain(cell.run(sample)) for cell in cells]
    encodes = []
    real = type(adapter).encode
    monkeypatch.setattr(type(adapter), "encode", lambda self, *a, **k: encodes.append(1) or real(self, *a, **k))
    counts = []
    for _ in range(2):
        store = DiskCache(tmp_path, 1 << 24)
        images = load_cached(sample, adapter.images, store)
        sweep = Sweep(cells, max_branch_bytes=1 << 30, store=store)
        got = {a.cell: plain(a.outcome) for a in sweep.run(sample, images, range(len(cells)))}
        assert [got[i] for i in range(len(cells))] == alone
        assert not sweep.failures
        counts.append((len(encodes), store.misses))
    assert counts[0][0] >= 1
    assert counts[1] == (counts[0][0], 0)  # the second time nothing is encoded and nothing decoded


def test_cached_images_are_the_decoded_ones_and_follow_the_content(adapter, make_sample, tmp_path):
    sample = make_sample(22, 2)
    store = DiskCache(tmp_path, 1 << 24)
    plainly = load_images(sample, adapter.images, StageClock(adapter.device))
    for _ in range(2):
        cached = load_cached(sample, adapter.images, store)
        assert (cached.file_sizes, cached.full) == (plainly.file_sizes, plainly.full)
        assert all(np.array_equal(a, b) for a, b in zip(cached.pixels, plainly.pixels, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(cached.files(), plainly.files(), strict=True))
    other = make_sample(23, 2)
    moved = replace(sample, images=(other.images[0], sample.images[1]))
    assert store.misses == 2
    load_cached(moved, adapter.images, store)
    assert store.misses == 3
    load_cached(sample, replace(adapter.images, max_pixels=adapter.images.max_pixels // 4), store)
    assert store.misses == 5  # other limits of the processor are other pixels


def test_a_bad_file_is_the_same_failed_sample_with_a_cache(tmp_path, adapter):
    store = DiskCache(tmp_path / "c", 1 << 20)
    (tmp_path / "bad.png").write_bytes(b"no image")
    for name in ("bad.png", "absent.png"):
        sample = Sample("s", (tmp_path / name,), "q", {})
        with pytest.raises(SampleError) as cached:
            load_cached(sample, adapter.images, store)
        with pytest.raises(SampleError) as plainly:
            load_images(sample, adapter.images, StageClock(adapter.device))
        assert (cached.value.reason, str(cached.value)) == (plainly.value.reason, str(plainly.value))


def test_the_key_of_an_output_holds_everything_that_changes_it(adapter):
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(2)]
    mask = np.ones((2, 3), bool)
    mask[0, 0] = False
    base = vit_key(adapter, pixels, [None, None], 0, ())
    assert base == vit_key(adapter, [p.copy() for p in pixels], [None, None], 0, ())
    changed = pixels[0].copy()
    changed[0, 0, 0] ^= 1
    others = [
        vit_key(adapter, [changed, pixels[1]], [None, None], 0, ()),
        vit_key(adapter, pixels[::-1], [None] * 2, 0, ()),
        vit_key(adapter, [pixels[0].reshape(96, 64, 3), pixels[1]], [None, None], 0, ()),
        vit_key(adapter, pixels, [mask, None], 0, ()),
        vit_key(adapter, pixels, [None, mask], 0, ()),
        vit_key(adapter, pixels, [mask, None], 1, ()),
        vit_key(adapter, pixels, [None] * 2, 0, ("encoder_keys:-1",)),
        vit_key(adapter, pixels[:1], [None], 0, ()),
    ]
    assert len({base, *others}) == len(others) + 1


def test_another_model_type_or_number_of_threads_is_another_key(adapter):
    from .support import tiny_model

    pixels = [np.zeros((64, 64, 3), np.uint8)]
    keys = {vit_key(adapter, pixels, [None], 0, ())}
    other = tiny_model(seed=1)
    other.identity = {"fingerprint": "other weights"}
    keys.add(vit_key(other, pixels, [None], 0, ()))
    half = tiny_model()
    half.model.to(torch.bfloat16)
    keys.add(vit_key(half, pixels, [None], 0, ()))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        keys.add(vit_key(adapter, pixels, [None], 0, ()))
    finally:
        torch.set_num_threads(before)
    assert len(keys) == 4


def test_outputs_keep_their_levels_and_extras(adapter):
    from vtprune_eval.models.base import Encoded

    levels = tuple(torch.randn(3, 4) for _ in range(11))
    encoded = Encoded(torch.randn(3, 4), levels, {"encoder_keys:-1": torch.ones(3)})
    back = unpacked(packed(encoded), torch.device("cpu"))
    assert torch.equal(back.tokens, encoded.tokens)
    assert all(torch.equal(a, b) for a, b in zip(back.deepstack, encoded.deepstack, strict=True))
    assert back.extras.keys() == encoded.extras.keys()
