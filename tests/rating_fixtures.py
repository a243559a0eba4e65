"""Fixtures of the tests of `tools.rate`, which name this file as a plug-in: folders of images, and a session."""

import pytest
from rating_server import write_images
from rating_session import begun


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three folders of generated images, and one of real ones: all read-only."""
    top = tmp_path_factory.mktemp("images")
    counts = {"alpha": 30, "beta": 30, "gamma": 30, "photos": 60}
    made = {name: write_images(top / name, count, seed) for seed, (name, count) in enumerate(counts.items())}
    for folder in made.values():
        folder.chmod(0o555)
    yield made
    for folder in made.values():
        folder.chmod(0o755)


# Answers


@pytest.fixture
def small(folders, tmp_path):
    """A session's folder and plan, of 40 questions."""
    out = tmp_path / "session"
    return out, begun(out, folders["alpha"], "--real", folders["photos"], "--images", 20)
