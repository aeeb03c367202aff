"""Serves `TokenDecoder`: every token of a grid becomes a tile of one colour.

    python examples/python-decoder/decoder.py --like 127.0.0.1:50053 --address 127.0.0.1:50063

`--like` names a decoder that is running. Its grid, its codes and its pictures' size are taken over, and each code gets
the mean colour of the picture in which that decoder shows it alone. `--palette` spares that question, which costs as
many pictures as there are codes: colours are then spread over the hues.
"""

import argparse
import colorsys
import hashlib
import struct
import sys
import zlib
from concurrent import futures
from pathlib import Path

import grpc

# Messages and stubs are made from the contract now; no generated file has to be kept.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "proto"))
messages, services = grpc.protos_and_services("clipgen/v1/token_decoder.proto")
pictures = grpc.protos("clipgen/v1/image.proto")
tokens = grpc.protos("clipgen/v1/tokens.proto")

MAX_GRIDS, MAX_PARTIALS, AT_ONCE = 256, 16, 64
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def mean_colours(stub, size):
    """(K) bytes of red, green, blue: pictures of one code each, asked of another decoder."""
    length = size.grid_height * size.grid_width

    def grids(first, count):
        options = messages.DecodeOptions(candidates=count, first_candidate=first, format=pictures.IMAGE_FORMAT_RGB8)
        yield messages.DecodeRequest(options=options)
        for position in range(length):
            codes = range(first, first + count)
            event = tokens.TokenEvent(first_candidate=first, position=position, tokens=codes)
            yield messages.DecodeRequest(tokens=event)

    colours = [b""] * size.codebook_size
    for first in range(0, size.codebook_size, AT_ONCE):
        count = min(AT_ONCE, size.codebook_size - first)
        for answer in stub.Decode(grids(first, count)):
            data = answer.image.data
            mean = (round(sum(data[channel::3]) * 3 / len(data)) for channel in range(3))
            colours[answer.candidate] = bytes(mean)
    return colours


def palette(count):
    """(K) colours whose hues are a golden angle apart: neighbouring codes look different."""
    spread = (colorsys.hls_to_rgb(i * 0.618034 % 1, 0.3 + 0.4 * i / count, 0.7) for i in range(count))
    return [bytes(round(255 * channel) for channel in colour) for colour in spread]


def png(width, height, rgb):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + rgb[y * width * 3 : (y + 1) * width * 3] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class TileDecoder(services.TokenDecoderServicer):
    def __init__(self, name, size, colours):
        self.size, self.colours = size, colours
        self.length = size.grid_height * size.grid_width
        self.described = messages.GetDecoderResponse()
        self.described.CopyFrom(size)
        self.described.name = name
        self.described.can_encode = False
        self.described.weights_sha256 = hashlib.sha256(b"".join(colours)).hexdigest()

    def GetDecoder(self, request, context):
        return self.described

    def Decode(self, requests, context):
        options, grids, due = None, {}, []
        for request in requests:
            kind = request.WhichOneof("message")
            if kind != ("tokens" if options else "options"):
                context.abort(INVALID, "message must be options first, then tokens")
            if kind == "options":
                options = request.options
                keys = [
                    (condition, options.first_candidate + i)
                    for condition in range(options.conditions or 1)
                    for i in range(options.candidates or 1)
                ][: MAX_GRIDS + 1]
                if len(keys) > MAX_GRIDS or options.partial_images > MAX_PARTIALS:
                    context.abort(INVALID, f"at most {MAX_GRIDS} grids, {MAX_PARTIALS} partial images")
                if options.format not in (0, pictures.IMAGE_FORMAT_RGB8, pictures.IMAGE_FORMAT_PNG):
                    context.abort(grpc.StatusCode.UNIMPLEMENTED, "format must be RGB8 or PNG")
                grids = {key: [] for key in keys}
                pieces = options.partial_images + 1
                due = [round((i + 1) * self.length / pieces) for i in range(options.partial_images)]
                continue
            event = request.tokens
            positions = event.positions or 1
            if len(event.tokens) % positions:
                context.abort(INVALID, f"tokens must be as many for each of {positions} positions")
            together = len(event.tokens) // positions
            for i, token in enumerate(event.tokens):
                position, candidate = event.position + i // together, event.first_candidate + i % together
                grid = grids.get((event.condition, candidate))
                if grid is None or len(grid) != position or len(grid) == self.length:
                    context.abort(INVALID, f"position {position} of candidate {candidate} is out of order")
                if token >= self.size.codebook_size:
                    context.abort(INVALID, f"tokens must be in [0, {self.size.codebook_size}); got {token}")
                grid.append(token)
                answer = messages.DecodeResponse(condition=event.condition, candidate=candidate)
                if len(grid) < self.length:
                    if len(grid) not in due:
                        continue
                    answer.partial.index = due.index(len(grid))
                    answer.partial.positions = len(grid)
                self.draw(grid, options.format, answer.image)
                yield answer
        if options is None or any(len(grid) < self.length for grid in grids.values()):
            context.abort(INVALID, "tokens must fill every grid before the stream ends")

    def draw(self, grid, layout, image):
        size = self.size
        full = grid + grid[-1:] * (self.length - len(grid))  # what is to come shows the last code
        across, down = size.image_width // size.grid_width, size.image_height // size.grid_height
        rows = (full[y * size.grid_width : (y + 1) * size.grid_width] for y in range(size.grid_height))
        rgb = b"".join(b"".join(self.colours[token] * across for token in row) * down for row in rows)
        image.width, image.height = size.image_width, size.image_height
        image.format = layout or pictures.IMAGE_FORMAT_PNG
        image.data = rgb if image.format == pictures.IMAGE_FORMAT_RGB8 else png(image.width, image.height, rgb)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--like", default="127.0.0.1:50053", help="a decoder that is running")
    options.add_argument("--address", default="127.0.0.1:50063", help="where to listen; port 0 for any free one")
    options.add_argument("--palette", action="store_true", help="colours of no meaning, at no cost")
    given = options.parse_args()

    with grpc.insecure_channel(given.like) as channel:
        stub = services.TokenDecoderStub(channel)
        size = stub.GetDecoder(messages.GetDecoderRequest(), wait_for_ready=True, timeout=60)
        colours = palette(size.codebook_size) if given.palette else mean_colours(stub, size)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    services.add_TokenDecoderServicer_to_server(TileDecoder("tiles", size, colours), server)
    port = server.add_insecure_port(given.address)
    server.start()
    print(f"{len(colours)} colours, listening on port {port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except grpc.RpcError as error:  # of the decoder that --like names
        sys.exit(f"--like: {error.code().name}: {error.details()}")
