"""Prepare a data set for `gen_models.data.load`, without TensorFlow.

python -m tools.prepare_data mnist --raw-dir RAW --data-dir DIR    # from the original files in RAW, without a network
python -m tools.prepare_data mnist --data-dir DIR                  # downloads them

TFDS's registered sizes and SHA-256 are verified. The result is TFDS's own format (array_record, lossless), in the order
of the original files. MNIST and Fashion-MNIST need no preparation where DIR/NAME holds the four original IDX files.

The original files, by the names that TFDS registers:
  mnist, fashion_mnist   {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz
  cifar10, cifar100      cifar-10-binary.tar.gz, cifar-100-binary.tar.gz
  celeb_a                img_align_celeba.zip, list_eval_partition.txt, list_attr_celeba.txt,
                         list_landmarks_align_celeba.txt, identity_CelebA.txt
  lsun (bedrooms)        bedroom_{train,val}_lmdb.zip: 46 GB, the same again while it is unpacked; pip install lmdb
  imagenet_resized (64)  Imagenet64_{train_part1,train_part2,val}_npz.zip
"""

import argparse
import signal
import sys

from gen_models.data.sources import TFDS_NAMES
from gen_models.errors import unknown
from gen_models.run import cli


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; TFDS is imported only after it has been understood."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help=", ".join(TFDS_NAMES))
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="folder of prepared data sets; made if absent")
    parser.add_argument("--raw-dir", metavar="RAW", help="folder of the original files; without it they are downloaded")
    options = parser.parse_args(arguments)
    if options.name not in TFDS_NAMES:
        parser.error(str(unknown("data set", options.name, TFDS_NAMES)))
    return options


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 where the data set is ready, 1 with a message where it could not be made."""
    options = parse(arguments)
    try:
        from gen_models.data.tfds_builders import prepare

        folder = prepare(options.name, options.data_dir, options.raw_dir)
    except ImportError as error:
        print(f"error: {error}: pip install 'gen_models[data]'", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.name} is ready in {folder}")
    return 0


if __name__ == "__main__":
    # As an exception, so that what was unpacked is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cli.guard(main)
