/* SPDX-License-Identifier: Apache-2.0 */
/* The whole conversion into a directory: what is there afterwards, whatever comes of it. */
#include "model_files.h"

#include <sys/stat.h>

#include "base/words.h"
#include "convert.h"
#include "layers/layer.h"

static char output_path[128];

/* A fresh output directory with what an earlier conversion and a crash may have left. */
static int open_output(void)
{
    static const char *const old[] = {"model.pt", "model.py", "report.json", ".h5pt-model.pt", "notes.txt"};
    (void)snprintf(output_path, sizeof output_path, "%s/out-XXXXXX", files_dir);
    assert_non_null(mkdtemp(output_path));
    int dir = open(output_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        int fd = openat(dir, old[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        assert_true(fd >= 0 && write(fd, "old", 3) == 3);
        (void)close(fd);
    }
    return dir;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files of the output directory, by name, must be these (separated by spaces); they are removed. */
static void expect_files(int dir, const char *expected)
{
    char *names[16];
    size_t count = 0;
    struct strbuf text = STRBUF_INIT;
    DIR *listing = opendir(output_path);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            assert_true(count < 16);
            names[count++] = strdup(entry->d_name);
        }
    (void)closedir(listing);
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        strbuf_addf(&text, "%s%s", i ? " " : "", names[i]);
        assert_int_equal(unlinkat(dir, names[i], 0), 0);
        free(names[i]);
    }
    assert_string_equal(strbuf_text(&text), expected);
    strbuf_release(&text);
    assert_int_equal(close(dir), 0);
    assert_int_equal(rmdir(output_path), 0);
}

static void write_good(void)
{
    WRITE_MODEL("good", "2.15.0", SEQUENTIAL(ENTRY("Dense", "d", ",'units':3" SHAPE("4"))), DENSE_WEIGHTS("d", 4, 3));
}

static void write_refused(void)
{
    write_model("refused", "2.15.0", SEQUENTIAL(ENTRY("Swirl", "a", SHAPE("4"))), 0, NULL);
}

static int run(const char *file, int dir, unsigned formats, struct convert_result *ret, struct h5pt_error *err)
{
    int input = open_path(file_path(file));
    int status = convert_run(&(struct convert_request){.input = input, .output_dir = dir, .formats = formats}, ret,
                             err);
    assert_int_equal(close(input), 0);
    return status;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static void a_converted_model_leaves_its_artifacts(void **state)
{
    (void)state;
    struct convert_result result;
    struct stat st;
    write_good();
    int dir = open_output();
    assert_int_equal(run("good", dir, 0, &result, NULL), 0);
    assert_int_equal(result.verdict, CONVERT_CONVERTED);
    assert_string_equal(text_at(result.report, "verdict"), "converted");
    const json_t *artifacts = json_object_get(result.report, "artifacts"), *first = json_array_get(artifacts, 0);
    assert_int_equal(json_array_size(artifacts), 2);
    assert_string_equal(text_at(first, "name"), "model.pt");
    assert_int_equal(fstatat(dir, "model.pt", &st, 0), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "bytes")), st.st_size);
    assert_int_equal(strlen(text_at(first, "sha256")), 64);
    assert_true(json_is_true(json_object_get(json_object_get(result.report, "parity"), "ok")));
    json_decref(result.report);
    expect_files(dir, "model.pt model.py notes.txt report.json");
}

static void from_the_last(void (*job)(void *part), void *parts, size_t size, int count)
{
    while (count-- > 0)
        job((char *)parts + (size_t)count * size);
}

/* In whatever order the caller makes the further forms, they are the same. */
static void forms_do_not_depend_on_each_other(void **state)
{
    (void)state;
    json_t *artifacts[2];
    write_good();
    for (int i = 0; i < 2; i++) {
        struct convert_result result;
        int input = open_path(file_path("good")), dir = open_output();
        const struct convert_request request = {
            .input = input,
            .output_dir = dir,
            .formats = CONVERT_PT | CONVERT_PT2 | CONVERT_TORCHSCRIPT | CONVERT_SAFETENSORS,
            .spread = i ? from_the_last : NULL,
        };
        assert_int_equal(convert_run(&request, &result, NULL), 0);
        artifacts[i] = json_deep_copy(json_object_get(result.report, "artifacts"));
        json_decref(result.report);
        assert_int_equal(close(input), 0);
        expect_files(dir, "model.pt model.pt2 model.safetensors model.torchscript.pt notes.txt report.json");
    }
    assert_int_equal(json_array_size(artifacts[0]), 4);
    assert_true(json_equal(artifacts[0], artifacts[1]));
    json_decref(artifacts[0]);
    json_decref(artifacts[1]);
}

/* The file holds what the caller is given. */
static void the_report_is_written(void **state)
{
    (void)state;
    struct convert_result result;
    write_good();
    int dir = open_output();
    assert_int_equal(run("good", dir, 0, &result, NULL), 0);
    int fd = openat(dir, "report.json", O_RDONLY | O_CLOEXEC);
    json_t *written = json_loadfd(fd, 0, NULL);
    assert_non_null(written);
    assert_true(json_equal(json_object_get(written, "weights"), json_object_get(result.report, "weights")));
    assert_true(json_equal(json_object_get(written, "artifacts"), json_object_get(result.report, "artifacts")));
    assert_int_equal(json_object_size(written), json_object_size(result.report));
    json_decref(written);
    json_decref(result.report);
    (void)close(fd);
    expect_files(dir, "model.pt model.py notes.txt report.json");
}

static void only_what_is_asked_for(void **state)
{
    (void)state;
    struct convert_result result;
    write_good();
    int dir = open_output();
    assert_int_equal(run("good", dir, CONVERT_PY, &result, NULL), 0);
    json_decref(result.report);
    expect_files(dir, "model.py notes.txt report.json");
    dir = open_output();
    assert_int_equal(run("good", dir, CONVERT_PT, &result, NULL), 0);
    json_decref(result.report);
    expect_files(dir, "model.pt notes.txt report.json");
}

static void a_refused_model_leaves_the_report(void **state)
{
    (void)state;
    struct convert_result result;
    write_refused();
    int dir = open_output();
    assert_int_equal(run("refused", dir, 0, &result, NULL), 0);
    assert_int_equal(result.verdict, CONVERT_REFUSED);
    assert_string_equal(text_at(result.report, "verdict"), "refused");
    assert_string_equal(text_at(json_array_get(json_object_get(result.report, "refusals"), 0), "code"),
                        "UNSUPPORTED_LAYER");
    assert_int_equal(json_array_size(json_object_get(result.report, "artifacts")), 0);
    json_decref(result.report);
    expect_files(dir, "notes.txt report.json");
}

/* A model whose graph is good, but whose parity check may not take the memory that it needs. */
static void what_cannot_be_checked_is_not_handed_out(void **state)
{
    (void)state;
    struct convert_result result;
    write_good();
    int dir = open_output(), input = open_path(file_path("good"));
    assert_int_equal(
        convert_run(&(struct convert_request){.input = input, .output_dir = dir, .parity_memory = 8}, &result, NULL),
        0);
    assert_int_equal(close(input), 0);
    assert_int_equal(result.verdict, CONVERT_REFUSED);
    assert_string_equal(text_at(json_array_get(json_object_get(result.report, "refusals"), 0), "code"),
                        "LIMIT_EXCEEDED");
    json_decref(result.report);
    expect_files(dir, "notes.txt report.json");
}

static void an_unreadable_file_leaves_nothing(void **state)
{
    (void)state;
    struct convert_result result = {.report = NULL};
    struct h5pt_error err = H5PT_ERROR_INIT;
    FILE *file = fopen(file_path("text"), "w");
    assert_true(file && fputs("This is not a model.\n", file) > 0 && fclose(file) == 0);
    int dir = open_output();
    assert_int_equal(run("text", dir, 0, &result, &err), -1);
    assert_int_equal(err.code, H5PT_NOT_HDF5);
    assert_int_equal(h5pt_code_exit(err.code), 5);
    assert_null(result.report);
    expect_files(dir, "notes.txt");
}

static void malformed_json_leaves_nothing(void **state)
{
    (void)state;
    struct convert_result result;
    struct h5pt_error err = H5PT_ERROR_INIT;
    write_model("malformed", "2.15.0", "{'class_name':", 0, NULL);
    int dir = open_output();
    assert_int_equal(run("malformed", dir, 0, &result, &err), -1);
    assert_int_equal(err.code, H5PT_CONFIG_MALFORMED);
    expect_files(dir, "notes.txt");
}

static void a_dry_run_writes_nothing(void **state)
{
    (void)state;
    struct convert_result result;
    write_good();
    write_refused();
    int dir = open_output(), here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(here >= 0 && fchdir(dir) == 0); /* where relative names would end up */
    assert_int_equal(run("good", -1, 0, &result, NULL), 0);
    assert_int_equal(result.verdict, CONVERT_CONVERTED);
    assert_true(json_is_null(json_object_get(result.report, "parity")));
    assert_int_equal(json_array_size(json_object_get(result.report, "artifacts")), 0);
    json_decref(result.report);
    assert_int_equal(run("refused", -1, 0, &result, NULL), 0);
    assert_int_equal(result.verdict, CONVERT_REFUSED);
    json_decref(result.report);
    assert_true(fchdir(here) == 0 && close(here) == 0);
    expect_files(dir, ".h5pt-model.pt model.pt model.py notes.txt report.json");
}

/* A directory stands where model.py should: model.pt has its name already, and must not stay alone. */
static void an_output_that_cannot_be_written(void **state)
{
    (void)state;
    struct convert_result result;
    struct h5pt_error err = H5PT_ERROR_INIT;
    write_good();
    int dir = open_output();
    assert_int_equal(unlinkat(dir, "model.py", 0), 0);
    assert_int_equal(mkdirat(dir, "model.py", 0755), 0);
    assert_int_equal(run("good", dir, 0, &result, &err), -1);
    assert_int_equal(err.code, H5PT_IO);
    assert_string_equal(err.where, "model.py");
    assert_true(err.sys_errno != 0);
    assert_int_equal(unlinkat(dir, "model.py", AT_REMOVEDIR), 0);
    expect_files(dir, "notes.txt");
}

static void graphs_are_dumped(void **state)
{
    (void)state;
    struct convert_result result;
    struct strbuf dump = STRBUF_INIT;
    write_good();
    int input = open_path(file_path("good"));
    assert_int_equal(convert_run(
                         &(struct convert_request){
                             .input = input, .output_dir = -1, .dump_keras = true, .dump_torch = true, .dump = &dump},
                         &result, NULL),
                     0);
    assert_int_equal(close(input), 0);
    json_decref(result.report);
    assert_non_null(strstr(strbuf_text(&dump), "keras Sequential \"net\""));
    assert_non_null(strstr(strbuf_text(&dump), "\ntorch graph Net\n"));
    strbuf_release(&dump);
}

static void note_stage(void *context, enum convert_stage stage, double fraction)
{
    struct strbuf *stages = context;
    if (fraction == 0)
        strbuf_addf(stages, "%s ", convert_stage_name(stage));
}

static void stages_come_in_order(void **state)
{
    (void)state;
    struct convert_result result;
    struct strbuf stages = STRBUF_INIT;
    write_good();
    int dir = open_output(), input = open_path(file_path("good"));
    assert_int_equal(
        convert_run(
            &(struct convert_request){.input = input, .output_dir = dir, .progress = note_stage, .context = &stages},
            &result, NULL),
        0);
    assert_int_equal(close(input), 0);
    json_decref(result.report);
    assert_string_equal(strbuf_text(&stages), "read graph lower write parity report ");
    strbuf_release(&stages);
    expect_files(dir, "model.pt model.py notes.txt report.json");
}

/* The same input gives the same bytes. */
static void conversions_can_be_repeated(void **state)
{
    (void)state;
    struct convert_result first, second;
    write_good();
    int dir = open_output();
    assert_int_equal(run("good", dir, 0, &first, NULL), 0);
    assert_int_equal(run("good", dir, 0, &second, NULL), 0);
    assert_true(json_equal(json_object_get(first.report, "artifacts"), json_object_get(second.report, "artifacts")));
    json_decref(first.report);
    json_decref(second.report);
    expect_files(dir, "model.pt model.py notes.txt report.json");
}

static void options_are_parsed(void **state)
{
    (void)state;
    struct h5pt_error err = H5PT_ERROR_INIT;
    unsigned formats = 0;
    enum convert_parity parity = CONVERT_PARITY_FULL;
    assert_int_equal(convert_parse_formats("py,pt", &formats, &err), 0);
    assert_int_equal(formats, CONVERT_PT | CONVERT_PY);
    assert_int_equal(convert_parse_parity("off", &parity, &err), 0);
    assert_int_equal(parity, CONVERT_PARITY_OFF);
    assert_int_equal(convert_parse_formats("pt,exe", &formats, &err), -1);
    assert_int_equal(err.code, H5PT_USAGE);
    assert_int_equal(formats, CONVERT_PT | CONVERT_PY);
    err = (struct h5pt_error)H5PT_ERROR_INIT;
    assert_int_equal(convert_parse_parity("maybe", &parity, &err), -1);
    assert_int_equal(err.code, H5PT_USAGE);
    assert_int_equal(parity, CONVERT_PARITY_OFF);
}

static bool holds(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            return true;
    return false;
}

/* Every class that a limit names is one of its table. */
static void limits_are_of_known_classes(void **state)
{
    (void)state;
    for (int operations = 0; operations < 2; operations++) {
        const struct layer_class *first = operations ? layer_operation_at(0) : layer_class_at(0);
        for (const struct layer_limit *limit = first->limits; limit->classes; limit++) {
            const char *cursor = limit->classes, *word;
            size_t length;
            while ((word = word_next(&cursor, &length))) {
                char name[64] = "";
                assert_true(length < sizeof name);
                memcpy(name, word, length);
                const struct layer_class *class = operations ? layer_operation_find(name) : layer_class_find(name);
                if (!class || strcmp(class->name, name) != 0)
                    fail_msg("\"%s\" has a limit, but no row", name);
            }
        }
    }
}

static const json_t *find(const json_t *rows, const char *class_name)
{
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (strcmp(text_at(json_array_get(rows, i), "class"), class_name) == 0)
            return json_array_get(rows, i);
    return NULL;
}

static void capabilities_are_those_of_the_tables(void **state)
{
    (void)state;
    json_t *all = convert_capabilities();
    const json_t *layers = json_object_get(all, "layers");
    size_t count = 0;
    for (const struct layer_class *class; (class = layer_class_at(count)); count++) {
        const json_t *row = json_array_get(layers, count);
        assert_string_equal(text_at(row, "class"), class->name);
        assert_true(*text_at(row, "family") && json_array_size(json_object_get(row, "versions")) > 0 &&
                    json_array_size(json_object_get(row, "torch")) > 0);
    }
    assert_true(count > 50);
    assert_int_equal(json_array_size(layers), count);
    assert_string_equal(text_at(json_array_get(layers, 0), "family"), "Core");
    const json_t *conv = find(layers, "Conv1D"), *maximum = find(json_object_get(all, "operations"), "Maximum");
    assert_string_equal(text_at(conv, "family"), "Convolution");
    assert_true(holds(json_object_get(conv, "aliases"), "Convolution1D") &&
                holds(json_object_get(conv, "aliases"), "AtrousConvolution1D"));
    assert_true(holds(json_object_get(maximum, "torch"), "torch.maximum") &&
                holds(json_object_get(maximum, "torch"), "torch.clamp"));
    assert_true(holds(json_object_get(maximum, "functions"), "keras.ops.maximum") &&
                holds(json_object_get(maximum, "functions"), "tf.math.maximum"));
    assert_false(holds(json_object_get(maximum, "functions"), "tf.clip_by_value"));
    assert_true(holds(json_object_get(all, "functions"), "tf.clip_by_value"));
    const json_t *relu = json_array_get(json_object_get(all, "activations"), 1);
    assert_true(holds(json_object_get(relu, "names"), "relu") && holds(json_object_get(relu, "torch"), "nn.ReLU") &&
                holds(json_object_get(relu, "torch"), "F.relu"));
    assert_true(holds(json_object_get(all, "formats"), "pt") && holds(json_object_get(all, "parity"), "quick"));
    json_decref(all);
    json_t *version = convert_version();
    assert_true(json_object_size(json_object_get(version, "libraries")) >= 3);
    json_decref(version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_converted_model_leaves_its_artifacts),
        cmocka_unit_test(forms_do_not_depend_on_each_other),
        cmocka_unit_test(the_report_is_written),
        cmocka_unit_test(only_what_is_asked_for),
        cmocka_unit_test(a_refused_model_leaves_the_report),
        cmocka_unit_test(what_cannot_be_checked_is_not_handed_out),
        cmocka_unit_test(an_unreadable_file_leaves_nothing),
        cmocka_unit_test(malformed_json_leaves_nothing),
        cmocka_unit_test(a_dry_run_writes_nothing),
        cmocka_unit_test(an_output_that_cannot_be_written),
        cmocka_unit_test(graphs_are_dumped),
        cmocka_unit_test(stages_come_in_order),
        cmocka_unit_test(conversions_can_be_repeated),
        cmocka_unit_test(options_are_parsed),
        cmocka_unit_test(capabilities_are_those_of_the_tables),
        cmocka_unit_test(limits_are_of_known_classes),
    };
    return cmocka_run_group_tests(tests, begin_files, end_files);
}
