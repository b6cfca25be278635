"""Makes tests.onnx: a graph of the contract of Silero VAD v5 and v6 whose output can be worked out by hand.

use: contract.py tests.onnx   (needs onnx)

level = mean |input| + half of what the state carries; output = sigmoid(40 level - 4); stateN = level everywhere.
"""
import sys
import onnx
from onnx import TensorProto, helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
value = helper.make_tensor_value_info
inputs = [value("input", FLOAT, ["batch", 576]), value("state", FLOAT, [2, "batch", 128]), value("sr", INT64, [])]
outputs = [value("output", FLOAT, ["batch", 1]), value("stateN", FLOAT, [2, "batch", 128])]
const = lambda name, values, kind, dims: helper.make_tensor(name, kind, dims, values)
init = [const("axis1", [1], INT64, [1]), const("axis0", [0], INT64, [1]), const("axis02", [0, 2], INT64, [2]), const("half", [0.5], FLOAT, [1]),
        const("slope", [40.0], FLOAT, [1]), const("shift", [-4.0], FLOAT, [1]), const("zero", [0.0], FLOAT, [1]),
        const("rate", [16000], INT64, [])]
node = helper.make_node
nodes = [node("Abs", ["input"], ["abs"]), node("ReduceMean", ["abs", "axis1"], ["mean"], keepdims=1),
         node("ReduceMean", ["state", "axis02"], ["carried"], keepdims=0), node("Unsqueeze", ["carried", "axis1"], ["column"]),
         node("Mul", ["column", "half"], ["kept"]), node("Add", ["mean", "kept"], ["level"]),
         # A wrong rate makes every level wrong.
         node("Div", ["sr", "rate"], ["ratio"]), node("Cast", ["ratio"], ["scale"], to=FLOAT), node("Mul", ["level", "scale"], ["heard"]),
         node("Mul", ["heard", "slope"], ["sloped"]), node("Add", ["sloped", "shift"], ["shifted"]), node("Sigmoid", ["shifted"], ["output"]),
         node("Mul", ["state", "zero"], ["empty"]), node("Unsqueeze", ["heard", "axis0"], ["lifted"]), node("Add", ["empty", "lifted"], ["stateN"])]
model = helper.make_model(helper.make_graph(nodes, "vad", inputs, outputs, init), opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
onnx.checker.check_model(model)
onnx.save(model, sys.argv[1])
