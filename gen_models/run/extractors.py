"""What words on the command line stand for: extractors of features, such as `classifier` or `squeezenet:FILE`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from gen_models.errors import unknown
from gen_models.features.classifier import classifier_features
from gen_models.features.efficientnet_lite0 import efficientnet_lite0_features
from gen_models.features.extractor import Extractor, NetworkExtractor, digest
from gen_models.features.inception import inception_features
from gen_models.features.squeezenet import squeezenet_features
from gen_models.machine import user_cache
from gen_models.run.own_classifier import classifier_of_data
from gen_models.run.restore import Loaded, load_run


def extractor_of(words: str, of: Loaded | None = None, folder: Path | None = None) -> Extractor:
    """The extractor that these words name: `KIND:PLACE`, or `KIND` where it needs none.

    Args:
      words: of the command line.
      of: the run that is measured, whose data `classifier` alone is of; it is trained where it is not there yet.
      folder: in which that one is kept; None: the project's in the user's cache directory.

    Raises:
      ValueError, OSError, ImportError: there is no such kind, a place is missing or given in vain, or it holds no such
        network; or there can be no classifier of the run's data.
    """
    check_words(words)
    kind, _, place = words.partition(":")
    if kind in _ALONE:
        return _ALONE[kind]()
    if place:
        return _WITH_PLACE[kind][1](place)
    if of is None:
        raise ValueError(f"{words} alone is of a run's data: give the run, or say where it is, classifier:RUN")
    return classifier_of_data(of, _kept_in(folder))


def check_words(words: str) -> None:
    """Refuse words that name no extractor, before anything is read.

    Raises:
      ValueError: there is no such kind, or a place is missing or given in vain.
    """
    kind, _, place = words.partition(":")
    kinds = {**_WITH_PLACE, **_ALONE}
    if kind not in kinds:
        raise unknown("network for --features", kind, kinds)
    if kind in _ALONE and place:
        raise ValueError(f"--features {words}: {kind} takes no place, leave out {':' + place!r}")
    if kind in _WITH_PLACE and not place and words != OF_DATA:
        raise ValueError(f"--features {words}: say where it is, {kind}:{_WITH_PLACE[kind][0]}")


def _kept_in(folder: Path | None) -> Path:
    """The folder of classifiers.

    Raises:
      OSError: none is given, and there is no cache directory that can be written.
    """
    found = user_cache() if folder is None else folder
    if found is None:
        raise OSError("there is no cache directory that can be written, to keep the classifier in: give --keep DIR")
    return found


def classifier_of_run(folder: str) -> NetworkExtractor:
    """The features of a finished run of a classifier, such as one of `experiments.classifier`.

    Raises:
      ValueError, OSError, ImportError: as `load_run`, or its model is no classifier of images.
    """
    found = load_run(folder)
    trained = found.job.trained(found.state)
    own = f"{digest((trained.params, trained.stats))} of a run on {found.job.data.name}"
    try:
        return classifier_features(
            trained.model, trained.params, trained.stats, tuple(found.job.data.shape), weights=own
        )
    except ValueError as error:
        raise ValueError(f"{folder} is no run of a classifier of images: {error}") from error


OF_DATA = "classifier"  # the words that stand for a classifier of the run's own data
# Kind -> what stands behind its colon, and the function of that.
_WITH_PLACE: Mapping[str, tuple[str, Callable[[str], Extractor]]] = {
    "classifier": ("RUN", classifier_of_run),
    "squeezenet": ("FILE", squeezenet_features),
    "inception": ("FILE", inception_features),
}
_ALONE: Mapping[str, Callable[[], Extractor]] = {"efficientnet_lite0": efficientnet_lite0_features}
