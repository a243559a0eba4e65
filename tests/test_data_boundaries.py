"""Photographs with boundaries: the archive's layout, crops that keep both together, and what is drawn here."""

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from gen_models.data.boundaries import (
    boundary_crops,
    boundary_splits,
    drawn_boundary_splits,
    drawn_photographs,
    marks_of,
    with_share,
)
from gen_models.evaluation.boundaries import boundary_counts, boundary_scores
from gen_models.run import cli, config
from gen_models.run.experiments import find


@pytest.fixture
def archive(tmp_path):
    """BSDS500's layout: two photographs a part, of which the second is upright, with two and three annotators."""
    drawn = drawn_photographs(6, side=(24, 32), seed=4)
    root = tmp_path / "BSR" / "BSDS500" / "data"
    for number, part in enumerate(("train", "val", "test")):
        images, truth = root / "images" / part, root / "groundTruth" / part
        images.mkdir(parents=True)
        truth.mkdir(parents=True)
        for upright in (0, 1):
            index = 2 * number + upright
            x, marks = drawn["x"][index], marks_of(drawn["boundaries"][index], 2 + upright)
            if upright:
                x, marks = x.swapaxes(0, 1), marks.swapaxes(1, 2)
            Image.fromarray(x).save(images / f"{index}.jpg", quality=100)
            cells = np.empty((1, len(marks)), object)
            for a, own in enumerate(marks):
                cells[0, a] = {"Segmentation": own.astype(np.uint16), "Boundaries": own.astype(np.uint8)}
            savemat(truth / f"{index}.mat", {"groundTruth": cells})
    return tmp_path, drawn


def test_the_archive_is_read(archive):
    folder, drawn = archive
    splits = boundary_splits(folder, crop=16)
    assert [len(part) for part in (splits.train, splits.held_out, splits.test)] == [2, 2, 2]
    for number, part in enumerate((splits.train, splits.held_out, splits.test)):
        assert part.arrays["annotators"].tolist() == [2, 3] and part.arrays["x"].shape == (2, 24, 32, 3)
        for upright in (0, 1):
            index = 2 * number + upright
            kept = drawn["boundaries"][index] & (2 ** (2 + upright) - 1)
            np.testing.assert_array_equal(part.arrays["boundaries"][upright], kept)
            assert np.abs(part.arrays["x"][upright].astype(int) - drawn["x"][index]).mean() < 12  # lossy colours
    both = boundary_splits(folder / "BSR", crop=16, train_split="train+validation")
    assert len(both.train) == 4 and both.held_out is both.test
    np.testing.assert_array_equal(both.train.arrays["x"][2:], splits.held_out.arrays["x"])
    truth = folder / "BSR/BSDS500/data/groundTruth"
    (truth / "val" / "2.mat").write_bytes(b"no file of MATLAB" * 20)
    with pytest.raises(ValueError, match=r"2\.mat is no file of BSDS500's boundaries"):
        boundary_splits(folder, crop=16)
    (truth / "val" / "2.mat").unlink()
    with pytest.raises(ValueError, match=r"2\.mat is not there: every photograph needs its boundaries"):
        boundary_splits(folder, crop=16)
    truth.rename(folder / "elsewhere")
    with pytest.raises(ValueError, match="has images but no folder groundTruth"):
        boundary_splits(folder, crop=16)
    with pytest.raises(ValueError, match="has no folder images"):
        boundary_splits(folder / "elsewhere")


@pytest.mark.slow
def test_the_recipe_runs_from_the_archive_to_figures(archive, tmp_path):
    experiment = find("boundaries")
    words = ["--steps", "2", "--crop", "16", "--batch-size", "2", "--thresholds", "3", "--network.channels", "4", "4"]
    own = ["--data-dir", str(archive[0]), "--run-dir", str(tmp_path / "run"), "--warmup-steps", "0"]
    assert cli.main(experiment, ["bsds500", *words, *own]) == config.FINISHED
    assert (tmp_path / "run" / "samples" / "boundaries.png").is_file()
    assert cli.main(experiment, ["bsds500", "--run-dir", str(tmp_path / "other")]) == config.BAD_INPUT


def test_crops_keep_pixels_and_shares_together():
    """Where a photograph's red is its share, so is each crop's; corners and symmetries are drawn."""
    draw = np.random.default_rng(0)
    batch = {
        "x": np.zeros((64, 6, 9, 3), np.uint8),
        "boundaries": draw.integers(2**5, size=(64, 6, 9)).astype(np.uint16),
        "annotators": np.full(64, 5, np.int32),
    }
    share = np.stack([marks_of(own, 5).mean(0) for own in batch["boundaries"]])
    batch["x"][..., 0] = np.rint(255 * share)
    np.testing.assert_allclose(with_share(batch)["share"], share, rtol=1e-6)
    cut = jax.jit(boundary_crops(4, (6, 9)))(batch, jax.random.key(0))
    assert cut["x"].shape == (64, 4, 4, 3) and cut["share"].shape == (64, 4, 4) and "boundaries" not in cut
    np.testing.assert_allclose(cut["x"][..., 0], cut["share"], atol=1e-6)
    seen = set()
    for whole, own in zip(share, np.asarray(cut["share"]), strict=True):
        turned = [(k, flip, np.rot90(own[::-1] if flip else own, k)) for k in range(4) for flip in (0, 1)]
        places = [
            (top, left, k, flip)
            for top in range(3)
            for left in range(6)
            for k, flip, square in turned
            if np.allclose(whole[top : top + 4, left : left + 4], square, atol=1e-6)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert {(k, flip) for *_, k, flip in seen} == {(k, flip) for k in range(4) for flip in (0, 1)}
    assert {top for top, *_ in seen} == set(range(3)) and {left for _, left, *_ in seen} == set(range(6))
    with pytest.raises(ValueError, match="crop must be 1 to 6, the shorter side of the photographs, got 7"):
        boundary_crops(7, (6, 9))


def test_drawn_photographs_have_the_boundaries_that_are_seen():
    """Colours differ across what is marked; annotators agree but for what some leave out."""
    drawn = drawn_photographs(12, side=(60, 80), annotators=4, seed=1)
    again = drawn_photographs(12, side=(60, 80), annotators=4, seed=1)
    assert all((drawn[name] == again[name]).all() for name in drawn)
    x, counts = drawn["x"].astype(float), []
    for image, bits in zip(x, drawn["boundaries"], strict=True):
        marks = marks_of(bits, 4)
        steps = np.abs(image[4:, 2:-2] - image[:-4, 2:-2]).mean(-1)  # of pixels two above and two below
        marked = marks.any(0)[2:-2, 2:-2]
        assert steps[marked].mean() > 1.5 * steps[~marked].mean()
        counts += [
            boundary_counts(own.astype(float), marks[:1], np.array([0.5]), tolerance=0.0101) for own in marks[1:]
        ]
    assert 0.75 < boundary_scores(counts, np.array([0.5])).ods < 0.99
    splits = drawn_boundary_splits(3, side=24, crop=16)
    assert [len(part) for part in (splits.train, splits.held_out, splits.test)] == [3, 40, 40]
    with pytest.raises(ValueError, match="1 to 16 annotators must be positive, got 1"):
        drawn_photographs(1, annotators=17)
