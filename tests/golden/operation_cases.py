# SPDX-License-Identifier: Apache-2.0
"""Cases of the operations that stand in the graph of a functional model of Keras 3, which does not read all of them back.  Imported by make_cases.py."""
from keras_case import FLAVOUR, case, keras, np

if FLAVOUR == "keras3":
    from keras import ops
    from keras.src.activations import activations as activation_operations
    from keras.src.ops import numpy as numpy_operations


def floats(*tensors):
    return [ops.cast(t, "float32") for t in tensors]


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(0, 1.5, shape).astype("float32")


@case("operations_elementwise", only="keras3", reload=False)
def functions_of_one_and_two_elements():
    x, y = keras.Input((5,)), keras.Input((5,))
    return keras.Model(
        [x, y],
        [
            numpy_operations.Abs()(x),
            ops.fabs(x),
            ops.sinh(x),
            ops.cosh(x),
            ops.erfc(x),
            *floats(ops.signbit(x), ops.greater_equal(x, y)),
            ops.fmax(x, y),
            ops.fmin(x, y),
            ops.hypot(x, y),
            ops.logaddexp2(x, y),
            ops.heaviside(ops.round(x), y),
            ops.saturate_cast(x, "int32"),
            ops.convert_to_tensor(x, dtype="float32"),
            ops.convert_to_tensor(ops.greater(x, y), dtype="float32"),
            activation_operations.Mish()(x),
            keras.activations.relu(x, negative_slope=0.25, max_value=1.5, threshold=0.5),
        ],
    )


@case("operations_not_finite", only="keras3", reload=False)
def numbers_that_are_none():
    """The logarithm of a negative number, and a quotient by zero of either sign."""
    x = keras.Input((7,))
    log = ops.log(x)
    quotient = ops.divide(x, ops.floor(ops.absolute(x)))
    return (
        keras.Model(
            x,
            [
                *floats(ops.isnan(log), ops.isinf(quotient), ops.isposinf(quotient), ops.isneginf(quotient), ops.isfinite(quotient)),
                ops.nansum(log, axis=-1),
                ops.nanmean(log, axis=-1),
                ops.nanmax(log, axis=-1, keepdims=True),
                ops.nanmin(log, axis=-1),
            ],
        ),
        [normal(3, 7)],
    )


@case("operations_integers", only="keras3", reload=False)
def operations_on_the_bits_of_integers():
    x, y = keras.Input((6,), dtype="int32"), keras.Input((6,), dtype="int32")
    model = keras.Model(
        [x, y],
        [ops.bitwise_and(x, y), ops.bitwise_or(x, y), ops.bitwise_xor(x, y), ops.bitwise_not(x), ops.bitwise_invert(ops.add(x, y))],
    )
    return model, list(np.random.default_rng(5).integers(-99, 99, (2, 3, 6)).astype("int32"))


@case("operations_lines", only="keras3", reload=False)
def operations_along_an_axis():
    x, places, number = keras.Input((6, 4)), keras.Input((3, 4), dtype="int32"), keras.Input(())
    return (
        keras.Model(
            [x, places, number],
            [
                ops.percentile(x, 30, axis=1),
                *ops.moments(x, axes=[1, 2], keepdims=True),
                ops.append(x, ops.square(x), axis=-1),
                ops.take_along_axis(x, places, axis=1),
                ops.searchsorted(np.array([-1.5, -0.5, 0.0, 0.75], "float32"), number, side="right"),
                ops.flipud(ops.reshape(x, (-1, 2, 12))),
            ],
        ),
        [normal(3, 6, 4), np.random.default_rng(4).integers(0, 6, (3, 3, 4)).astype("int32"), np.array([0.0, -0.75, 1.5], "float32")],
    )


@case("operations_whole", only="keras3", reload=False)
def operations_that_take_the_batch_as_an_axis():
    x, y = keras.Input(batch_shape=(3, 4)), keras.Input(batch_shape=(3, 4))
    return keras.Model(
        [x, y],
        [
            ops.vstack([x, y]),
            ops.ravel(x),
            ops.outer(x, y),
            ops.dot(x, ops.transpose(y)),
            ops.add(ops.vdot(x, y), x),
        ],
    )


@case("operations_order", only="keras3", reload=False)
def axes_of_an_image_in_another_order():
    x = keras.layers.Conv2D(4, 3, padding="same")(image := keras.Input((6, 5, 3)))
    return keras.Model(image, [ops.swapaxes(x, 1, 2), ops.moveaxis(x, 2, 1), ops.transpose(x, (0, 2, 1, 3)), ops.moveaxis(x, 3, 1)])
