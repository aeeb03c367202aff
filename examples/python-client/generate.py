"""Draws pictures over gRPC, showing how far they are.

    python examples/python-client/generate.py "a slice of pizza" -n 2 --seed 7 --out out/python

Partial pictures are saved as `partial-0.png`, …, final ones as `0.png`, …, best first.
"""

import argparse
import sys
from pathlib import Path

import grpc

# Messages and stubs are made from the contract now; no generated file has to be kept.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "proto"))
messages, services = grpc.protos_and_services("clipgen/v1/image_generation.proto")
pictures = grpc.protos("clipgen/v1/image.proto")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("prompt")
    options.add_argument("-n", type=int, default=1, help="pictures to keep")
    options.add_argument("--candidates", type=int, help="pictures to choose from; the server's default unless given")
    options.add_argument("--seed", type=int, help="random unless given")
    options.add_argument("--decoder", default="", help="one of ListDecoders; the server's default unless given")
    options.add_argument("--partial-decoder", default="", help="of the unfinished pictures; a preview where there is one")
    options.add_argument("--gateway", default="127.0.0.1:50050")
    options.add_argument("--key", help="where the gateway wants one")
    options.add_argument("--out", type=Path, default=Path("out/python"))
    given = options.parse_args()

    request = messages.GenerateRequest(
        prompt=given.prompt,
        n=given.n,
        candidates=given.candidates,
        seed=given.seed,
        decoder=given.decoder,
        partial_decoder=given.partial_decoder,
        partial_images=3,
        format=pictures.IMAGE_FORMAT_PNG,
    )
    metadata = [("authorization", f"Bearer {given.key}")] if given.key else None
    given.out.mkdir(parents=True, exist_ok=True)
    with grpc.insecure_channel(given.gateway) as channel:
        stub = services.ImageGenerationStub(channel)
        try:
            for answer in stub.Generate(request, timeout=300, metadata=metadata):
                show(answer, given.out)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")


def show(answer, out):
    kind = answer.WhichOneof("event")
    if kind == "accepted":
        print(f"seed {answer.accepted.seed}, {answer.accepted.candidates} candidates")
    elif kind == "progress":
        now = answer.progress
        share = now.tokens / now.tokens_total
        bar = "█" * round(30 * share)
        print(f"\r{bar:·<30} {share:4.0%}, {now.images} of {now.images_total} judged", end="", file=sys.stderr)
    elif kind == "partial":
        (out / f"partial-{answer.partial.index}.png").write_bytes(answer.partial.image.data)
    elif kind == "image":
        if answer.image.rank == 0:
            print(file=sys.stderr)  # ends the line of the bar
        file = out / f"{answer.image.rank}.png"
        file.write_bytes(answer.image.image.data)
        print(f"{file}  score {answer.image.score:.3f}  candidate {answer.image.candidate}")
    elif kind == "finished":
        print(f"{answer.finished.total_ms / 1000:.1f} s")


if __name__ == "__main__":
    main()
