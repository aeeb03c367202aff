"""The golden of libs/tensorboard, and a look at event files through TensorBoard's own reader.

    pip install tensorboard
    python tools/goldens/check_tensorboard.py            write the golden, read it back
    python tools/goldens/check_tensorboard.py FOLDER     read the event files of FOLDER and print what they hold

The golden is written with TensorBoard's messages and record writer. The library's test holds its writer to these bytes.
"""

import struct
import sys
import tempfile
import zlib
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

FOLDER = Path(__file__).resolve().parents[2] / "libs" / "tensorboard" / "goldens"
WALL_TIME = 1_700_000_000.25
ALL = {"scalars": 0, "images": 0, "tensors": 0}  # keep every event, not a sample


def png(width: int, height: int, rgb: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + rgb[y * width * 3 : (y + 1) * width * 3] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PIXELS = png(2, 1, bytes([255, 0, 0, 0, 0, 255]))


def events() -> list[Event]:
    def event(step: int, *values: Summary.Value) -> Event:
        return Event(wall_time=WALL_TIME, step=step, summary=Summary(value=values))

    value = Summary.Value
    text = TensorProto(
        dtype=DT_STRING,
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        string_val=["**ein** Bär".encode()],
    )
    plugin = SummaryMetadata.PluginData(plugin_name="text")
    image = Summary.Image(height=1, width=2, colorspace=3, encoded_image_string=PIXELS)
    return [
        Event(wall_time=WALL_TIME, file_version="brain.Event:2"),
        event(0, value(tag="train/loss", simple_value=1.5)),
        event(1, value(tag="train/loss", simple_value=0), value(tag="train/rate", simple_value=-1e-4)),
        event(300, value(tag="train/loss", simple_value=float("nan"))),
        event(2**40, value(tag="pixels", image=image)),
        event(
            7,
            value(
                tag="caption",
                tensor=text,
                metadata=SummaryMetadata(plugin_data=plugin, data_class=DATA_CLASS_TENSOR),
            ),
        ),
    ]


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance=ALL)
    accumulator.Reload()
    return accumulator


def show(folder: Path) -> None:
    accumulator = read(folder)
    tags = accumulator.Tags()
    for tag in tags["scalars"]:
        points = accumulator.Scalars(tag)
        print(f"scalar {tag}: {len(points)} points, last {points[-1].value} at step {points[-1].step}")
    for tag in tags["images"]:
        images = accumulator.Images(tag)
        print(f"image {tag}: {len(images)} pictures, last {images[-1].width} x {images[-1].height}")
    for tag in tags["tensors"]:
        points = accumulator.Tensors(tag)
        plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
        print(f"{plugin} {tag}: {len(points)}, last {list(points[-1].tensor_proto.string_val)}")


def make_golden() -> None:
    (FOLDER / "pixels.png").write_bytes(PIXELS)
    path = FOLDER / "tensorboard.events"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in events():
            writer.write(event.SerializeToString())
        writer.flush()

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "events.out.tfevents.0").write_bytes(path.read_bytes())
        accumulator = read(Path(folder))
        loss = [(point.step, point.value, point.wall_time) for point in accumulator.Scalars("train/loss")]
        assert loss[:2] == [(0, 1.5, WALL_TIME), (1, 0.0, WALL_TIME)] and loss[2][0] == 300, loss
        (picture,) = accumulator.Images("pixels")
        assert (picture.width, picture.height, picture.step) == (2, 1, 2**40), picture
        assert picture.encoded_image_string == PIXELS
        (caption,) = accumulator.Tensors("caption")
        assert caption.tensor_proto.string_val[0].decode() == "**ein** Bär"
        show(Path(folder))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        show(Path(sys.argv[1]))
    else:
        make_golden()
