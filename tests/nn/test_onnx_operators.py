"""Every operator against ONNX Runtime, which is another implementation."""

from typing import Any

import numpy
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from spacy_torch.architectures.onnx_model import read_graph
from spacy_torch.nn.onnx_graph import OnnxGraph
from spacy_torch.nn.onnx_operators import OPERATORS

RANDOM = numpy.random.default_rng(0)
A, B = (RANDOM.normal(size=(3, 4)).astype("float32") for _ in range(2))
CUBE = RANDOM.normal(size=(2, 3, 8)).astype("float32")
IMAGE = RANDOM.normal(size=(2, 4, 7, 6)).astype("float32")
POSITIVE = numpy.abs(A) + 0.1
TRUE = A > 0


def ints(*values: int) -> numpy.ndarray:
    return numpy.array(values, dtype="int64")


def floats(*shape: int) -> numpy.ndarray:
    return RANDOM.normal(size=shape).astype("float32")


UNARY = ["Abs", "Cos", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"]
UNARY += ["Elu", "Neg", "Relu", "Sigmoid", "Sin", "Softplus", "Tanh", "Dropout", "LogSoftmax"]
UNARY += ["Softmax", "Flatten", "Shape", "Transpose", "Reciprocal"]
BINARY = ["Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min"]
BINARY += ["Mul", "Sub", "Sum"]
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    *((name, [A], {}) for name in UNARY),
    *((name, [A, B], {}) for name in BINARY),
    *((name, [POSITIVE], {}) for name in ("Log", "Sqrt")),
    ("And", [TRUE, ~TRUE], {}),
    ("Or", [TRUE, ~TRUE], {}),
    ("Not", [TRUE], {}),
    ("Pow", [POSITIVE, B], {}),
    ("Div", [ints(7, -7, 8), ints(2, 2, -3)], {}),
    ("Max", [A, B, A * B], {}),
    ("Softmax", [CUBE], {"axis": 1}),
    ("Gelu", [A], {"approximate": "tanh"}),
    ("Cast", [A], {"to": TensorProto.INT64}),
    ("Cast", [TRUE], {"to": TensorProto.FLOAT}),
    ("Clip", [A, numpy.float32(-0.5), numpy.float32(0.5)], {}),
    ("Clip", [A, None, numpy.float32(0.5)], {}),
    ("Concat", [A, B], {"axis": 1}),
    ("ConstantOfShape", [ints(2, 3)], {}),
    (
        "ConstantOfShape",
        [ints(2)],
        {"value": numpy_helper.from_array(numpy.array([5], dtype="int64"))},
    ),
    ("BatchNormalization", [CUBE, floats(3), floats(3), floats(3), floats(3) ** 2], {}),
    ("LayerNormalization", [CUBE, floats(8), floats(8)], {}),
    ("LayerNormalization", [CUBE, floats(3, 8)], {"axis": 1, "epsilon": 0.1}),
    ("Conv", [CUBE, floats(5, 3, 2), floats(5)], {"pads": [1, 0], "strides": [2]}),
    ("Conv", [IMAGE, floats(6, 2, 3, 2)], {"group": 2, "pads": [1, 2, 0, 1], "dilations": [1, 2]}),
    ("MaxPool", [IMAGE], {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    ("MaxPool", [CUBE], {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}),
    ("GlobalAveragePool", [IMAGE], {}),
    ("GlobalMaxPool", [IMAGE], {}),
    ("Expand", [floats(3, 1), ints(2, 1, 4)], {}),
    ("Flatten", [IMAGE], {"axis": -2}),
    ("Gather", [A, ints(0, -1)], {"axis": 1}),
    ("Gather", [A, numpy.array([[0, 2], [1, -1]])], {}),
    ("Gemm", [A, B.T.copy(), floats(3)], {"alpha": 0.5, "beta": 2.0}),
    ("Gemm", [A, B], {"transA": 1}),
    ("Gemm", [A, B], {"transB": 1}),
    ("MatMul", [CUBE, floats(8, 2)], {}),
    ("Range", [numpy.int64(1), numpy.int64(9), numpy.int64(3)], {}),
    *(("Reduce" + kind, [CUBE, ints(1, -1)], {}) for kind in ("Max", "Mean", "Min", "Sum")),
    ("ReduceMean", [CUBE], {"keepdims": 0}),
    ("ReduceSum", [CUBE], {"noop_with_empty_axes": 1}),
    ("Reshape", [CUBE, ints(0, -1, 4)], {}),
    ("Shape", [CUBE], {"start": 1, "end": -1}),
    ("Slice", [CUBE, ints(1, -3), ints(3, 100), ints(1, 2)], {}),
    ("Slice", [CUBE, ints(-1), ints(-(2**31)), ints(2), ints(-2)], {}),
    ("Slice", [A, ints(1), ints(2)], {}),
    ("Split", [CUBE, ints(2, 6)], {"axis": 2}),
    ("Split", [CUBE], {"axis": 2, "num_outputs": 2}),
    ("Squeeze", [floats(1, 3, 1), ints(-1)], {}),
    ("Squeeze", [floats(1, 3, 1)], {}),
    ("Tile", [A, ints(2, 1)], {}),
    ("Transpose", [CUBE], {"perm": [1, 2, 0]}),
    ("Unsqueeze", [A, ints(0, -1)], {}),
    ("Where", [TRUE, A, B], {}),
]


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
def test_operator_gives_what_onnx_runtime_gives(operator, inputs, attributes, tmp_path):
    """All inputs are initializers, which become weights and constants; one is an input."""
    outputs = ["y0", "y1"] if operator == "Split" else ["y0"]
    names = ["" if value is None else f"x{number}" for number, value in enumerate(inputs)]
    given = [(n, v) for n, v in zip(names, inputs, strict=True) if v is not None]
    tensors = [numpy_helper.from_array(numpy.asarray(value), name) for name, value in given]
    zero = helper.make_tensor_value_info("unused", TensorProto.FLOAT, ["batch"])
    kind = _type_of(operator, inputs, attributes)
    node = helper.make_node(operator, names, outputs, **attributes)
    unused = numpy.zeros(1, dtype="float32")
    expected: list[Any] = []
    for _ in range(2):  # without the shapes of the outputs, and with them
        shapes = [value.shape for value in expected] or [None] * len(outputs)
        results = [
            helper.make_tensor_value_info(name, kind, shape)
            for name, shape in zip(outputs, shapes, strict=True)
        ]
        graph = helper.make_graph([node], "g", [zero], results, tensors)
        opset = helper.make_opsetid("", 20)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        expected = session.run(None, {"unused": unused})
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    structure, weights = read_graph(path)
    structure.pop("width")
    module = OnnxGraph(**structure)
    for name, ours in module.names.items():
        getattr(module, ours).data.copy_(weights[name])
    found = module(torch.from_numpy(unused))
    found = found if isinstance(found, tuple) else (found,)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left.detach(), torch.from_numpy(right), atol=1e-5, rtol=1e-5)


def _type_of(operator: str, inputs: list[Any], attributes: dict[str, Any]) -> int:
    if operator == "Cast":
        return attributes["to"]
    if operator in {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}:
        return TensorProto.BOOL
    if operator == "Shape":
        return TensorProto.INT64
    if operator == "ConstantOfShape":
        return TensorProto.INT64 if attributes else TensorProto.FLOAT
    if operator == "Where":
        return TensorProto.FLOAT
    return helper.np_dtype_to_tensor_dtype(numpy.asarray(inputs[0]).dtype)


def test_every_operator_is_tested():
    assert {name for name, *_ in CASES} == OPERATORS.keys()


def test_padding_that_is_not_written_out_is_refused():
    with pytest.raises(ValueError, match="auto_pad 'SAME_UPPER' is not known here: write the pads"):
        OPERATORS["Conv"]([torch.ones(1, 1, 4), torch.ones(1, 1, 2)], {"auto_pad": "SAME_UPPER"})
