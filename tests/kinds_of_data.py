"""Small data of every kind that is read from files: each function writes some and returns their name."""

import json
import wave

import numpy as np
from PIL import Image

TEXT = "the quick brown fox\njumps over\n\nthe lazy dög\n" * 12


def write_text(root):
    (root / "t.txt").write_text(TEXT, encoding="utf-8")
    return f"tokens:{root / 't.txt'}?length=8"


def write_lines(root):
    (root / "n.txt").write_text("\n".join(["emma", "olivia", "ava", "li", "bo"] * 6), encoding="utf-8")
    return f"tokens:{root / 'n.txt'}?documents=lines&length=5"


def write_wave(path, samples, *, rate=8000, width=2, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


def write_waves(root):
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("test", 3)):
        for word in ("no", "yes"):
            for i in range(count):
                write_wave(root / "a" / split / word / f"{i}.wav", rng.integers(-9, 9, 10 + i))
    return f"audio:{root / 'a'}"


def write_clips(root):
    rng = np.random.default_rng(0)
    offset = np.cumsum([0, *rng.integers(3, 9, 40)])
    labels = {"digit": np.arange(40) // 4, "take": np.tile(np.arange(4) * 3, 10)}
    np.savez(root / "c.npz", audio=rng.integers(-99, 99, offset[-1]).astype(np.int16), offset=offset, **labels)
    return f"audio:{root / 'c.npz'}"


def write_table(root):
    rng = np.random.default_rng(0)
    rows = [f"{rng.normal():.3f},{'' if i % 7 == 0 else i},{'rg'[i % 2]},{'ab?'[i % 3]}" for i in range(40)]
    (root / "t.csv").write_text("\n".join(["width,height,colour,class", *rows]))
    return f"table:{root / 't.csv'}?target=colour"


def write_series(root):
    values = np.random.default_rng(0).normal(size=(60, 3))
    lines = ["time,a,b,c", *(f"day {i}," + ",".join(f"{v:.4f}" for v in row) for i, row in enumerate(values))]
    (root / "s.csv").write_text("\n".join(lines))
    return f"series:{root / 's.csv'}?look_back=5&horizon=2"


def write_points(root):
    np.savez(root / "p.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 4)
    return f"points:{root / 'p.npz'}"


def write_pairs(root):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for side, shape in (("x", (4, 5)), ("y", (8, 10, 3))):
            (root / "q" / split / side).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, shape).astype(np.uint8)
                Image.fromarray(pixels).save(root / "q" / split / side / f"{i}.png")
    return f"pairs:{root / 'q'}"


def write_boxes(root):
    (root / "images").mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]}
    for i in range(20):
        Image.new("RGB", (12, 10), (i, 0, 0)).save(root / "images" / f"{i}.png")
        content["images"].append({"id": 100 + i, "file_name": f"{i}.png"})
        for j in range(i % 3):
            left, top, wide, high = 1 + j, 2, 6, 4 + j
            corners = [left, top, left + wide, top, left + wide, top + high, left, top + high]
            content["annotations"].append(
                {
                    "image_id": 100 + i,
                    "category_id": (3, 7)[j],
                    "bbox": [left, top, wide, high],
                    "segmentation": [corners],
                }
            )
    (root / "b.json").write_text(json.dumps(content))
    return f"boxes:{root / 'b.json'}?masks=1"


WRITERS = {
    "tokens": write_text,
    "lines": write_lines,
    "waves": write_waves,
    "clips": write_clips,
    "table": write_table,
    "series": write_series,
    "points": write_points,
    "pairs": write_pairs,
    "boxes": write_boxes,
}
