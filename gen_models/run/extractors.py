"""What words on the command line stand for: extractors of features, such as `classifier:RUN`."""

from collections.abc import Callable, Mapping

from gen_models.errors import unknown
from gen_models.features.classifier import classifier_features
from gen_models.features.efficientnet_lite0 import efficientnet_lite0_features
from gen_models.features.extractor import Extractor, NetworkExtractor, digest
from gen_models.features.inception import inception_features
from gen_models.features.squeezenet import squeezenet_features
from gen_models.run.restore import load_run


def extractor_of(words: str) -> Extractor:
    """The extractor that these words name: `KIND:PLACE`, or `KIND` where it needs none.

    Raises:
      ValueError, OSError, ImportError: there is no such kind, a place is missing or given in vain, or it holds no such
        network.
    """
    kind, _, place = words.partition(":")
    kinds = {**_WITH_PLACE, **_ALONE}
    if kind not in kinds:
        raise unknown("network for --features", kind, kinds)
    if kind in _ALONE:
        if place:
            raise ValueError(f"--features {words}: {kind} takes no place, leave out {':' + place!r}")
        return _ALONE[kind]()
    what, make = _WITH_PLACE[kind]
    if not place:
        raise ValueError(f"--features {words}: say where it is, {kind}:{what}")
    return make(place)


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


# Kind -> what stands behind its colon, and the function of that.
_WITH_PLACE: Mapping[str, tuple[str, Callable[[str], Extractor]]] = {
    "classifier": ("RUN", classifier_of_run),
    "squeezenet": ("FILE", squeezenet_features),
    "inception": ("FILE", inception_features),
}
_ALONE: Mapping[str, Callable[[], Extractor]] = {"efficientnet_lite0": efficientnet_lite0_features}
