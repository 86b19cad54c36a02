/* SPDX-License-Identifier: Apache-2.0 */
/* From an HDF5 file through the source into model.pt and back: values, dtypes, constants, refusals, damaged archives. */
#include <math.h>
#include <sys/stat.h>

#include "source_files.h"
#include "write/state_dict.h"

enum { F32, F64, F16, I64, I32, I16, I8, U8, U16, KERNEL, EMPTY, SCALAR, TENSOR_COUNT };

static const char *const names[TENSOR_COUNT] = {"f32", "f64", "f16", "i64",    "i32",   "i16",
                                                "i8",  "u8",  "u16", "kernel", "empty", "scalar"};
enum { ROWS = 37, COLUMNS = 53, COUNT = ROWS * COLUMNS };
enum { HEIGHT = 3, WIDTH = 5, IN = 40, OUT = 70, KERNEL_COUNT = HEIGHT * WIDTH * IN * OUT };

static float kernel[KERNEL_COUNT];

/* Whole, small, of both signs where the dtype has them, so that every dtype holds it exactly. */
static float value_at(int i)
{
    return (float)(i * 7 % 101);
}

static void build(void)
{
    const hid_t types[] = {H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5Tcopy(H5T_IEEE_F32LE),
                           H5T_STD_I64LE,  H5T_STD_I32BE,  H5T_STD_I16LE,
                           H5T_STD_I8LE,   H5T_STD_U8LE,   H5T_STD_U16LE};
    assert_true(H5Tset_fields(types[F16], 15, 10, 5, 0, 10) >= 0 && H5Tset_size(types[F16], 2) >= 0 &&
                H5Tset_ebias(types[F16], 15) >= 0);
    static float values[COUNT];
    for (int i = 0; i < COUNT; i++)
        values[i] = value_at(i);
    for (int i = 0; i < KERNEL_COUNT; i++)
        kernel[i] = sinf((float)i) * 3.0F;
    hid_t file = model_new("model", H5P_DEFAULT, H5P_DEFAULT), weights = H5Gopen2(file, "model_weights", H5P_DEFAULT);
    write_texts(weights, "layer_names", style_new, 0, 1, (const char *const[]){"d"});
    hid_t layer = group_new(weights, "d");
    write_texts(layer, "weight_names", style_new, 0, TENSOR_COUNT, names);
    for (int i = F32; i <= U16; i++)
        write_dataset(layer, names[i], types[i], 2, (const hsize_t[]){ROWS, COLUMNS}, H5P_DEFAULT, H5T_NATIVE_FLOAT,
                      values);
    write_floats(layer, names[KERNEL], 4, (const hsize_t[]){HEIGHT, WIDTH, IN, OUT}, kernel);
    write_floats(layer, names[EMPTY], 2, (const hsize_t[]){0, 4}, values);
    write_floats(layer, names[SCALAR], 0, NULL, &values[1]);
    (void)H5Tclose(types[F16]);
    (void)H5Gclose(weights);
    close_model(file, layer);
}

static int setup(void **state)
{
    (void)state;
    files_init();
    build();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    files_remove();
    return 0;
}

static struct torch_parameter as_is(const struct source_tensor *tensor)
{
    struct torch_parameter p = {.name = tensor->name, .source = tensor, .dtype = tensor->dtype, .shape = tensor->shape};
    p.rearrangement = (struct rearrangement){.view = tensor->shape, .axes = {0, 1, 2, 3}, .shape = tensor->shape};
    return p;
}

static int new_file(void)
{
    int fd = open(files_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* Writes the parameters into a new file; *ret_fd is open also on failure. */
static int write_parameters(struct source *source, struct torch_parameter *parameters, int count, int *ret_fd,
                            struct artifact *ret, struct h5pt_error *err)
{
    struct torch_graph graph = {.name = "Model", .parameters = parameters, .parameter_count = count};
    *ret_fd = new_file();
    struct archive *archive = NULL;
    int status = state_dict_write(&graph, source, *ret_fd, ret, &archive, err);
    archive_free(archive);
    return status;
}

static struct tensor *read_tensor(struct state_dict *dict, const char *name)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct tensor *tensor = NULL;
    if (state_dict_read(dict, name, &tensor, &err) < 0)
        fail_msg("%s: %s: %s", name, err.where, err.message);
    return tensor;
}

static const float constant_values[] = {1, 0, -3, 4, 5, 16777216};
static const float one = 1;

/* Every dtype that torch has, a transpose, a permuted kernel, conversions to float32, constants. Returns their number. */
static int all_parameters(struct source *source, struct torch_parameter *p)
{
    const struct source_tensor *t = source_layer(source, 0)->tensors;
    int n = 0;
    for (int i = F32; i <= U8; i++)
        p[n++] = as_is(&t[i]);
    p[n++] = as_is(&t[EMPTY]);
    p[n++] = as_is(&t[SCALAR]);
    p[n] = as_is(&t[F32]);
    p[n].name = "transposed";
    p[n].rearrangement.axes[0] = 1;
    p[n].rearrangement.axes[1] = 0;
    p[n].rearrangement.shape = p[n].shape = (struct shape){2, {COLUMNS, ROWS}};
    n++;
    p[n] = as_is(&t[KERNEL]);
    memcpy(p[n].rearrangement.axes, (const int[]){3, 2, 0, 1}, 4 * sizeof(int));
    p[n].rearrangement.shape = p[n].shape = (struct shape){4, {OUT, IN, HEIGHT, WIDTH}};
    n++;
    for (int i = F64; i <= U16; i++) {
        static const char *const converted[] = {"", "f64f", "f16f", "i64f", "i32f", "i16f", "i8f", "u8f", "u16f"};
        p[n] = as_is(&t[i]);
        p[n].name = converted[i];
        p[n++].dtype = DTYPE_F32;
    }
    p[n++] = (struct torch_parameter){
        .name = "constant", .constant = constant_values, .dtype = DTYPE_F32, .shape = {2, {2, 3}}};
    p[n++] = (struct torch_parameter){
        .name = "constant_f64", .constant = constant_values, .dtype = DTYPE_F64, .shape = {1, {6}}};
    p[n++] = (struct torch_parameter){
        .name = "constant_i64", .constant = constant_values, .dtype = DTYPE_I64, .shape = {1, {6}}};
    p[n++] = (struct torch_parameter){.name = "num_batches_tracked", .constant = &one, .dtype = DTYPE_I64};
    return n;
}

static void check_values(struct state_dict *dict, const struct torch_parameter *p)
{
    struct tensor *tensor = read_tensor(dict, p->name);
    assert_int_equal(tensor->dtype, p->dtype);
    assert_true(shape_equal(&tensor->shape, &p->shape));
    for (int64_t i = 0; i < tensor->count; i++) {
        float expected = p->source ? value_at((int)i) : p->constant[i];
        if (strcmp(p->name, "scalar") == 0)
            expected = value_at(1);
        else if (strcmp(p->name, "transposed") == 0)
            expected = value_at((int)(i % ROWS * COLUMNS + i / ROWS));
        else if (strcmp(p->name, "kernel") == 0)
            expected = kernel[i % (HEIGHT * WIDTH) * IN * OUT + i / (HEIGHT * WIDTH) % IN * OUT +
                              i / (HEIGHT * WIDTH * IN)];
        if (tensor->data[i] != expected)
            fail_msg("%s[%lld] is %g, not %g", p->name, (long long)i, (double)tensor->data[i], (double)expected);
    }
    tensor_free(tensor);
}

static void test_round_trip(void **state)
{
    (void)state;
    int file, fd;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct source *source = accept_file("model", &file);
    struct torch_parameter parameters[40];
    struct artifact artifact;
    struct state_dict *dict;
    struct stat st;
    int n = all_parameters(source, parameters);
    assert_int_equal(write_parameters(source, parameters, n, &fd, &artifact, &err), 0);
    assert_string_equal(artifact.name, "model.pt");
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(artifact.bytes, st.st_size);
    assert_int_equal(strlen(artifact.sha256), 64);
    if (state_dict_open(fd, &dict, &err) < 0)
        fail_msg("%s: %s", err.where, err.message);
    assert_int_equal(state_dict_count(dict), n);
    for (int i = 0; i < n; i++)
        assert_string_equal(state_dict_name(dict, (size_t)i), parameters[i].name);
    for (int i = n - 1; i >= 0; i--)
        check_values(dict, &parameters[i]);
    struct tensor *tensor = NULL;
    assert_int_equal(state_dict_read(dict, "nothing", &tensor, &err), -1);
    assert_int_equal(err.code, H5PT_INTERNAL);
    assert_null(tensor);
    state_dict_close(dict);
    close(fd);
    close_source(source, file);
}

static void test_reproducible(void **state)
{
    (void)state;
    struct artifact artifacts[2];
    for (int i = 0; i < 2; i++) {
        int file, fd;
        struct h5pt_error err = H5PT_ERROR_INIT;
        struct source *source = accept_file("model", &file);
        struct torch_parameter parameters[40];
        int n = all_parameters(source, parameters);
        assert_int_equal(write_parameters(source, parameters, n, &fd, &artifacts[i], &err), 0);
        close(fd);
        close_source(source, file);
    }
    assert_int_equal(artifacts[0].bytes, artifacts[1].bytes);
    assert_string_equal(artifacts[0].sha256, artifacts[1].sha256);
}

static void test_nothing(void **state)
{
    (void)state;
    int fd;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct artifact artifact;
    struct state_dict *dict;
    assert_int_equal(write_parameters(NULL, NULL, 0, &fd, &artifact, &err), 0);
    assert_int_equal(state_dict_open(fd, &dict, &err), 0);
    assert_int_equal(state_dict_count(dict), 0);
    struct tensor *tensor;
    assert_int_equal(state_dict_read(dict, "", &tensor, &err), -1);
    state_dict_close(dict);
    close(fd);
}

static void test_refused(void **state)
{
    (void)state;
    int file, fd;
    struct source *source = accept_file("model", &file);
    const struct source_tensor *t = source_layer(source, 0)->tensors;
    struct torch_parameter cases[6] = {as_is(&t[U16]), as_is(&t[F32]),
                                       as_is(&t[F32]), as_is(&t[F32]),
                                       as_is(&t[F32]), {.name = "c", .constant = &one, .dtype = DTYPE_I8}};
    cases[1].dtype = DTYPE_F64;         /* no conversion */
    cases[2].shape.dims[0]++;           /* sizes that differ */
    cases[3].rearrangement.axes[1] = 0; /* an axis twice */
    cases[4].shape.dims[0] = cases[4].shape.dims[1] = DIM_UNKNOWN;
    for (int i = 0; i < 6; i++) {
        struct h5pt_error err = H5PT_ERROR_INIT;
        struct artifact artifact = {.bytes = 77};
        assert_int_equal(write_parameters(source, &cases[i], 1, &fd, &artifact, &err), -1);
        assert_int_equal(err.code, i == 0 ? H5PT_UNSUPPORTED_DTYPE : H5PT_INTERNAL);
        assert_string_equal(err.where, cases[i].name);
        assert_int_equal(artifact.bytes, 77);
        close(fd);
    }
    close_source(source, file);
}

static void test_same_name_twice(void **state)
{
    (void)state;
    int fd;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct artifact artifact;
    struct state_dict *dict;
    struct torch_parameter p[2] = {{.name = "a", .constant = &one, .dtype = DTYPE_F32}};
    p[1] = p[0];
    assert_int_equal(write_parameters(NULL, p, 2, &fd, &artifact, &err), 0);
    assert_int_equal(state_dict_open(fd, &dict, &err), -1);
    assert_int_equal(err.code, H5PT_INTERNAL);
    close(fd);
}

/* Whether all tensors of the archive can be read. */
static bool readable(int fd)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct state_dict *dict;
    if (state_dict_open(fd, &dict, &err) < 0) {
        assert_int_not_equal(err.code, H5PT_OK);
        return false;
    }
    bool ok = true;
    for (size_t i = 0; i < state_dict_count(dict); i++) {
        struct tensor *tensor = NULL;
        if (state_dict_read(dict, state_dict_name(dict, i), &tensor, &err) < 0)
            ok = false;
        tensor_free(tensor);
    }
    state_dict_close(dict);
    return ok;
}

/* Every byte of a payload is covered by a CRC; elsewhere a change may be harmless but must not be fatal. */
static void test_damaged(void **state)
{
    (void)state;
    int fd;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct artifact artifact;
    struct torch_parameter p[] = {
        {.name = "a", .constant = constant_values, .dtype = DTYPE_F32, .shape = {1, {6}}},
        {.name = "b", .constant = constant_values, .dtype = DTYPE_I64, .shape = {2, {3, 2}}},
    };
    assert_int_equal(write_parameters(NULL, p, 2, &fd, &artifact, &err), 0);
    assert_true(readable(fd));
    size_t size = (size_t)artifact.bytes;
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, size, 0), (ssize_t)size);
    const float *needle = constant_values;
    unsigned char *payload = memmem(bytes, size, needle, sizeof constant_values);
    assert_non_null(payload);
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit += 3) {
            unsigned char changed = (unsigned char)(bytes[i] ^ 1 << bit);
            assert_int_equal(pwrite(fd, &changed, 1, (off_t)i), 1);
            bool ok = readable(fd);
            if (bytes + i >= payload && bytes + i < payload + sizeof constant_values)
                assert_false(ok);
        }
        assert_int_equal(pwrite(fd, &bytes[i], 1, (off_t)i), 1);
    }
    for (size_t n = size; n-- > 0;) {
        assert_int_equal(ftruncate(fd, (off_t)n), 0);
        assert_false(readable(fd));
    }
    free(bytes);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_reproducible),    cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_same_name_twice), cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
