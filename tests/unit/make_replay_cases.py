#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/replay_cases.json: small calls of every operation of core/torch/ops.def and what the real torch makes of them.

test_replay.c runs the same calls through replay_node. The calls are made from the columns of ops.def, so this also shows that
module names, function names and attribute names there are those of torch. Needs torch; run it after changing ops.def or the
cases below. A case whose "output" is missing is one that torch refuses.
"""
import ast
import json
import operator
import pathlib
import re

import torch
import torch.nn.functional as F
from torch import nn

HERE = pathlib.Path(__file__).parent
ROW = re.compile(r'^OP\((\w+), (\w+), (NULL|"[^"]*"), (NULL|"[^"]*"), "([^"]*)"\)$', re.M)
OPS = {
    m[1]: (m[2], None if m[3] == "NULL" else m[3][1:-1], None if m[4] == "NULL" else m[4][1:-1], m[5].split())
    for m in ROW.finditer((HERE / "../../core/torch/ops.def").read_text())
}
OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow, "%": operator.mod, "//": operator.floordiv,
    "==": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "<<": operator.lshift, ">>": operator.rshift, "|": operator.or_, "&": operator.and_, "^": operator.xor,
}
WITH_WEIGHT = ("LINEAR", "EMBEDDING")  # functions of these take the weight as an input
generator = torch.Generator().manual_seed(20240607)
cases = []


class Size:
    """A size that is read from dim `dim` of the input."""

    def __init__(self, dim):
        self.dim = dim


def rand(*shape, low=-2.0, high=2.0):
    x = torch.rand(shape, generator=generator) * (high - low) + low
    return (x * 1000).round() / 1000


# The helpers that model.py brings along.
def same_padding(n, k, s, d):
    total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
    return total // 2, total - total // 2


def per_dim(value, x):
    return value if isinstance(value, tuple) else (value,) * (x.dim() - 2)


def pad_same(x, kernel_size, stride, dilation=1, value=0.0):
    k, s, d = per_dim(kernel_size, x), per_dim(stride, x), per_dim(dilation, x)
    pads = [same_padding(x.size(2 + i), k[i], s[i], d[i]) for i in range(x.dim() - 2)]
    return F.pad(x, [p for pair in reversed(pads) for p in pair], value=value)


def avg_pool_same(x, kernel_size, stride):
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[x.dim() - 2]
    sums = pool(pad_same(x, kernel_size, stride), kernel_size, stride)
    return sums / pool(pad_same(torch.ones_like(x), kernel_size, stride), kernel_size, stride)


def sparsemax(x, dim):
    z = x.movedim(dim, -1).sort(-1, descending=True).values
    sums = z.cumsum(-1)
    ranks = torch.arange(1, z.size(-1) + 1)
    support = z - (sums - 1) / ranks > 0
    count = support.sum(-1, keepdim=True)
    tau = ((sums * support).sum(-1, keepdim=True) - 1) / count  # as Keras has it
    return (x.movedim(dim, -1) - tau).clamp(min=0).movedim(-1, dim)


def band_mask(query, key, before=None, after=None):
    ahead = torch.arange(key.size(1))[None] - torch.arange(query.size(1))[:, None]
    return (ahead <= (10**6 if after is None else after)) & (-ahead <= (10**6 if before is None else before))


def model_helpers():
    """The functions and modules that write/python_helpers.c and python_cells.c put into model.py, made from their text."""
    write = HERE / "../../core/write"
    text = "".join((write / name).read_text() for name in ("python_helpers.c", "python_cells.c"))
    literals = re.findall(r'^ +("(?:[^"\\]|\\.)*")[,;}]*$', text, re.M)
    scope = {"torch": torch, "F": F, "nn": nn}
    exec("".join(ast.literal_eval(literal) for literal in literals), scope)
    return scope


HELPERS = model_helpers()


def find(name):
    if name in ("pad_same", "avg_pool_same", "sparsemax", "band_mask"):
        return globals()[name]
    if "." not in name:
        return HELPERS[name]
    scope, *path = name.split(".")
    found = {"nn": nn, "F": F, "torch": torch}[scope]
    for part in path:
        found = getattr(found, part)
    return found


def special(op, x, attrs):
    if op == "EINSUM":
        return torch.einsum(attrs["equation"], *x)
    if op in ("CAT", "STACK"):
        return find(OPS[op][2])(x, **attrs)
    if op == "INDEX_SELECT":
        return x[0][(slice(None),) * attrs["dim"] + (x[1],)]
    if op in ("SORT", "TOPK_VALUES"):
        return find(OPS[op][2])(x[0], **attrs).values
    if op == "TOPK_INDICES":
        return find(OPS[op][2])(x[0], **attrs).indices
    if op.startswith("SLOGDET_"):
        result = find(OPS[op][2])(*x)
        return result.sign if op == "SLOGDET_SIGN" else result.logabsdet
    if "FFT" in op:
        y = find(OPS[op][2])(torch.complex(*x) if len(x) == 2 else x[0], **attrs)
        return y.real if op.endswith("REAL") else y.imag if op.endswith("IMAG") else y
    if op == "SELECT":
        return x[0].select(attrs["dim"], attrs["index"])
    if op.endswith("_LIKE") and "times" in attrs:
        size = [n * t for n, t in zip(x[1].shape[2:], attrs["times"])]
        return find(OPS[op][2])(x[0], size=size, **{k: v for k, v in attrs.items() if k != "times"})
    if op == "UNFLATTEN_LIKE":
        return x[0].unflatten(0, x[1].shape[:2])
    if op == "SLICE":
        steps = attrs.get("step", (1,) * len(attrs["start"]))
        return x[0][tuple(slice(a, b or None, s) for a, b, s in zip(attrs["start"], attrs["stop"], steps))]
    operands = (attrs["value"], x[0]) if attrs.get("reflected") else (x[0], attrs["value"])
    return OPERATORS[OPS[op][2]](*operands)


def by_callee(op, x, attrs):
    kind, _, callee, words = OPS[op]
    attrs = dict(attrs)
    if op == "WHERE_NUMBER":
        return torch.where(*x, *attrs.values())
    if kind == "OPERATOR":
        return OPERATORS[callee](*x)
    if kind == "SPECIAL":
        return special(op, x, attrs)
    if kind == "METHOD":
        for name in ("dims", "sizes"):
            if "*" + name in words:
                return getattr(x[0], callee)(*(x[0].size(v.dim) if isinstance(v, Size) else v for v in attrs[name]))
        if op == "UNFLATTEN":
            return x[0].unflatten(attrs["dim"], attrs["unflattened_size"])
        if op == "CAST":
            return x[0].to(getattr(torch, attrs["dtype"]))
        return getattr(x[0], callee)(**attrs)
    if op == "FULL_LIKE" and "dtype" in attrs:
        attrs["dtype"] = getattr(torch, attrs["dtype"])
    return find(callee)(*x, **attrs)


def by_module(op, x, attrs):
    """The output and the module's parameters, filled at random."""
    attrs = {k: find(v) if k.endswith("activation") else v for k, v in attrs.items() if k != "masked"}
    module = find(OPS[op][1])(**attrs).eval()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(rand(*value.shape, low=0.2 if "var" in name else -1.0, high=1.5))
    if op == "LSTM" and len(x) == 3:
        x = x[0], x[1:]
    if op.endswith("_LOOP"):
        x, mask = list(x), None
        if x[1:] and x[1].dtype == torch.bool:
            mask = x.pop(1)
        state = tuple(x[1:]) if len(x) == 3 else x[1] if len(x) == 2 else None
        return module(x[0], mask, state), list(module.state_dict().values())
    return module(*x), list(module.state_dict().values())


def attr_json(name, value):
    if name == "sizes":
        return {"sizes": [[0, v.dim] if isinstance(v, Size) else [v, -1] for v in value]}
    return list(value) if isinstance(value, tuple) else value


def tensor_json(t):
    values = t.flatten().tolist()
    return {
        "shape": list(t.shape),
        "dtype": str(t.dtype).removeprefix("torch."),
        "data": [float(f"{v:.7g}") if isinstance(v, float) else int(v) for v in values],
    }


def add(op, *x, parameters=(), refused=False, **attrs):
    kind, module, callee, names = OPS[op]
    known = {n.lstrip("*!").split("=")[0] for n in names}
    assert set(attrs) <= known, (op, set(attrs) - known)
    record = {"op": op, "inputs": [tensor_json(t) for t in x]}
    record["attrs"] = {name: attr_json(name, value) for name, value in attrs.items()}
    with torch.no_grad():
        try:
            if op == "PARAMETER":
                y, parameters = parameters[0], list(parameters)
            elif module and not (op in WITH_WEIGHT and len(x) == 2):
                y, parameters = by_module(op, x, attrs)
                if callee and op not in WITH_WEIGHT:
                    torch.testing.assert_close(by_callee(op, x, attrs), y, rtol=0, atol=0, equal_nan=True)
            else:
                y = by_callee(op, x, attrs)
            assert not refused, op
            if isinstance(y, tuple):
                states = y[1] if isinstance(y[1], tuple) else y[1:]
                record["states"] = [tensor_json(t) for t in states]
                y = y[0]
            record["output"] = tensor_json(y)
        except (RuntimeError, IndexError, ValueError):
            if not refused:
                raise
            parameters = [rand(*p) for p in refused] if isinstance(refused, list) else []
    record["parameters"] = [tensor_json(p) for p in parameters]
    cases.append(record)


def convolutions():
    add("CONV1D", rand(2, 3, 9), in_channels=3, out_channels=4, kernel_size=3)
    add("CONV1D", rand(1, 4, 10), in_channels=4, out_channels=2, kernel_size=4, stride=3, padding=2, dilation=2, bias=False)
    add("CONV1D", rand(1, 3, 5), in_channels=3, out_channels=2, kernel_size=1)
    add("CONV1D", rand(1, 3, 7), in_channels=3, out_channels=6, kernel_size=3, groups=3, padding=1)
    add("CONV2D", rand(2, 3, 6, 5), in_channels=3, out_channels=4, kernel_size=(3, 2), padding=(1, 0))
    add("CONV2D", rand(1, 2, 9, 8), in_channels=2, out_channels=3, kernel_size=(2, 3), stride=(2, 1), padding=(0, 2), dilation=(3, 2))
    add("CONV2D", rand(2, 5, 3, 3), in_channels=5, out_channels=3, kernel_size=1, bias=False)
    add("CONV2D", rand(1, 5, 5, 4), in_channels=5, out_channels=3, kernel_size=1, stride=2)
    add("CONV2D", rand(1, 5, 3, 2), in_channels=5, out_channels=2, kernel_size=1, padding=1)
    add("CONV2D", rand(2, 4, 7, 6), in_channels=4, out_channels=8, kernel_size=3, stride=2, padding=1, groups=4)
    add("CONV2D", rand(1, 6, 6, 6), in_channels=6, out_channels=4, kernel_size=3, dilation=2, padding=2, groups=2)
    add("CONV2D", rand(1, 16, 4, 4), in_channels=16, out_channels=4, kernel_size=2, groups=2)
    add("CONV3D", rand(1, 2, 4, 5, 3), in_channels=2, out_channels=3, kernel_size=(2, 3, 1), stride=(1, 2, 1), padding=(1, 0, 1))
    add("CONV3D", rand(1, 2, 5, 4, 5), in_channels=2, out_channels=2, kernel_size=2, dilation=(2, 1, 3), groups=2)
    add("CONV3D", rand(1, 3, 2, 2, 3), in_channels=3, out_channels=2, kernel_size=1)
    add("CONV2D", rand(1, 3, 4, 4), in_channels=2, out_channels=2, kernel_size=3, refused=[(2, 2, 3, 3), (2,)])
    add("CONV2D", rand(1, 2, 2, 4), in_channels=2, out_channels=2, kernel_size=3, refused=[(2, 2, 3, 3), (2,)])
    add("CONV_TRANSPOSE1D", rand(2, 3, 5), in_channels=3, out_channels=2, kernel_size=3)
    add("CONV_TRANSPOSE1D", rand(1, 2, 4), in_channels=2, out_channels=3, kernel_size=4, stride=3, padding=1, output_padding=2, dilation=2)
    add("CONV_TRANSPOSE2D", rand(2, 2, 3, 4), in_channels=2, out_channels=3, kernel_size=(3, 2), stride=2, padding=(1, 0))
    add("CONV_TRANSPOSE2D", rand(1, 3, 3, 2), in_channels=3, out_channels=1, kernel_size=(2, 3), stride=(3, 2), output_padding=(1, 0), bias=False)
    add("CONV_TRANSPOSE2D", rand(1, 2, 3, 3), in_channels=2, out_channels=2, kernel_size=3, stride=1, padding=2, dilation=2)
    add("CONV_TRANSPOSE3D", rand(1, 2, 2, 3, 2), in_channels=2, out_channels=2, kernel_size=(2, 1, 3), stride=(2, 3, 1), padding=(0, 0, 1), output_padding=(1, 2, 0))
    add("CONV_TRANSPOSE2D", rand(1, 2, 1, 1), in_channels=2, out_channels=2, kernel_size=1, padding=1, refused=[(2, 2, 1, 1), (2,)])


def linear():
    add("PARAMETER", parameters=[rand(2, 3)])
    add("LINEAR", rand(3, 4), in_features=4, out_features=5)
    add("LINEAR", rand(1, 4), in_features=4, out_features=3)
    add("LINEAR", rand(2, 2, 3), in_features=3, out_features=2, bias=False)
    add("LINEAR", rand(6), in_features=6, out_features=2)
    add("LINEAR", rand(2, 3), in_features=4, out_features=2, refused=[(2, 4), (2,)])
    add("EMBEDDING", torch.tensor([[0, 3, 6], [2, 6, 1]]), num_embeddings=7, embedding_dim=3)
    add("EMBEDDING", torch.tensor([7]), num_embeddings=7, embedding_dim=2, refused=[(7, 2)])
    add("EMBEDDING", torch.tensor([-1]), num_embeddings=7, embedding_dim=2, refused=[(7, 2)])
    add("LINEAR", rand(2, 3, 4), rand(5, 4))
    add("EMBEDDING", torch.tensor([[0, 3], [2, 1]]), rand(4, 3))
    for a, b in [((2, 3), (3, 4)), ((2, 1, 3, 2), (4, 2, 3)), ((3,), (3,)), ((3,), (2, 3, 2)), ((2, 2, 3), (3,)), ((2, 2, 3), (3, 2)), ((1, 3), (2, 3, 1))]:
        add("MATMUL", rand(*a), rand(*b))
    add("MATMUL", rand(2, 3), rand(2, 3), refused=True)
    for equation, a, b in [("abc,cd->abd", (2, 3, 4), (4, 2)), ("bthd,bshd->bhts", (2, 3, 2, 4), (2, 2, 2, 4)), ("ab,cd->dacb", (2, 1), (3, 2)),
                           ("abc, cde -> abde", (1, 2, 3), (3, 2, 2)), ("abc,abc->", (2, 2, 2), (2, 2, 2)), ("ab,ab->ba", (2, 3), (2, 3)),
                           ("abc,dcb->ad", (2, 2, 3), (2, 3, 2)), ("aB,Ba->a", (2, 3), (3, 2)),
                           ("abc,cd->ad", (2, 3, 4), (4, 2)), ("abc,acde->abe", (2, 3, 2), (2, 2, 3, 2)), ("abc,de->a", (2, 3, 2), (2, 3))]:
        add("EINSUM", rand(*a), rand(*b), equation=equation)
    add("EINSUM", rand(2, 3), rand(2, 3), equation="ab,bc->ac", refused=True)


def normalisation():
    add("BATCH_NORM1D", rand(2, 3, 4), num_features=3)
    add("BATCH_NORM1D", rand(3, 4), num_features=4, eps=1e-3, momentum=0.01)
    add("BATCH_NORM2D", rand(2, 3, 2, 3), num_features=3, eps=1e-3)
    add("BATCH_NORM2D", rand(1, 2, 2, 2), num_features=2, affine=False)
    add("BATCH_NORM3D", rand(2, 2, 2, 1, 3), num_features=2)
    add("BATCH_NORM2D", rand(1, 2, 3), num_features=2, refused=[(2,), (2,), (2,), (2,), ()])
    add("BATCH_NORM2D", rand(1, 3, 2, 2), num_features=2, refused=[(2,), (2,), (2,), (2,), ()])
    add("LAYER_NORM", rand(2, 3, 5), normalized_shape=5)
    add("LAYER_NORM", rand(2, 3, 4), normalized_shape=(3, 4), eps=1e-2)
    add("LAYER_NORM", rand(3, 4) + 3, normalized_shape=(4,), elementwise_affine=False)
    add("LAYER_NORM", rand(3, 4), normalized_shape=(4,), bias=False)
    add("LAYER_NORM", rand(3, 4), normalized_shape=(3,), refused=[(3,), (3,)])
    add("GROUP_NORM", rand(2, 4, 3), num_groups=2, num_channels=4)
    add("GROUP_NORM", rand(2, 6, 2, 2), num_groups=3, num_channels=6, affine=False, eps=1e-3)
    add("GROUP_NORM", rand(2, 4), num_groups=1, num_channels=4)
    add("NORMALIZE", rand(2, 3, 2))
    add("NORMALIZE", rand(2, 3, 2), p=1.0, dim=-1)
    add("NORMALIZE", rand(2, 3, 2), p=3.0, dim=0)
    add("NORMALIZE", rand(2, 3, 2), dim=(1, 2), eps=4.0)
    add("NORMALIZE", torch.zeros(2, 3), dim=1)


def pooling():
    nan = rand(1, 1, 6)
    nan[0, 0, 2] = torch.nan
    add("MAX_POOL1D", nan, kernel_size=2)
    add("MAX_POOL1D", rand(2, 2, 7), kernel_size=3, stride=2, padding=1)
    add("MAX_POOL2D", rand(2, 2, 5, 6), kernel_size=2)
    add("MAX_POOL2D", rand(1, 2, 6, 5), kernel_size=(3, 2), stride=(1, 2), padding=(1, 0))
    add("MAX_POOL3D", rand(1, 2, 4, 3, 5), kernel_size=(2, 1, 3), stride=(2, 2, 1), padding=(1, 0, 1))
    add("MAX_POOL2D", rand(1, 1, 2, 2), kernel_size=3, stride=1, refused=True)
    add("MAX_POOL2D", rand(1, 1, 4, 4), kernel_size=2, stride=1, padding=2, refused=True)
    add("AVG_POOL1D", rand(2, 2, 7), kernel_size=3, stride=2, padding=1)
    add("AVG_POOL1D", rand(1, 2, 7), kernel_size=3, stride=2, padding=1, count_include_pad=False)
    add("AVG_POOL2D", rand(1, 2, 5, 6), kernel_size=(2, 3), stride=(2, 1))
    add("AVG_POOL2D", rand(1, 2, 5, 5), kernel_size=3, stride=2, padding=(1, 0), count_include_pad=False)
    add("AVG_POOL2D", rand(1, 2, 5, 5), kernel_size=2)
    add("AVG_POOL3D", rand(1, 2, 4, 3, 3), kernel_size=2, stride=(1, 2, 1), padding=1)
    add("AVG_POOL3D", rand(1, 1, 4, 3, 3), kernel_size=(2, 3, 2), stride=1, padding=(1, 1, 0), count_include_pad=False)
    for kind in ("AVG", "MAX"):
        add(f"ADAPTIVE_{kind}_POOL1D", rand(2, 2, 7), output_size=3)
        add(f"ADAPTIVE_{kind}_POOL2D", rand(1, 2, 5, 4), output_size=(3, 6))
        add(f"ADAPTIVE_{kind}_POOL2D", rand(1, 3, 3, 4), output_size=1)
        add(f"ADAPTIVE_{kind}_POOL3D", rand(1, 2, 3, 4, 2), output_size=(2, 3, 1))
    for x, k, s in [(rand(1, 2, 7), 3, 2), (rand(1, 1, 5, 6), (2, 3), (1, 2)), (rand(1, 1, 4, 5, 3), 2, 2), (rand(1, 1, 5, 5), 1, 3)]:
        add("AVG_POOL_SAME", x, kernel_size=k, stride=s)
        add("PAD_SAME", x, kernel_size=k, stride=s)
    add("PAD_SAME", rand(1, 2, 6), kernel_size=3, stride=1, dilation=2, value=-torch.inf)
    add("PAD_SAME", rand(1, 1, 6, 4), kernel_size=(3, 2), stride=1, dilation=(1, 3), value=1.5)


def shapes():
    add("PERMUTE", rand(2, 3, 4), dims=(2, 0, 1))
    add("PERMUTE", rand(2, 3, 2, 2), dims=(0, -1, 1, 2))
    add("PERMUTE", rand(2, 3), dims=(0, 0), refused=True)
    add("RESHAPE", rand(2, 3, 4), sizes=(4, 6))
    add("RESHAPE", rand(2, 3, 4), sizes=(Size(0), -1))
    add("RESHAPE", rand(2, 6, 4), sizes=(Size(0), 2, Size(2), -1))
    add("RESHAPE", rand(2, 3, 4), sizes=(5, -1), refused=True)
    add("RESHAPE", rand(2, 3, 4), sizes=(2, 3), refused=True)
    add("RESHAPE", rand(4), sizes=(-1, -1), refused=True)
    add("FLATTEN", rand(2, 3, 2, 2), start_dim=1)
    add("FLATTEN", rand(2, 3, 2, 2), start_dim=0, end_dim=-2)
    add("UNSQUEEZE", rand(2, 3), dim=1)
    add("UNSQUEEZE", rand(2, 3), dim=-1)
    add("SQUEEZE", rand(2, 1, 3), dim=1)
    add("SQUEEZE", rand(2, 1, 3), dim=-1)
    add("EXPAND", rand(2, 1, 3), sizes=(-1, 4, -1))
    add("EXPAND", rand(2, 1), sizes=(3, Size(0), 2))
    add("EXPAND", rand(2, 3), sizes=(2, 4), refused=True)
    add("REPEAT_INTERLEAVE", rand(2, 3, 2), repeats=2, dim=1)
    add("REPEAT_INTERLEAVE", rand(2, 3), repeats=3, dim=-1)
    add("PAD", rand(1, 2, 3), pad=(1, 2))
    add("PAD", rand(1, 2, 3, 4), pad=(0, 1, 2, 0), value=-1.5)
    add("PAD", rand(1, 2, 3, 4), pad=(-1, -2, 1, -1))
    add("PAD", rand(1, 2, 2, 1, 2), pad=(1, 1, 0, 2, 1, 0))
    add("SLICE", rand(2, 5, 6), start=(0, 1, 2), stop=(0, -2, 5))
    add("SLICE", rand(2, 5), start=(0, -3), stop=(9, 0))
    add("SLICE", rand(2, 3), start=(0, 2), stop=(0, 1))
    add("CAT", rand(2, 3), rand(2, 1), rand(2, 2), dim=1)
    add("CAT", rand(2, 3, 2), rand(2, 3, 2), dim=-3)
    add("CAT", rand(2, 3), torch.tensor([[1, 2, 3]]), dim=0)
    add("CAT", rand(2, 3), rand(3, 3), dim=1, refused=True)
    add("INTERPOLATE", rand(1, 2, 4), scale_factor=3)
    add("INTERPOLATE", rand(1, 2, 2, 3), scale_factor=2)
    add("INTERPOLATE", rand(1, 1, 2, 3), scale_factor=(3, 1), mode="nearest")
    add("INTERPOLATE", rand(1, 1, 2, 2, 2), scale_factor=(1, 2, 3))
    add("INTERPOLATE", torch.arange(9.0).reshape(1, 1, 9), scale_factor=41)
    add("INTERPOLATE", rand(1, 2, 3, 2), scale_factor=2, mode="bilinear")
    add("INTERPOLATE", rand(1, 1, 3, 4), scale_factor=(3, 2), mode="bilinear")
    for mode in ("bilinear", "nearest-exact"):
        add("INTERPOLATE_LIKE", rand(1, 2, 3, 2), rand(1, 1, 5, 4), times=(1, 1), mode=mode)
        add("INTERPOLATE_LIKE", rand(1, 1, 3, 2), rand(1, 3, 2, 1), times=(2, 3), mode=mode)
    add("RESIZE_LIKE", rand(1, 2, 4, 3), rand(1, 1, 2, 3), times=(3, 2), method="bicubic")
    add("RESIZE_LIKE", rand(1, 1, 5, 4), rand(1, 2, 3, 7), times=(1, 1), method="lanczos3", antialias=True)
    add("CLAHE", rand(1, 2, 8, 8, low=0.0, high=255.0), grid=(2, 4), clip_limit=4.0)
    add("CLAHE", rand(2, 1, 7, 9, low=-0.2, high=1.3), grid=(3, 2), clip_limit=1.5, high=1.0)
    add("CLAHE", rand(1, 1, 5, 6, low=-1.0, high=1.0), grid=(1, 2), clip_limit=0.0, low=-1.0, high=1.0)
    add("CLAHE", rand(1, 1, 2, 9), grid=(8, 8), clip_limit=4.0, refused=True)
    add("PIXEL_SHUFFLE", rand(2, 8, 2, 3), upscale_factor=2)
    add("PIXEL_SHUFFLE", rand(1, 9, 1, 2), upscale_factor=3)
    add("PIXEL_SHUFFLE", rand(1, 6, 1, 2), upscale_factor=2, refused=True)
    add("PIXEL_UNSHUFFLE", rand(2, 2, 4, 6), downscale_factor=2)
    add("PIXEL_UNSHUFFLE", rand(1, 1, 3, 6), downscale_factor=3)
    add("PIXEL_UNSHUFFLE", rand(1, 1, 3, 4), downscale_factor=2, refused=True)
    for dtype in ("int64", "int32", "bool", "float32"):
        add("CAST", torch.tensor([-1.7, -0.2, 0.0, 0.9, 2.5]), dtype=dtype)
    add("CAST", torch.tensor([0, 3]), dtype="float32")
    for op in ("DROPOUT", "DROPOUT1D", "DROPOUT2D", "DROPOUT3D", "ALPHA_DROPOUT"):
        add(op, rand(*(1, 2, 2, 2, 2)[: {"DROPOUT1D": 3, "DROPOUT2D": 4}.get(op, 5)]), p=0.4)


def arithmetic():
    shapes = [((2, 3), (2, 3)), ((2, 3, 2), (3, 1)), ((2, 3, 2, 2), (2, 1, 2, 1)), ((), (2, 2)), ((3, 1), (1, 4)), ((2, 3), (1,)), ((1, 1), (1,))]
    for op in ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM"):
        for a, b in shapes:
            add(op, rand(*a), rand(*b, low=0.1))
        add(op, rand(2, 3), rand(2, 2), refused=True)
        add(op, torch.tensor([1, -2, 3]), torch.tensor([4, 2, -1]))
        add(op, torch.tensor([1, -2, 3]), rand(3))
        add(op, torch.tensor([torch.nan, 1.0, torch.inf]), torch.tensor([1.0, torch.nan, -torch.inf]))
    for op in ("ADD_SCALAR", "MUL_SCALAR", "DIV_SCALAR", "GREATER_SCALAR", "NOT_EQUAL_SCALAR"):
        add(op, rand(2, 3), value=0.3)
        add(op, rand(2, 3), value=3)
        add(op, torch.tensor([1, -2, 3]), value=0.5)
        add(op, torch.tensor([1, -2, 3]), value=2)
    add("MUL_SCALAR", torch.tensor([True, False]), value=2)
    add("MUL", torch.tensor([True, False]), rand(2))
    add("CLAMP", rand(2, 4), min=-0.5)
    add("CLAMP", rand(2, 4), max=0.5)
    add("CLAMP", rand(2, 4), min=-1.0, max=0.25)
    x = rand(3, 4, low=-3.0, high=3.0)
    add("EXP", x)
    add("COS", x)
    add("SQRT", x.abs())
    add("RSQRT", x.abs() + 0.01)
    add("SQUARE", x)
    for op in ("SUM", "MEAN", "AMAX", "VAR"):
        add(op, rand(2, 3, 4), dim=1)
        add(op, rand(2, 3, 4), dim=-1, keepdim=True)
        add(op, rand(2, 3, 2, 2), dim=(2, 3))
        add(op, rand(2, 3, 2, 2), dim=(0, 2), keepdim=True)
        add(op, rand(2, 3, 2, 2), dim=(1, -1))
    add("VAR", rand(2, 3, 4) + 50, dim=(0, 2), correction=0)
    add("SUM", torch.tensor([[1, 2], [3, 4]]), dim=0)
    add("SUM", torch.tensor([[True, True], [False, True]]), dim=1)
    add("MEAN", torch.tensor([[1, 2], [3, 4]]), dim=0, refused=True)
    for op in ("LOGICAL_OR", "LOGICAL_AND"):
        add(op, rand(2, 3) > 0, rand(2, 3) > 0)
        add(op, rand(2, 1, 3) > 0, rand(2, 1) > 0)
    add("ANY", rand(2, 3) > 1, dim=-1)
    add("ANY", torch.tensor([[0.0, -1.0], [0.0, 0.0], [torch.nan, 0.0]]), dim=1, keepdim=True)
    add("AMAX", torch.tensor([[1.0, torch.nan], [3.0, 2.0]]), dim=1)
    add("SUM", rand(2, 3), dim=2, refused=True)


def activations():
    x = torch.cat([torch.tensor([0.0, -0.5, 0.5, 1.0, -1.0, 3.0, -3.0, 6.0, 25.0, -25.0, 100.0, -100.0]), rand(12, low=-4.0, high=8.0)])
    special_values = torch.tensor([torch.nan, torch.inf, -torch.inf])
    plain = """RELU RELU6 LEAKY_RELU ELU SELU CELU GELU SILU MISH SIGMOID TANH SOFTPLUS SOFTSIGN LOG_SIGMOID HARD_SIGMOID
               HARD_SWISH HARD_TANH HARD_SHRINK SOFT_SHRINK TANH_SHRINK""".split()
    for op in plain:
        add(op, x)
    for op in ("RELU", "RELU6", "LEAKY_RELU", "ELU", "SIGMOID", "TANH", "HARD_SIGMOID", "HARD_TANH", "SOFTPLUS"):
        add(op, special_values)
    add("LEAKY_RELU", x, negative_slope=0.3)
    add("ELU", x, alpha=0.7)
    add("CELU", x, alpha=1.7)
    add("GELU", x, approximate="tanh")
    add("HARD_SHRINK", x, lambd=1.0)
    add("SOFT_SHRINK", x, lambd=1.0)
    add("THRESHOLD", x, threshold=0.5, value=-2.0)
    add("PRELU", rand(2, 3, 2))
    add("PRELU", rand(2, 3, 2), num_parameters=3)
    add("PRELU", rand(4))
    add("PRELU", rand(2, 3, 2), num_parameters=2, refused=[(2,)])
    for op in ("SOFTMAX", "LOG_SOFTMAX"):
        add(op, rand(2, 4), dim=-1)
        add(op, rand(2, 3, 2), dim=1)
        add(op, torch.tensor([[1000.0, 999.0, -1000.0]]), dim=1)
    add("GLU", rand(2, 4))
    add("GLU", rand(2, 4, 3), dim=1)
    add("GLU", rand(2, 3), refused=True)
    add("SPARSEMAX", rand(2, 5), dim=-1)
    add("SPARSEMAX", rand(2, 4, 2), dim=1)
    add("SPARSEMAX", torch.tensor([[0.0, 0.0, 0.0], [9.0, 1.0, 8.5]]), dim=1)


def attention():
    heads = rand(2, 3, 4, 5), rand(2, 3, 6, 5), rand(2, 3, 6, 2)
    add("SCALED_DOT_PRODUCT_ATTENTION", *heads)
    add("SCALED_DOT_PRODUCT_ATTENTION", *heads, scale=1.0)
    add("SCALED_DOT_PRODUCT_ATTENTION", *heads, is_causal=True)
    add("SCALED_DOT_PRODUCT_ATTENTION", *heads, rand(2, 1, 4, 6))
    add("SCALED_DOT_PRODUCT_ATTENTION", *heads, torch.where(rand(2, 1, 1, 6) > 0, 0.0, -2.372671e38))
    add("SCALED_DOT_PRODUCT_ATTENTION", *heads, torch.full((4, 6), -2.372671e38), scale=0.3)
    add("SCALED_DOT_PRODUCT_ATTENTION", rand(2, 4, 3), rand(2, 1, 3), rand(2, 1, 3), is_causal=True)
    add("SCALED_DOT_PRODUCT_ATTENTION", rand(2, 4, 3), rand(2, 5, 3), rand(2, 6, 3), refused=True)
    add("BAND_MASK", rand(1, 4, 2), rand(1, 6, 2), after=0)
    add("BAND_MASK", rand(1, 5, 2), rand(1, 4, 2), before=1, after=1)
    add("BAND_MASK", rand(1, 5, 2), rand(1, 4), before=2)
    condition = rand(2, 1, 3) > 0
    add("WHERE", condition, rand(2, 4, 3), rand(3))
    add("WHERE_NUMBER", condition, rand(2, 4, 3), otherwise=-1e9)
    add("WHERE_NUMBER", condition, value=0.0, otherwise=-1e9)


def categories():
    ids = torch.tensor([[0, 3, -1], [4, 5, 2]])
    add("ONE_HOT", ids, num_classes=5)
    add("ONE_HOT", rand(2).round(), num_classes=2)
    bins = torch.tensor([-0.5, 0.0, 0.0, 1.25])
    at = torch.tensor([[-1.0, -0.5, 0.0], [1.0, 1.25, 9.0]])
    add("BUCKETIZE", at, bins)
    add("BUCKETIZE", at, bins, right=True)
    add("BUCKETIZE", rand(3, 2), torch.zeros(0), right=True)
    summary = torch.stack([rand(12).sort().values, rand(12, low=0.5, high=3.0)])
    for num_bins in (1, 2, 5, 12, 13, 49):
        add("BIN_BOUNDARIES", summary, num_bins=num_bins)
    tokens, indices = torch.tensor([-7, 0, 12, 36]), torch.tensor([3, 0, 5, 4])
    add("LOOKUP", torch.tensor([[12, 0, 5], [-7, -8, 36]]), tokens, indices, num_oov=3, first_oov=1)
    add("LOOKUP", torch.tensor([1, 36, 1000]), tokens, indices, first_oov=-1)
    add("TAKE", rand(2, 3), torch.tensor([[0, 5], [-1, 2]]))
    add("TAKE", rand(4), torch.tensor([4]), refused=True)


def images():
    for method in ("bilinear", "bicubic", "lanczos3", "lanczos5", "area", "gaussian", "mitchellcubic"):
        add("RESIZE", rand(1, 2, 4, 6), size=(7, 3), method=method)
        add("RESIZE", rand(1, 1, 6, 4), size=(3, 8), method=method)
    for method in ("bilinear", "bicubic", "lanczos3", "lanczos5"):
        add("RESIZE", rand(2, 1, 7, 5), size=(3, 8), method=method, antialias=True)
    for mode in ("nearest", "nearest-exact", "bilinear"):
        add("INTERPOLATE", rand(1, 2, 5, 4), size=(7, 3), mode=mode)
        add("INTERPOLATE", rand(1, 1, 6, 3), size=(3, 9), mode=mode)
    flat = rand(2, 3, 3, 4)
    flat[0, 1] = 0.25
    add("AUTO_CONTRAST", flat, dim=(2, 3), low=0.0, high=255.0)
    add("AUTO_CONTRAST", flat, dim=(1, 2), low=-1.0, high=1.0)
    add("UNFOLD", rand(2, 3, 5, 4), kernel_size=(2, 3))
    add("UNFOLD", rand(1, 2, 6, 5), kernel_size=2, dilation=(2, 1), padding=1, stride=(2, 3))
    add("UNFOLD", rand(1, 2, 2, 2), kernel_size=3, refused=True)


def sound():
    add("LOG", rand(2, 3, low=0.01, high=4.0))
    add("LOG", torch.tensor([0.0, -1.0, 1.0]))
    add("STFT_MAGNITUDE", rand(2, 20), rand(8, low=0.0, high=1.0), n_fft=8, hop_length=3)
    add("STFT_MAGNITUDE", rand(1, 9), rand(7, low=0.0, high=1.0), n_fft=7, hop_length=7)
    add("STFT_MAGNITUDE", rand(1, 4), rand(8), n_fft=8, hop_length=4, refused=True)


def recurrent():
    sizes = dict(input_size=3, hidden_size=2, batch_first=True)
    for op in ("LSTM", "GRU", "RNN"):
        add(op, rand(2, 5, 3), **sizes)
        add(op, rand(1, 1, 3), bias=False, **sizes)
        add(op, rand(2, 4, 3), bidirectional=True, **sizes)
    add("RNN", rand(2, 5, 3), nonlinearity="relu", **sizes)
    add("LSTM", rand(2, 3, 3), rand(1, 2, 2), rand(1, 2, 2), **sizes)
    add("GRU", rand(2, 3, 3), rand(2, 2, 2), bidirectional=True, **sizes)
    add("LSTM", rand(2, 5, 4), refused=True, **sizes)
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    sizes = dict(input_size=4, hidden_size=2)
    for op, states in (("LSTM_LOOP", 2), ("GRU_LOOP", 1), ("RNN_LOOP", 1)):
        first = [rand(3, 2) for _ in range(states)]
        add(op, rand(3, 5, 4), **sizes)
        add(op, rand(3, 5, 4), reverse=True, bias=False, **sizes)
        add(op, rand(3, 5, 4), mask, masked=True, **sizes)
        add(op, rand(3, 5, 4), mask, *first, masked=True, reverse=True, **sizes)
        add(op, rand(3, 5, 4), mask, masked=True, zero_output=True, **sizes)
        add(op, rand(3, 1, 4), *first, activation="linear", **sizes)
        add(op, rand(3, 5, 3), refused=True, **sizes)
    for function in sorted(f for f in re.findall(r'{"([\w.]+)", \w+}', (HERE / "../../core/torch/replay_loop.c").read_text())):
        add("RNN_LOOP", rand(2, 3, 4, low=-4.0, high=4.0), activation=function, **sizes)
    add("LSTM_LOOP", rand(1, 2, 4), activation="F.softsign", recurrent_activation="hard_sigmoid", **sizes)
    add("GRU_LOOP", rand(3, 5, 4), reset_after=False, **sizes)
    add("GRU_LOOP", rand(3, 5, 4), mask, reset_after=False, bias=False, recurrent_activation="F.hardsigmoid", masked=True, **sizes)
    add("CONV_LSTM_LOOP", rand(3, 5, 8, 6), mask, hidden_size=2, kernel_size=(4,), masked=True)
    add("CONV_LSTM_LOOP", rand(2, 3, 8, 4, 5), rand(2, 2, 4, 5), rand(2, 2, 4, 5), hidden_size=2, kernel_size=(3, 2), activation="F.relu")
    add("CONV_LSTM_LOOP", rand(2, 2, 8, 4, 5), hidden_size=2, kernel_size=(2, 4), pad_front=True)
    add("CONV_LSTM_LOOP", rand(1, 2, 4, 2, 3, 2), hidden_size=1, kernel_size=(1, 3, 2), recurrent_activation="hard_sigmoid", reverse=True)
    add("CONV_LSTM_LOOP", rand(2, 3, 9, 4, 5), hidden_size=2, kernel_size=(3, 3), refused=True)
    add("UNFLATTEN_LIKE", rand(6, 4), rand(2, 3, 5))
    add("UNFLATTEN_LIKE", rand(6), rand(3, 2))
    add("UNFLATTEN_LIKE", rand(6, 4), rand(2, 2, 5), refused=True)
    add("SELECT", rand(2, 3, 4), dim=1, index=-1)
    add("SELECT", rand(2, 3, 4), dim=0, index=1)
    add("UNFLATTEN", rand(2, 12, 3), dim=1, unflattened_size=(2, 3, 2))
    add("UNFLATTEN", rand(2, 6), dim=-1, unflattened_size=(-1, 3))
    add("UNFLATTEN", rand(2, 6), dim=-1, unflattened_size=(2, 2), refused=True)
    add("FLIP", rand(2, 3, 4), dims=(1,))
    add("FLIP", rand(2, 3), dims=(0, 1))


def operations():
    x = torch.cat([torch.tensor([0.0, -0.5, 0.5, 1.5, 2.5, -1.5, 3.0, -3.0, 1e-3]), rand(7, low=-4.0, high=4.0)])
    bounded = rand(2, 5, low=-0.95, high=0.95)
    for op in "ABS NEG SIGN EXP2 EXPM1 SIN TAN ATAN SINH COSH ASINH FLOOR CEIL TRUNC ROUND ERF ERFC DEG2RAD RAD2DEG SINC SIGNBIT LOGICAL_NOT RECIPROCAL".split():
        add(op, x)
    for op in "LOG LOG2 LOG10 LOG1P".split():
        add(op, x.abs() + 0.1)
    for op in "ASIN ACOS ATANH ERFINV".split():
        add(op, bounded)
    add("ACOSH", bounded.abs() + 1.5)
    special_values = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0, -0.0])
    for op in "ISNAN ISINF ISPOSINF ISNEGINF ISFINITE SIGNBIT NAN_TO_NUM".split():
        add(op, special_values)
    add("NAN_TO_NUM", special_values, nan=2.0, posinf=5.0, neginf=-6.0)
    add("ROUND", x, decimals=2)
    add("ROUND", x * 100, decimals=-1)
    for op in "ABS NEG SIGN BITWISE_NOT LOGICAL_NOT".split():
        add(op, torch.tensor([3, -2, 0]))
    add("BITWISE_NOT", torch.tensor([True, False]))
    shapes = [((2, 3), (2, 3)), ((2, 3, 2), (3, 1)), ((), (2, 2))]
    for op in "POW REMAINDER FMOD FMAX FMIN ATAN2 HYPOT HEAVISIDE LOGADDEXP LOGADDEXP2 EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL FLOOR_DIVIDE".split():
        for a, b in shapes:
            add(op, rand(*a, low=0.1), rand(*b))
        if op not in ("LOGADDEXP", "LOGADDEXP2", "HEAVISIDE", "HYPOT", "POW"):
            add(op, torch.tensor([7, -7, 7, -7]), torch.tensor([3, 3, -3, -3]))
    add("POW", torch.tensor([2, -3]), torch.tensor([3, 2]))
    for op in "LOGICAL_XOR BITWISE_AND BITWISE_OR BITWISE_XOR".split():
        add(op, rand(2, 3) > 0, rand(3) > 0)
    for op in "BITWISE_AND BITWISE_OR BITWISE_XOR".split():
        add(op, torch.tensor([6, -3, 12]), torch.tensor([3, 5, -1]))
    for op in "SUB POW REMAINDER FLOOR_DIVIDE EQUAL GREATER_EQUAL LESS LESS_EQUAL".split():
        for reflected in (False, True):
            more = {"reflected": True} if reflected else {}
            add(op + "_SCALAR", rand(2, 3, low=0.2), value=1.5, **more)
            add(op + "_SCALAR", torch.tensor([5, 3, 2]), value=2, **more)
    add("REMAINDER_SCALAR", torch.tensor([-5, 5, -6]), value=3)
    add("FLOOR_DIVIDE_SCALAR", torch.tensor([-5, 5, -6]), value=3)
    add("DIV_SCALAR", rand(3, low=0.5), value=2.0, reflected=True)
    add("WHERE", rand(2, 3) > 0, rand(2, 3), rand(3))
    add("WHERE", rand(2, 1, 3) > 0, rand(2, 1), torch.tensor(0.5))
    add("FULL_LIKE", rand(2, 2), fill_value=2.5)
    add("FULL_LIKE", rand(2, 2), fill_value=2, dtype="int32")
    for op in "AMIN PROD STD LOGSUMEXP".split():
        add(op, rand(2, 3, 4), dim=1)
        add(op, rand(2, 3, 4), dim=-1, keepdim=True)
    for op in "AMIN STD LOGSUMEXP VECTOR_NORM".split():
        add(op, rand(2, 3, 2, 2), dim=(1, 3))
    for op in "ARGMAX ARGMIN".split():
        add(op, rand(2, 3, 4), dim=1)
        add(op, torch.tensor([[1.0, 3.0, 3.0], [2.0, torch.nan, 5.0]]), dim=-1, keepdim=True)
    add("PROD", torch.tensor([[1, 2], [3, 4]]), dim=0)
    add("ALL", torch.tensor([[True, True], [False, True]]), dim=1)
    add("ALL", torch.tensor([[1.0, 0.0], [2.0, -1.0]]), dim=0, keepdim=True)
    for order in (1.0, 2.0, 3.0, torch.inf, -torch.inf):
        add("VECTOR_NORM", rand(2, 3, 4), ord=order, dim=-1)
    for q in (0.0, 0.3, 0.5, 1.0):
        add("QUANTILE", rand(2, 5, 3), q=q, dim=1)
    add("QUANTILE", rand(2, 4), q=0.7, dim=-1, keepdim=True)
    holes = rand(3, 5)
    holes[0], holes[1, ::2], holes[2, 1] = torch.nan, torch.nan, torch.inf
    for q in (0.0, 0.3, 0.5, 1.0):
        add("NANQUANTILE", holes, q=q, dim=1)
    add("NANQUANTILE", holes, q=0.25, dim=0, keepdim=True)
    ties = torch.tensor([[2.0, 1.0, 2.0, -1.0], [0.0, 3.0, 1.0, 3.0]])
    add("SORT", rand(2, 4, 3), dim=1)
    add("SORT", rand(2, 4), descending=True)
    add("ARGSORT", ties, dim=-1, stable=True)
    add("ARGSORT", rand(3, 4), dim=0, stable=True)
    for op in ("TOPK_VALUES", "TOPK_INDICES"):
        add(op, rand(2, 5), k=3)
        add(op, rand(2, 5, 3), k=2, dim=1)
    for op in ("CUMSUM", "CUMPROD"):
        add(op, rand(2, 4, 3), dim=1)
        add(op, torch.tensor([[1, 2, 3], [4, 5, 6]]), dim=-1)
    add("SLICE", rand(2, 7), start=(0, 1), stop=(0, 6), step=(1, 2))
    add("SLICE", rand(5, 4), start=(-4, 0), stop=(0, -1), step=(3, 2))
    add("ROLL", rand(2, 5), shifts=(2,), dims=(1,))
    add("ROLL", rand(3, 5), shifts=(-1, 7), dims=(0, 1))
    add("TILE", rand(2, 3), dims=(1, 2))
    add("TILE", rand(2, 3), dims=(2, 1, 2))
    add("TILE", rand(2, 3), dims=(2,))
    for op in ("TRIL", "TRIU"):
        for diagonal in (-1, 0, 1):
            add(op, rand(2, 3, 4), diagonal=diagonal)
    add("DIAGONAL", rand(3, 4))
    add("DIAGONAL", rand(2, 3, 4), offset=1, dim1=1, dim2=2)
    add("DIAGONAL", rand(2, 3, 4), offset=-1, dim1=2, dim2=0)
    add("STACK", rand(2, 3), rand(2, 3), dim=1)
    add("STACK", rand(2, 3), rand(2, 3), rand(2, 3), dim=-1)
    add("INDEX_SELECT", rand(2, 4, 3), torch.tensor([0, 2, -1]), dim=1)
    add("INDEX_SELECT", rand(2, 4), torch.tensor([[0, 1], [1, 3]]), dim=1)
    add("INDEX_SELECT", rand(2, 4), torch.tensor(2), dim=1)
    add("INDEX_SELECT", rand(2, 4), torch.tensor([4]), dim=1, refused=True)
    add("TAKE_ALONG_DIM", rand(2, 4, 3), torch.tensor([[[0], [2]], [[3], [1]]]), dim=1)
    add("TAKE_ALONG_DIM", rand(2, 4), torch.tensor([[0, 3, 1]]), dim=1)
    add("ISIN", torch.tensor([0, 3, 2, 5]), torch.tensor([2, 0]))
    add("ISIN", torch.tensor([0, 3, 2, 5]), torch.tensor([2, 0]), invert=True)
    edges = torch.tensor([-1.0, 0.0, 0.5])
    for right in (False, True):
        add("BUCKETIZE", torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 9.0]), edges, right=right)
    square = rand(2, 3, 3) + 3 * torch.eye(3)
    add("INV", square)
    add("DET", square)
    add("DET", rand(4, 4))
    for op in ("SLOGDET_SIGN", "SLOGDET_LOG"):
        add(op, square)
        add(op, rand(4, 4))
        add(op, torch.tensor([[1.0, 2.0], [2.0, 4.0]]))
        add(op, rand(2, 3), refused=True)
    definite = square @ square.mT + torch.eye(3)
    add("CHOLESKY", torch.cat([definite, -definite]))
    add("CHOLESKY", rand(2, 3), refused=True)
    add("SOLVE", square, rand(2, 3, 2))
    add("SOLVE", square, rand(3, 1))
    add("SOLVE", square, rand(2, 2, 2), refused=True)
    for upper in (True, False):
        add("SOLVE_TRIANGULAR", definite, rand(2, 3, 2), upper=upper)
        add("SOLVE_TRIANGULAR", definite, rand(1, 3, 3), upper=upper)
    add("SOLVE_TRIANGULAR", definite, rand(2, 2, 2), upper=True, refused=True)
    singular = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    for matrix in (rand(2, 4, 3), rand(2, 5), singular, torch.zeros(2, 2)):
        add("SVDVALS", matrix)
        add("PINV", matrix, rtol=1e-5)
        add("PINV", matrix)
    add("PINV", rand(3, 3), rtol=0.5)
    add("SVDVALS", rand(3), refused=True)
    add("EIGVALSH", definite)
    add("EIGVALSH", rand(4, 4))
    add("EIGVALSH", rand(2, 3), refused=True)
    add("DIAG_EMBED", rand(4))
    add("DIAG_EMBED", rand(2, 3), offset=2)
    add("DIAG_EMBED", rand(2, 3), offset=-1)
    whole, other = torch.tensor([0, -12, 18, 7, 0, -9]), torch.tensor([4, 18, -12, 0, 0, 6])
    for op in ("GCD", "LCM"):
        add(op, whole, other)
        add(op, whole.reshape(6, 1), other)
    for op in ("BITWISE_LEFT_SHIFT", "BITWISE_RIGHT_SHIFT"):
        add(op, torch.tensor([5, -5, -7, 0, 1, 300]), torch.tensor([2, 1, 3, 4, 0, 5]))
    add("I0", torch.tensor([0.0, 0.5, -1.0, 4.0, -20.0, 80.0, torch.inf, -torch.inf, torch.nan]))
    add("CROSS", rand(2, 4, 3), rand(2, 1, 3))
    add("UNFOLD", rand(2, 3, 5, 4), kernel_size=(2, 3))
    add("UNFOLD", rand(1, 2, 6, 6), kernel_size=2, dilation=2, padding=1, stride=(1, 2))
    add("RGB_TO_HSV", rand(2, 3, 4, low=0.0, high=1.0), dim=1)
    add("RGB_TO_HSV", torch.tensor([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [0.2, 0.1, 0.9]]), dim=-1)



def signals():
    for op in ("RFFT_REAL", "RFFT_IMAG"):
        add(op, rand(2, 3, 8))
        add(op, rand(2, 7))
        add(op, rand(2, 6), n=4)
        add(op, rand(2, 5), n=9)
    add("IRFFT", rand(2, 3, 5), rand(2, 3, 5))
    add("IRFFT", rand(2, 4), rand(2, 4), n=7)
    add("IRFFT", rand(2, 4), rand(2, 4), n=4)
    add("IRFFT", rand(2, 3), rand(2, 3), n=10)
    for op in ("FFT_REAL", "FFT_IMAG", "IFFT_REAL", "IFFT_IMAG"):
        add(op, rand(2, 6), rand(2, 6), dim=(-1,))
        add(op, rand(2, 4, 5), rand(2, 4, 5), dim=(-1, -2))
        add(op, rand(3, 2), rand(3, 2), dim=(0,))
    add("UNFOLD_DIM", rand(2, 9), dimension=1, size=4, step=2)
    add("UNFOLD_DIM", rand(2, 5, 3), dimension=-2, size=2, step=3)
    add("UNFOLD_DIM", rand(2, 5), dimension=1, size=6, step=1, refused=True)
    add("FOLD", rand(2, 12, 12), output_size=(5, 4), kernel_size=2)
    add("FOLD", rand(1, 8, 20), output_size=(6, 6), kernel_size=2, dilation=2, padding=1, stride=(1, 2), refused=True)
    add("FOLD", rand(1, 8, 18), output_size=(6, 6), kernel_size=2, dilation=2, padding=1, stride=(1, 2))
    add("FOLD", rand(1, 12, 4), output_size=(1, 10), kernel_size=(1, 4), stride=(1, 2))



def transforms():
    turn = torch.tensor([[0.8, -0.3, 1.25, 0.4, 0.9, -0.75, 0.0, 0.0], [1.1, 0.2, -6.3, -0.1, 1.2, 7.6, 0.02, -0.03]])
    for mode in ("constant", "nearest", "wrap", "reflect"):
        for interpolation in ("nearest", "bilinear"):
            add("PROJECTIVE_TRANSFORM", rand(2, 2, 5, 6), turn, interpolation=interpolation, fill_mode=mode, fill_value=0.5)
    add("PROJECTIVE_TRANSFORM", rand(2, 1, 3, 4), turn[:1])
    add("PROJECTIVE_TRANSFORM", rand(3, 1, 3, 4), turn, refused=True)


def scattering():
    hsv = rand(2, 3, 4, low=0.0, high=1.0)
    add("HSV_TO_RGB", hsv, dim=1)
    add("HSV_TO_RGB", torch.tensor([[0.0, 0.5, 0.5], [1.0, 1.0, 0.3], [0.6, 0.0, 0.9]]), dim=-1)
    for reduce in ({}, {"reduce": "sum"}, {"reduce": "amax"}, {"reduce": "amin"}, {"reduce": "prod"}):
        add("SCATTER_ND", rand(5, 3), torch.tensor([[3], [0], [-1]]), rand(3, 3), **reduce)
        if reduce:
            add("SCATTER_ND", rand(3, 2, 2), torch.tensor([[[0, 1], [2, 0]], [[0, 1], [1, 2]]]), rand(2, 2, 2), **reduce)
    add("SCATTER_ND", rand(4), torch.tensor([[3], [3], [3]]), rand(3), reduce="sum")
    add("SCATTER_ND", rand(4, 2), torch.tensor([[3], [1]]), rand(2, 3), reduce="sum", refused=True)
    add("SLICE_UPDATE", rand(3, 4), rand(2, 1), start=(1, 2))
    add("SLICE_UPDATE", rand(3, 4, 2), rand(3, 2, 2), start=(0, 2, 0))
    add("SLICE_UPDATE", rand(3, 4), rand(2, 3), start=(0, 2), refused=True)


for family in (convolutions, linear, attention, recurrent, normalisation, pooling, shapes, arithmetic, activations, categories, images, sound, operations, signals, transforms, scattering):
    family()
missing = set(OPS) - {case["op"] for case in cases if "output" in case}
assert not missing, missing
with open(HERE / "data/replay_cases.json", "w") as f:
    f.write('{"torch": %s, "cases": [\n' % json.dumps(torch.__version__.split("+")[0]))
    f.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases))
    f.write("\n]}\n")
