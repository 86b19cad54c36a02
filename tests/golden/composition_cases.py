# SPDX-License-Identifier: Apache-2.0
"""Cases of the operations of Keras 3 on which numpy has its own ideas: NaNs left out, grids, matrices taken apart.  Imported by make_cases.py."""
from keras_case import FLAVOUR, case, keras, np

if FLAVOUR == "keras3":
    from keras import ops
    from keras.src.ops import linalg as linear_operations
    from keras.src.ops import math as math_operations
    from keras.src.ops import numpy as numpy_operations


def finite(tensors):
    """What a case can show: NaN and the infinities as numbers that the operations do not give."""
    tensors = [t if t.dtype == "float32" else ops.cast(t, "float32") for t in tensors]
    return [ops.nan_to_num(t, nan=-77.0, posinf=99.0, neginf=-99.0) for t in tensors]


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(0, 1.5, shape).astype("float32")


def with_nan(*shape, seed=3):
    """A line that is NaN alone, one without, and one in between; an infinity in the last."""
    x = normal(*shape, seed=seed)
    x[np.random.default_rng(seed).uniform(size=shape) < 0.3] = np.nan
    x[0, 0], x[1, 1] = np.nan, normal(shape[-1])
    x[2, 0, 1] = np.inf
    return x


def positive_definite(count, n, seed=3):
    x = normal(count, n, n, seed=seed)
    return x @ x.transpose(0, 2, 1) + np.eye(n, dtype="float32")


@case("operations_nan", only="keras3", reload=False)
def lines_with_numbers_that_are_none():
    x, whole = keras.Input((3, 4)), keras.Input((3, 4), dtype="int32")
    outputs = []
    y = ops.where(ops.isinf(x), 2.5, x)
    for axis, keepdims in ((-1, False), (1, True), ((1, 2), False)):
        settings = {"axis": axis, "keepdims": keepdims}
        outputs += [f(x, **settings) for f in (ops.nanprod, ops.nanvar, ops.nanstd)]
        outputs += [ops.nanquantile(y, 0.3, **settings), ops.nanpercentile(y, 80, **settings), ops.nanmedian(y, **settings), ops.nanvar(whole, **settings)]
    for axis, keepdims in ((-1, False), (1, True)):
        outputs += [f(x, axis=axis, keepdims=keepdims) for f in (ops.nanargmax, ops.nanargmin)]
        outputs += [f(whole, axis=axis, keepdims=keepdims) for f in (ops.nanargmax, ops.nanargmin, ops.nanprod)]
    outputs += [f(x, axis=axis) for f in (ops.nancumsum, ops.nancumprod) for axis in (1, -1)]
    outputs += [ops.nancumsum(whole, axis=1, dtype="float32"), ops.nancumprod(whole, axis=-1)]
    return keras.Model([x, whole], finite(outputs)), [with_nan(3, 3, 4), np.random.default_rng(5).integers(-4, 5, (3, 3, 4)).astype("int32")]


@case("operations_close", only="keras3", reload=False)
def elements_that_are_close():
    x, y, whole = keras.Input((7,)), keras.Input((7,)), keras.Input((7,), dtype="int32")
    outputs = [
        *(ops.isclose(x, y), ops.isclose(x, y, rtol=0.1, atol=0.25, equal_nan=True), ops.isclose(whole, 2), ops.isclose(x, whole)),
        *(ops.where(ops.isreal(t), t, -1) for t in (x, whole)),
        *(ops.add(ops.imag(t), t) for t in (x, whole)),
        *(ops.add(numpy_operations.EmptyLike(dtype=dtype)(x), whole) for dtype in (None, "int32")),
        *(f(x) for f in (ops.real, numpy_operations.Conj(), ops.conjugate, ops.angle, ops.i0)),
        *(f(whole) for f in (ops.real, ops.angle, ops.i0)),
        *(ops.ldexp(x, whole), ops.ldexp(whole, whole), ops.nextafter(x, y), ops.nextafter(whole, y)),
    ]
    model = keras.Model([x, y, whole], finite(outputs))
    x = np.array([[1, 2, np.nan, np.inf, -np.inf, 1e9, 0], [-3, 0.5, 1e-9, 3, -7, np.nan, 2]], "float32")
    y = np.array([[1.00001, 2.2, np.nan, np.inf, np.inf, 1e9, 1e-9], [-3.0002, 0.25, 0, np.nan, -7, 1, 2]], "float32")
    return model, [x, y, np.array([[1, 2, 3, -4, 0, 9, -2], [-3, 2, 0, 3, -7, 5, 2]], "int32")]


@case("operations_bits", only="keras3", reload=False)
def whole_numbers_shifted_and_divided():
    x, y, n = (keras.Input((6,), dtype="int32") for _ in range(3))
    model = keras.Model(
        [x, y, n],
        [
            ops.left_shift(x, n),
            ops.bitwise_left_shift(x, 3),
            ops.right_shift(x, n),
            ops.bitwise_right_shift(x, 2),
            ops.gcd(x, y),
            ops.lcm(x, y),
            ops.gcd(x, 12),
            ops.lcm(ops.add(y, n), x),
        ],
    )
    rng = np.random.default_rng(5)
    x, y = rng.integers(-99, 99, (2, 4, 6)).astype("int32")
    x[0], y[0, :3] = 0, 0
    return model, [x, y, rng.integers(0, 7, (4, 6)).astype("int32")]


@case("operations_parts", only="keras3", reload=False)
def tensors_split_and_measured():
    x, y = keras.Input((4, 6)), keras.Input((4, 6))
    a, b = keras.Input((4, 3)), keras.Input((5, 3))
    steps = [0.0, 0.5, 0.75, 2.0, 2.0, 4.5]
    return keras.Model(
        [x, y, a, b],
        [
            *ops.hsplit(x, 2),
            *ops.hsplit(x, [1, 3]),
            *ops.dsplit(x, 3),
            ops.trapezoid(x),
            ops.trapezoid(x, dx=0.25, axis=1),
            ops.trapezoid(x, x=steps),
            ops.add(x, ops.cast(ops.size(x), "float32")),
            ops.linspace(x, y, 5, axis=1),
            ops.linspace(x, 2.0, 4, endpoint=False, axis=-1),
            ops.linspace(x, y, 1, axis=2),
            ops.linspace(-1.0, y, 2, axis=1),
            ops.logspace(x, y, 3, base=2, axis=-1),
            numpy_operations.Logspace(num=4, axis=1)(x, 1.5),
            ops.logspace(y, x, 2, axis=1),
            math_operations.CDist()(a, b),
        ],
    )


@case("operations_grids", only="keras3", reload=False)
def operations_on_whole_tensors():
    """Of vectors and matrices without a batch: the first sample of one."""
    lines, matrices, numbers = keras.Input((5,)), keras.Input((3, 5)), keras.Input((3, 5), dtype="int32")
    inputs = [lines, matrices, numbers]
    x, y, z, whole = lines[0, :3], lines[0], matrices[0], numbers[0]
    ids = ops.mod(whole[:, 0], 5)
    outputs = [
        *ops.meshgrid(x, y),
        *ops.meshgrid(x, y, x, indexing="ij"),
        *ops.meshgrid(z, x),
        ops.vander(x),
        ops.vander(lines[:, 0], 4),
        ops.diag(lines[:, 0], k=-1),
        ops.diagflat(lines),
        *ops.meshgrid(lines[:, 0], y),
        ops.vander(y, 3, increasing=True),
        ops.diag(x),
        ops.diag(y, k=2),
        ops.diag(y, k=-1),
        ops.diag(z),
        ops.diag(z, k=3),
        ops.diag(whole, k=-1),
        ops.diagflat(z, k=1),
        ops.diagflat(ids),
        ops.full((2, 3), x),
        ops.full((4, 5), y, dtype="int32"),
        ops.corrcoef(z),
        ops.corrcoef(whole),
        *ops.vsplit(z, [1]),
        ops.geomspace(ops.exp(z), ops.exp(ops.flip(z, axis=1)), 4),
        ops.geomspace(ops.negative(ops.exp(x)), -2.0, 3),
        *(ops.where(t, x, ops.square(x)) for t in (ops.allclose(z, ops.add(z, 1e-7)), ops.allclose(2.0, z, rtol=1.0), ops.allclose(x, ops.abs(x)), ops.allclose(ids, ids))),
        *(ops.where(t, x, ops.square(x)) for t in (ops.in_top_k(ids, z, 1), ops.in_top_k(ids, z, 2), ops.in_top_k(ops.subtract(ids, 2), z, 5))),
    ]
    for mode in ("valid", "same", "full"):
        outputs += [ops.correlate(y, x, mode=mode), ops.correlate(y, np.array([0.5, -1.0, 2.0, 0.25], "float32"), mode=mode)]
    outputs += [ops.correlate(x, y, mode="same"), ops.correlate(x, y, mode="full"), ops.correlate(ids, x, mode="full")]
    rng = np.random.default_rng(5)
    z = normal(3, 5)
    z[1] = [2, 3, 3, 3, -1]
    z[2, 1] = np.inf
    lines = normal(3, 5, seed=7)
    lines[0, :3] = 0.5, 1.5, -2
    numbers = rng.integers(-9, 9, (3, 3, 5)).astype("int32")
    numbers[0, :, 0] = 0, 3, 1
    data = [lines, np.stack([z, normal(3, 5), z]), numbers]
    return keras.Model(inputs, finite(outputs)), data


@case("operations_matrices", only="keras3", reload=False)
def matrices_solved_and_taken_apart():
    a, definite, b, v = keras.Input((3, 3)), keras.Input((3, 3)), keras.Input((3, 2)), keras.Input((3,))
    tall, wide = keras.Input((4, 3)), keras.Input((2, 4))
    fixed = tall[0]
    sign, size = numpy_operations.Slogdet()(a)
    outputs = [
        ops.solve(a, b),
        ops.solve(a, v),
        ops.solve_triangular(a, b),
        ops.solve_triangular(a, v, lower=True),
        ops.multiply(ops.reshape(sign, (-1, 1)), v),
        size,
        ops.logdet(definite),
        ops.cholesky(definite),
        linear_operations.Cholesky(upper=True)(definite),
        linear_operations.CholeskyInverse()(a),
        linear_operations.CholeskyInverse(upper=True)(a),
        ops.eigh(definite)[0],
        ops.eigh(a)[0],
        ops.svd(tall, compute_uv=False),
        ops.svd(wide, full_matrices=False)[1],
        linear_operations.Pinv()(tall),
        linear_operations.Pinv(rcond=0.3)(wide),
        *(ops.add(ops.reshape(rank, (-1, 1)), v) for rank in (linear_operations.MatrixRank()(tall), linear_operations.MatrixRank(tol=0.8)(wide))),
        ops.lstsq(fixed, normal(4)),
        ops.lstsq(fixed, normal(4, 2), rcond=0.4),
    ]
    model = keras.Model([a, definite, b, v, tall, wide], finite(outputs))
    tall = normal(3, 4, 3, seed=9)
    tall[1, :, 2] = tall[1, :, 0] * 2 - tall[1, :, 1]
    return model, [normal(3, 3, 3), positive_definite(3, 3), normal(3, 3, 2, seed=5), normal(3, 3, seed=6), tall, normal(3, 2, 4, seed=8)]


@case("operations_of_the_data", only="keras3", expect="refuse", refused=["bincount", "qr", "argpartition"], notes="shapes and signs that nobody knows beforehand")
def results_that_depend_on_the_data():
    x, whole = keras.Input((3, 3)), keras.Input((4,), dtype="int32")
    return keras.Model([x, whole], [*ops.qr(x), ops.bincount(whole, minlength=4), ops.argpartition(whole, 2)])
