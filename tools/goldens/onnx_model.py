"""The golden of libs/onnx-proto: a small model as the onnx package writes it.

    pip install onnx
    python tools/goldens/onnx_model.py
"""

from pathlib import Path

from onnx import TensorProto, checker, helper, numpy_helper, save_model
import numpy as np

PATH = Path(__file__).resolve().parents[2] / "libs" / "onnx-proto" / "goldens" / "python.onnx"


def main() -> None:
    bias = numpy_helper.from_array(np.array([1, -10], dtype=np.float32), "bias")
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "bias"], ["sum"], name="add"),
            helper.make_node("LeakyRelu", ["sum"], ["y"], alpha=0.5),
            helper.make_node("Constant", [], ["unused"], value_ints=[2**62 + 1, -(2**63), 0]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 2])],
        [bias],
    )
    model = helper.make_model(
        graph, ir_version=9, producer_name="clip-gen", opset_imports=[helper.make_opsetid("", 17)]
    )
    checker.check_model(model, full_check=True)
    PATH.parent.mkdir(exist_ok=True)
    save_model(model, PATH)
    print(f"{PATH.name}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
