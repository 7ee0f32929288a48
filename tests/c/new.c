/* The calls that take lengths and options: every one of them, and what they refuse. */
#include "im2col.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, im2col_last_error()); \
            return 1;                                                               \
        }                                                                           \
    } while (0)
#define OK(call) CHECK((call) == IM2COL_OK)
#define REFUSED(call, said) CHECK((call) == IM2COL_INVALID_ARGUMENT && strstr(im2col_last_error(), said) != NULL)

/* An executor: a thread for each job but the first. */
struct job {
    im2col_job run;
    void *context;
    size_t index;
};

static void *thread(void *argument) {
    struct job *job = argument;
    job->run(job->context, job->index);
    return NULL;
}

static void run(void *context, size_t jobs, im2col_job run, void *job_context) {
    pthread_t threads[8];
    struct job all[8];
    *(size_t *)context += jobs;
    for (size_t i = 1; i < jobs && i < 8; i++) {
        all[i] = (struct job){run, job_context, i};
        pthread_create(&threads[i], NULL, thread, &all[i]);
    }
    run(job_context, 0);
    for (size_t i = 1; i < jobs && i < 8; i++) pthread_join(threads[i], NULL);
}

/* An executor that does nothing: the caller's thread does it all. */
static void lazy(void *context, size_t jobs, im2col_job run, void *job_context) {
    (void)context, (void)jobs, (void)run, (void)job_context;
}

static int all(const float *found, const float *wanted, size_t len) {
    return memcmp(found, wanted, len * sizeof(float)) == 0;
}

enum { N = 4, C = 8, H = 40, W = 40, K = 16, IN = N * C * H * W, OUT = N * K * H * W, WEIGHT = K * C * 9 };
static float x[IN], w[WEIGHT], bias[K], y[OUT], plain[OUT], dy[OUT], masked[OUT];
static float dx[IN], plain_dx[IN], dw[WEIGHT], plain_dw[WEIGHT], db[K], plain_db[K];
static unsigned char scratch[8 << 20];

static im2col_conv_params layer(void) {
    im2col_conv_params params = {
        .spatial_dims = 2, .dtype = IM2COL_F32, .layout = IM2COL_CHANNELS_FIRST,
        .algorithm = IM2COL_ALGORITHM_TILE,
        .batch = N, .in_channels = C, .out_channels = K, .groups = 1,
        .input = {H, W}, .kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1},
        .pad_begin = {1, 1}, .pad_end = {1, 1},
    };
    return params;
}

/* relu(conv + bias + residual), and its gradients, by one call each and by the plain ones. */
static int training(void) {
    im2col_conv_params params = layer();
    params.algorithm = IM2COL_ALGORITHM_AUTO;
    im2col_conv_options options = {.size = sizeof options, .activation = IM2COL_ACTIVATION_RELU};
    im2col_conv *conv, *old;
    OK(im2col_conv_create_with(&params, &options, &conv));
    OK(im2col_conv_create(&params, &old));
    for (size_t i = 0; i < IN; i++) x[i] = (float)(i % 5) - 2;
    for (size_t i = 0; i < WEIGHT; i++) w[i] = (float)(i % 3) - 1;
    for (size_t i = 0; i < K; i++) bias[i] = (float)i - 8;
    for (size_t i = 0; i < OUT; i++) dy[i] = (float)(i % 7) - 3;
    size_t handed = 0;
    im2col_executor executor = {.workers = 3, .context = &handed, .run = run};
    size_t bytes, most = 0;
    for (int32_t pass = 0; pass < 3; pass++) {
        OK(im2col_conv_scratch_bytes_for(conv, pass, 3, &bytes));
        most = bytes > most ? bytes : most;
    }
    CHECK(most <= sizeof scratch);
    OK(im2col_conv_scratch_bytes_for(conv, IM2COL_FORWARD, 0, &bytes));

    im2col_packed *packed;
    OK(im2col_packed_create(conv, IM2COL_FORWARD, w, WEIGHT, &packed));
    int32_t pass = 77;
    OK(im2col_packed_query(packed, &pass, &bytes));
    CHECK(pass == IM2COL_FORWARD && bytes >= sizeof w);
    im2col_call call = {.size = sizeof call, .bias = bias, .bias_len = K, .residual = dy, .residual_len = OUT};
    call.executor = &executor;
    call.packed = packed;
    call.scratch = scratch;
    call.scratch_bytes = sizeof scratch;
    OK(im2col_forward(conv, x, IN, NULL, 0, y, OUT, &call));
    CHECK(handed > 0);
    OK(im2col_conv_forward(old, x, w, bias, plain, NULL, 0));
    for (size_t i = 0; i < OUT; i++) {
        float sum = plain[i] + dy[i];
        plain[i] = sum > 0 ? sum : 0;
        masked[i] = sum > 0 ? dy[i] : 0;
    }
    CHECK(all(y, plain, OUT));

    call = (im2col_call){.size = sizeof call, .mask = y, .mask_len = OUT, .executor = &executor};
    OK(im2col_backward_data(conv, w, WEIGHT, dy, OUT, dx, IN, &call));
    OK(im2col_conv_backward_data(old, w, masked, plain_dx, IM2COL_OVERWRITE, NULL, 0));
    CHECK(all(dx, plain_dx, IN));
    call.grad_bias = db;
    call.grad_bias_len = K;
    OK(im2col_backward_weight(conv, x, IN, dy, OUT, dw, WEIGHT, &call));
    OK(im2col_conv_backward_weight(old, x, masked, plain_dw, IM2COL_OVERWRITE, NULL, 0));
    OK(im2col_conv_backward_bias(old, masked, plain_db, IM2COL_OVERWRITE));
    CHECK(all(dw, plain_dw, WEIGHT) && all(db, plain_db, K));
    call.grad_bias = NULL;
    call.grad_bias_len = 0;
    call.mode = IM2COL_ACCUMULATE;
    executor.run = lazy;
    OK(im2col_backward_bias(conv, dy, OUT, db, K, &call));
    for (size_t i = 0; i < K; i++) CHECK(db[i] == 2 * plain_db[i]);

    /* Nothing is written where something is wrong. */
    memcpy(plain, y, sizeof y);
    REFUSED(im2col_forward(conv, x, IN - 1, w, WEIGHT, y, OUT, NULL), "input has");
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT + 1, y, OUT, NULL), "weight has");
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT, y, 0, NULL), "output has 0 elements");
    REFUSED(im2col_forward(conv, x, IN, NULL, WEIGHT, y, OUT, NULL), "weight is NULL");
    REFUSED(im2col_forward(conv, NULL, IN, w, WEIGHT, y, OUT, NULL), "input is NULL");
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT, y, OUT, &call), "forward takes no mask");
    call = (im2col_call){.size = sizeof call, .bias = bias, .bias_len = 1};
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT, y, OUT, &call), "bias has 1 element:");
    call = (im2col_call){.size = sizeof call, .residual = y, .residual_len = OUT};
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT, y, OUT, &call), "share memory");
    call = (im2col_call){.size = 8};
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT, y, OUT, &call), "it must be");
    call = (im2col_call){.size = sizeof call, .mode = 2};
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT, y, OUT, &call), "mode is 2");
    call = (im2col_call){.size = sizeof call, .packed = packed};
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT, y, OUT, &call), "give NULL and 0 for the weight");
    REFUSED(im2col_backward_data(conv, NULL, 0, dy, OUT, dx, IN, &call), "packed for forward");
    executor.workers = 0;
    call = (im2col_call){.size = sizeof call, .executor = &executor};
    REFUSED(im2col_forward(conv, x, IN, w, WEIGHT, y, OUT, &call), "0 workers");
    call = (im2col_call){.size = sizeof call, .scratch = scratch, .scratch_bytes = 1, .mask = y, .mask_len = OUT};
    REFUSED(im2col_backward_data(conv, w, WEIGHT, dy, OUT, dx, IN, &call), "scratch has 1 byte:");
    REFUSED(im2col_backward_bias(conv, dy, OUT, db, K + 1, NULL), "grad_bias has 17");
    REFUSED(im2col_packed_create(conv, IM2COL_BACKWARD_WEIGHT, w, WEIGHT, &packed), "reads no weights");
    CHECK(packed == NULL && all(y, plain, OUT) && all(dx, plain_dx, IN));
    im2col_packed_destroy(packed);
    im2col_conv_destroy(conv);
    im2col_conv_destroy(old);
    return 0;
}

/* Plans of other batches and sizes, and what a plan knows. */
static int shapes(void) {
    im2col_conv_params params = layer();
    im2col_conv *conv, *one, *none, *small;
    OK(im2col_conv_create_with(&params, NULL, &conv));
    OK(im2col_conv_with_batch(conv, 1, &one));
    OK(im2col_conv_with_batch(conv, 0, &none));
    const size_t sizes[2] = {10, 12};
    OK(im2col_conv_with_input(conv, sizes, 2, &small));
    size_t found[5], count, len;
    OK(im2col_conv_sizes(small, IM2COL_OUTPUT, found, &count));
    CHECK(count == 4 && found[0] == N && found[1] == K && found[2] == 10 && found[3] == 12);
    OK(im2col_conv_len(one, IM2COL_INPUT, &len));
    CHECK(len == IN / N);
    OK(im2col_conv_len(one, IM2COL_WEIGHT, &len));
    CHECK(len == WEIGHT);
    REFUSED(im2col_conv_len(one, 3, &len), "tensor is 3");
    REFUSED(im2col_conv_with_input(conv, sizes, 1, &small), "wants 2, one for each spatial axis");
    CHECK(small == NULL);
    /* An image has the same bits in a batch of any size. */
    OK(im2col_forward(conv, x, IN, w, WEIGHT, y, OUT, NULL));
    OK(im2col_forward(one, x, IN / N, w, WEIGHT, plain, OUT / N, NULL));
    CHECK(all(y, plain, OUT / N));
    OK(im2col_forward(none, NULL, 0, w, WEIGHT, NULL, 0, NULL));
    OK(im2col_backward_weight(none, NULL, 0, NULL, 0, dw, WEIGHT, NULL));
    for (size_t i = 0; i < WEIGHT; i++) CHECK(dw[i] == 0);
    char text[16];
    OK(im2col_conv_explain(conv, text, sizeof text, &len));
    CHECK(len > sizeof text && strlen(text) == 15);
    OK(im2col_conv_explain(conv, NULL, 0, &len));
    im2col_conv_destroy(conv);
    im2col_conv_destroy(one);
    im2col_conv_destroy(none);
    return 0;
}

/* Every input element stamps the filter onto the output, two elements apart. */
static int transposed(void) {
    im2col_conv_params params = {
        .spatial_dims = 1, .batch = 1, .in_channels = 1, .out_channels = 1, .groups = 1,
        .input = {3}, .kernel = {2}, .stride = {2}, .dilation = {1},
    };
    im2col_conv_options options = {.size = sizeof options, .transposed = 1, .output_padding = {1}};
    im2col_conv *conv;
    OK(im2col_conv_create_with(&params, &options, &conv));
    size_t output[3];
    OK(im2col_conv_output(conv, output));
    CHECK(output[0] == 7);
    const float in[3] = {1, 2, 3}, stamp[2] = {10, 1}, half[1] = {0.5f}, ones[7] = {1, 1, 1, 1, 1, 1, 1};
    float out[7], grad[3], of_stamp[2], sum[1];
    im2col_call call = {.size = sizeof call, .bias = half, .bias_len = 1};
    OK(im2col_forward(conv, in, 3, stamp, 2, out, 7, &call));
    CHECK(all(out, (const float[7]){10.5f, 1.5f, 20.5f, 2.5f, 30.5f, 3.5f, 0.5f}, 7));
    OK(im2col_conv_forward(conv, in, stamp, half, out, NULL, 0));
    CHECK(out[4] == 30.5f);
    OK(im2col_backward_data(conv, stamp, 2, ones, 7, grad, 3, NULL));
    CHECK(all(grad, (const float[3]){11, 11, 11}, 3));
    OK(im2col_backward_weight(conv, in, 3, ones, 7, of_stamp, 2, NULL));
    CHECK(all(of_stamp, (const float[2]){6, 6}, 2));
    OK(im2col_backward_bias(conv, ones, 7, sum, 1, NULL));
    CHECK(sum[0] == 7);
    CHECK(im2col_im2col(conv, in, out) == IM2COL_UNSUPPORTED);
    im2col_conv_destroy(conv);
    options.output_padding[0] = 2;
    REFUSED(im2col_conv_create_with(&params, &options, &conv), "output_padding 2 must be smaller");
    CHECK(conv == NULL);
    options.size = 3;
    REFUSED(im2col_conv_create_with(&params, &options, &conv), "it must be");
    params.batch = (size_t)-1;
    CHECK(im2col_conv_create_with(&params, NULL, &conv) == IM2COL_OVERFLOW && conv == NULL);
    return 0;
}

/* An axis of four elements, reflected: the sums of three neighbours, and how often each element is in one. */
static int reflected(void) {
    im2col_conv_params params = {
        .spatial_dims = 1, .batch = 1, .in_channels = 1, .out_channels = 1, .groups = 1,
        .input = {4}, .kernel = {3}, .stride = {1}, .dilation = {1}, .pad_begin = {1}, .pad_end = {1},
    };
    im2col_conv_options options = {.size = sizeof options, .padding_mode = IM2COL_PADDING_REFLECT};
    im2col_conv *conv;
    OK(im2col_conv_create_with(&params, &options, &conv));
    const float in[4] = {1, 2, 3, 4}, ones[4] = {1, 1, 1, 1};
    float out[4];
    OK(im2col_forward(conv, in, 4, ones, 3, out, 4, NULL));
    CHECK(all(out, (const float[4]){5, 6, 9, 10}, 4));
    OK(im2col_backward_data(conv, ones, 3, ones, 4, out, 4, NULL));
    CHECK(all(out, (const float[4]){2, 4, 4, 2}, 4));
    im2col_conv_destroy(conv);
    params.pad_end[0] = 4;
    REFUSED(im2col_conv_create_with(&params, &options, &conv), "it must be at most 3");
    options.padding_mode = 4;
    REFUSED(im2col_conv_create_with(&params, &options, &conv), "padding_mode is 4");
    return 0;
}

int main(void) {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", IM2COL_VERSION_MAJOR, IM2COL_VERSION_MINOR, IM2COL_VERSION_PATCH);
    CHECK(strcmp(version, im2col_version()) == 0);
    return training() || shapes() || transposed() || reflected();
}
