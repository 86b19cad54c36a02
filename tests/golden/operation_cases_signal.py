# SPDX-License-Identifier: Apache-2.0
"""Cases of operations on signals, images and segments in the graphs of Keras 3, and of losses.  Imported by make_cases.py."""
from keras_case import FLAVOUR, case, keras, np

if FLAVOUR == "keras3":
    from keras import ops


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(0, 1.5, shape).astype("float32")


def uniform(*shape, seed=3):
    return np.random.default_rng(seed).uniform(0.02, 0.98, shape).astype("float32")


@case("operations_fourier", only="keras3", reload=False)
def fourier_transforms():
    x, re, im = keras.Input((3, 8)), keras.Input((6, 5)), keras.Input((6, 5))
    return (
        keras.Model(
            [x, re, im],
            [
                *ops.rfft(x),
                *ops.rfft(x, fft_length=5),
                *ops.rfft(x, fft_length=12),
                ops.irfft((re, im)),
                ops.irfft((re, im), fft_length=7),
                ops.irfft((re, im), fft_length=12),
                *ops.fft((re, im)),
                *ops.fft2((re, im)),
                *ops.ifft2((re, im)),
            ],
        ),
        [normal(2, 3, 8), normal(2, 6, 5, seed=4), normal(2, 6, 5, seed=5)],
    )


@case("operations_frames", only="keras3", reload=False)
def frames_of_signals():
    x, images = keras.Input((24,)), keras.Input((12, 12))
    re, im = ops.stft(x, 5, 3, 8)
    many = ops.stft(ops.reshape(x, (-1, 2, 12)), 6, 2, 6, window="hamming", center=False)
    return keras.Model(
        [x, images],
        [
            ops.extract_sequences(x, 5, 3),
            re,
            im,
            ops.istft((re, im), 5, 3, 8),
            *many,
            ops.istft(many, 6, 2, 6, window="hamming", center=False),
            ops.istft(many, 6, 2, 6, length=5, window=None),
            *ops.stft(x, 4, 2, 4, window=None),
            ops.fold(images, (5, 4), 2),
            ops.fold(images, (4, 5), (1, 2), padding=(0, 1), stride=(2, 1), dilation=(1, 1)),
        ],
    )


@case("operations_filters", only="keras3", reload=False)
def filters_of_images():
    a, b, small = keras.Input((13, 12, 2)), keras.Input((13, 12, 2)), keras.Input((3, 6, 5))
    return (
        keras.Model(
            [a, b, small],
            [
                ops.image.sobel_edges(a),
                ops.image.gaussian_blur(a, (3, 5), (1.0, 0.7)),
                ops.image.gaussian_blur(b, (4, 2), (2.0, 1.5)),
                ops.image.ssim(a, b),
                ops.image.ssim(a, b, max_val=2.0, filter_size=4, filter_sigma=1.0, k1=0.02, k2=0.05),
                ops.image.sobel_edges(small, data_format="channels_first"),
                ops.image.gaussian_blur(small, (3, 3), (1.0, 2.0), data_format="channels_first"),
                ops.image.hsv_to_rgb(small, data_format="channels_first"),
                ops.adaptive_average_pool(ops.reshape(a, (-1, 12, 13, 2)), (5, 4), data_format="channels_last"),
                ops.adaptive_max_pool(a, (5, 4), data_format="channels_last"),
                ops.adaptive_max_pool(small, (4, 3), data_format="channels_first"),
                ops.add(ops.psnr(a, b, 2.0), a),
            ],
        ),
        [uniform(2, 13, 12, 2), uniform(2, 13, 12, 2, seed=4), uniform(2, 3, 6, 5, seed=5)],
    )


@case("operations_pools", only="keras3", reload=False)
def pools_to_a_size():
    line = keras.Input((13, 3))
    return (
        keras.Model(
            line,
            [ops.adaptive_average_pool(line, (5,), data_format="channels_last"), ops.adaptive_max_pool(line, (4,), data_format="channels_last")],
        ),
        [uniform(2, 13, 3)],
    )


@case("operations_losses", only="keras3", reload=False)
def losses_in_a_graph():
    target, x, number = keras.Input((4, 5)), keras.Input((4, 5)), keras.Input((4,), dtype="int32")
    p = ops.divide(1.0, ops.add(1.0, ops.exp(x)))
    sure = ops.multiply(ops.round(p), 1.0)
    return (
        keras.Model(
            [target, x, number],
            [
                ops.binary_crossentropy(target, p),
                ops.binary_crossentropy(target, sure),
                ops.binary_crossentropy(target, x, from_logits=True),
                ops.categorical_crossentropy(target, p),
                ops.categorical_crossentropy(target, p, axis=1),
                ops.categorical_crossentropy(target, x, from_logits=True),
                ops.sparse_categorical_crossentropy(number, p),
                ops.sparse_categorical_crossentropy(ops.expand_dims(number, -1), x, from_logits=True),
            ],
        ),
        [uniform(3, 4, 5), normal(3, 4, 5), np.random.default_rng(6).integers(0, 5, (3, 4)).astype("int32")],
    )


@case("operations_scatter", only="keras3", reload=False)
def tensors_put_into_others():
    x, y, u = keras.Input(batch_shape=(3, 4)), keras.Input(batch_shape=(3, 4)), keras.Input(batch_shape=(3, 2))
    ids, places = keras.Input(batch_shape=(3,), dtype="int32"), keras.Input(batch_shape=(3, 1), dtype="int32")
    return (
        keras.Model(
            [x, y, u, ids, places],
            [
                ops.scatter(places, x, (5, 4)),
                ops.scatter(np.array([[1], [4], [1]]), x, (6, 4)),
                ops.scatter_update(x, np.array([[0], [2], [1]]), y),
                ops.scatter_update(x, np.array([[0, 1], [2, 3], [0, 1]]), ops.max(u, axis=1), reduction="add"),
                ops.scatter_update(x, places, y, reduction="max"),
                ops.scatter_update(x, places, y, reduction="min"),
                ops.scatter_update(x, places, y, reduction="mul"),
                *[reduce(x, ids, num_segments=5) for reduce in (ops.segment_sum, ops.segment_max, ops.segment_min, ops.segment_prod)],
                ops.slice_update(x, [0, 1], u),
                ops.slice_update(x, [1, 2], np.ones((2, 1), "float32")),
                ops.rearrange(ops.reshape(x, (3, 2, 2)), "b (h a) c -> b h (a c)", a=2),
                ops.rearrange(x, "b c -> c b"),
            ],
        ),
        [normal(3, 4), normal(3, 4, seed=4), normal(3, 2, seed=5), np.array([3, 0, 3], "int32"), np.array([[2], [0], [2]], "int32")],
    )


@case("operations_loss_of_sigmoid", only="keras3", reload=False, expect="refuse")
def loss_of_what_a_sigmoid_gives():
    """Keras computes it from the logits that the output of sigmoid or softmax remembers, even where that is not the function that belongs to it."""
    target, x = keras.Input((5,)), keras.Input((5,))
    return keras.Model([target, x], ops.binary_crossentropy(target, ops.softmax(x)))


@case("operations_transforms", only="keras3", reload=False)
def images_read_at_other_places():
    x, first, turn = keras.Input((6, 7, 2)), keras.Input((2, 5, 4)), keras.Input((8,))
    one = np.array([0.8, -0.3, 1.25, 0.4, 0.9, -0.75, 0.001, 0.02], "float32")
    start, end = np.array([[0, 0], [6, 0], [0, 5], [6, 5]], "float32"), np.array([[1, 0.5], [5, 1], [0, 4], [6.5, 5]], "float32")
    transform = ops.image.affine_transform
    return (
        keras.Model(
            [x, first, turn],
            [
                transform(x, one),
                transform(x, turn, interpolation="nearest", fill_value=0.5),
                *[transform(x, turn, interpolation=way, fill_mode=mode) for way in ("nearest", "bilinear") for mode in ("nearest", "wrap", "reflect")],
                transform(first, turn, fill_mode="reflect", data_format="channels_first"),
                ops.image.perspective_transform(x, start, end, fill_value=0.25),
                ops.image.perspective_transform(x, start, end, interpolation="nearest"),
                *[
                    ops.image.scale_and_translate(x, (None, 9, 4, 2), np.array([1.4, 0.55], "float32"), np.array([0.3, -0.2], "float32"), (1, 2), method, antialias)
                    for method in ("linear", "cubic", "lanczos3", "lanczos5")
                    for antialias in (True, False)
                ],
            ],
        ),
        [
            normal(3, 6, 7, 2),
            normal(3, 2, 5, 4, seed=4),
            (np.array([[1, 0.2, -3.3, -0.1, 1.2, 2.6, 0, 0], [0.9, 0.4, 1.3, 0.3, 1.7, -3.2, 0.02, -0.03], [3, 0, -9.4, 0, 1, -0.7, 0, 0]], "float32")),
        ],
    )


@case("lambda_signal", only="keras3", reload=False)
def lambdas_of_signals_and_images():
    x, image = keras.Input((12,)), keras.Input((6, 5, 3))
    return keras.Model(
        [x, image],
        [
            keras.layers.Lambda(lambda t: keras.ops.rfft(t)[0], output_shape=(7,))(x),
            keras.layers.Lambda(lambda t: keras.ops.stft(t, 4, 2, 4)[1], output_shape=(7, 3))(x),
            keras.layers.Lambda(lambda t: keras.ops.extract_sequences(t, 4, 3))(x),
            keras.layers.Lambda(lambda t: keras.ops.image.gaussian_blur(t), output_shape=(6, 5, 3))(image),
            keras.layers.Lambda(lambda t: keras.ops.image.sobel_edges(t), output_shape=(6, 5, 3, 2))(image),
            keras.layers.Lambda(lambda t: keras.ops.adaptive_average_pool(t, 2, data_format="channels_last"), output_shape=(2, 2, 3))(image),
            keras.layers.Lambda(lambda t: keras.ops.binary_crossentropy(t, 0.5 + 0.1 * keras.ops.tanh(t)))(x),
        ],
    )
