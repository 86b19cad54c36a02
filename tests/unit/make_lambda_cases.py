# SPDX-License-Identifier: Apache-2.0
"""Writes data/lambda_cases.json: functions as Keras stores them in a Lambda, and the operations that they stand for.

    make_lambda_cases.py PYTHON [PYTHON …]      interpreters of CPython, such as python2.7 python3.8 python3.13

Each interpreter compiles the sources below. The expected operations are written by hand, once for all versions. Python 3.5 comes
from a hand-made code object."""
import json
import os
import struct
import subprocess
import sys

T = {"tensor": 0}
U = {"tensor": 1}


def cut(start=None, stop=None, step=None):
    return {"class_name": "__slice__", "config": {"start": start, "step": step, "stop": stop}}


ELLIPSIS = {"class_name": "__ellipsis__", "config": {}}


def op(name, *args, **config):
    return "%s %s %s" % (name, json.dumps(args, sort_keys=True), json.dumps(config, sort_keys=True))


# source, expected operations (or the words of the refusal), what Keras stores beside the code
CASES = [
    ("lambda x: x / 127.5 - 1.0", [op("TrueDivide", T, 127.5), op("Subtract", T, 1.0)], {}),
    ("lambda x: x ** 2", [op("Power", T, 2)], {}),
    ("lambda x: 3 * x", [op("Multiply", 3, T)], {}),
    ("lambda x: -x + 1", [op("Negative", T), op("Add", T, 1)], {}),
    ("lambda x: x // 2 % 3.0", [op("FloorDivide", T, 2), op("Mod", T, 3.0)], {}),
    ("lambda x: x > 0.5", [op("Greater", T, 0.5)], {}),
    ("lambda x: 2 <= x", [op("LessEqual", 2, T)], {}),
    ("lambda x: x[:, ::-1, ::-1]", [op("GetItem", T, [cut(), cut(step=-1), cut(step=-1)])], {}),
    ("lambda x: x[:, 0]", [op("GetItem", T, [cut(), 0])], {}),
    ("lambda x: x[:, 1:3]", [op("GetItem", T, [cut(), cut(1, 3)])], {}),
    ("lambda x: x[1:]", [op("GetItem", T, cut(1))], {}),
    ("lambda x: x[..., None]", [op("GetItem", T, [ELLIPSIS, None])], {}),
    ("lambda x: K.mean(x, axis=1)", [op("Mean", T, axis=1, keepdims=False)], {}),
    ("lambda x: tf.reduce_max(x, axis=1)[:, 0]",
     [op("Max", T, axis=1, keepdims=False, initial=None), op("GetItem", T, [cut(), 0])], {}),
    ("lambda x: tf.nn.relu(x)", [op("Relu", T)], {}),
    ("lambda x: tf.keras.backend.exp(x)", [op("Exp", T)], {}),
    ("lambda x: keras.ops.softmax(x, axis=1)", [op("Softmax", T, axis=1)], {}),
    ("lambda x: np.pi * x", [op("Multiply", 3.14159265358979, T)], {}),
    ("lambda x: x * (1.0 / 4)", [op("Multiply", T, 0.25)], {}),
    ("lambda x, scale: x * scale", [op("Multiply", T, 0.5)], {"arguments": {"scale": 0.5}}),
    ("lambda x, s=2.0: x * s", [op("Multiply", T, 2.0)], {"defaults": [2.0]}),
    ("(lambda n: lambda x: x + n)(20)", [op("Add", T, 20)], {"closure": [20]}),
    ("lambda t: K.abs(t[0] - t[1])", [op("Subtract", T, U), op("Absolute", T)], {"inputs": 2}),
    ("lambda x: (lambda y, k=3: y * k)(x) + 1", [op("Multiply", T, 3), op("Add", T, 1)], {}),
    ("lambda x: (lambda y: y + x)(x * 2)", [op("Multiply", T, 2), op("Add", T, U)], {}),
    ("lambda *t: t[0] * 2", [op("Multiply", T, 2)], {}),
    ("lambda x: K.reshape(x, (-1, K.int_shape(x)[1] * 3))", [op("Reshape", T, newshape=[-1, 18])], {}),
    ("lambda x: K.reshape(x, (K.shape(x)[0], 18))", [op("Reshape", T, newshape=[-1, 18])], {}),
    ("lambda x: tf.reshape(x, [-1, x.shape[1] * x.shape[2]])", [op("Reshape", T, newshape=[-1, 18])], {}),
    ("lambda x: x * 2 if x is not None else x", [op("Multiply", T, 2)], {}),
    ("lambda x: x * 2 if len(x.shape) == 3 else x", [op("Multiply", T, 2)], {}),
    ("lambda x: K.concatenate([x, x], axis=-1)", [op("Concatenate", [T, U], axis=-1)], {}),
    ("lambda x: tf.split(x, 3, axis=2)[1] * 1.5",
     [op("Split", T, axis=2, indices_or_sections=3), op("Multiply", T, 1.5)], {}),
    ("lambda x: tf.cast(x > 0, tf.float32)", [op("Greater", T, 0), op("Cast", T, dtype="float32")], {}),
    ("lambda x: K.tile(x, [1] + [2] + [1])", [op("Tile", T, repeats=[1, 2, 1])], {}),
    ("lambda x: K.relu(x, max_value=6)", [op("Relu6", T)], {}),
    ("lambda x: x", [op("Copy", T)], {}),
    ("lambda x: sum([x * k for k in range(3)])", "is not supported", {}),
    ("lambda x: helper(x)", "uses the name \"helper\"", {}),
    ("lambda x: open('secret')", "uses the name \"open\"", {}),
    ("lambda x: x if K.sum(x) > 0 else -x", "branches on what only the input tells", {}),
    ("lambda x: K.dropout(x, 0.5)", "calls keras.backend.dropout", {}),
    ("lambda x: tf.reduce_sum(x, bogus=1)", "with the argument \"bogus\"", {}),
    ("lambda x, y: x", "arguments that do not fit", {}),
    ("lambda x: __import__('os').system('true')", "uses the name \"__import__\"", {}),
    ("lambda x: x.evil()", "uses the attribute \"evil\"", {}),
]

WORKER = """
import base64, json, marshal, sys
out = []
for source in json.load(sys.stdin):
    f = eval(source)
    out.append(base64.b64encode(marshal.dumps(f.__code__)).decode('ascii'))
print(json.dumps(['%d.%d' % sys.version_info[:2], out]))
"""


def marshal35():
    """lambda x: x / 127.5 - 1.0 as CPython 3.5 compiles it."""
    def text(s):
        return b"z" + bytes([len(s)]) + s.encode()

    code = bytes([124, 0, 0, 100, 1, 0, 27, 100, 2, 0, 24, 83])
    parts = b"c" + struct.pack("<5i", 1, 0, 1, 2, 67) + b"s" + struct.pack("<i", len(code)) + code
    parts += b")\x03N" + b"g" + struct.pack("<d", 127.5) + b"g" + struct.pack("<d", 1.0) + b")\x00"
    parts += b")\x01" + text("x") + b")\x00" + b")\x00" + text("m.py") + text("<lambda>") + struct.pack("<i", 1)
    return parts + b"s" + struct.pack("<i", 0)


def main():
    import base64
    result = []
    for python in sys.argv[1:]:
        sources = [c[0] for c in CASES]
        done = subprocess.run([python, "-c", WORKER], input=json.dumps(sources).encode(), capture_output=True, check=True)
        version, codes = json.loads(done.stdout.decode())
        result += [(version, case, code) for case, code in zip(CASES, codes)]
    result.append(("3.5", CASES[0], base64.b64encode(marshal35()).decode()))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "lambda_cases.json")
    with open(path, "w") as out:
        out.write("[\n")
        lines = []
        for version, (source, expected, beside), code in result:
            case = dict(beside, python=version, source=source, code=code)
            case["refused" if isinstance(expected, str) else "operations"] = expected
            lines.append(json.dumps(case, sort_keys=True))
        out.write(",\n".join(lines) + "\n]\n")


main()
