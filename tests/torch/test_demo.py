"""The room's demo, with a network too small to draw well."""

import torch

from mcstat.torch import _demo


def test_the_demo_runs_and_keeps_its_network(monkeypatch, tmp_path):
    monkeypatch.setattr(_demo, "_WIDTH", 16)
    monkeypatch.setattr(_demo, "_N_ITER", 30)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = torch.get_rng_state()
    section = _demo.run()
    assert torch.equal(torch.get_rng_state(), before)
    assert "that law has mean 4.196" in section.text
    assert [type(item).__name__ for item in section.items].count("Figure") == 3
    assert _demo._cache_file().parent == tmp_path / "mcstat"
    monkeypatch.setattr(_demo, "train_denoiser", None)
    images, labels = _demo.digits_data()
    assert _demo._network(images, labels).fn.settings["width"] == 16
