/* The library from C: one layer forward and backward, checked by hand.
 *
 *     cargo build --release --features capi
 *     cc -Iinclude examples/conv.c target/release/libim2col.a -lpthread -ldl -lm -o target/conv && target/conv
 */
#include "im2col.h"
#include <stdio.h>
#include <string.h>

/* Says where a call failed, and why, and ends the program. */
#define TRY(call)                                                           \
    do {                                                                    \
        if ((call) != IM2COL_OK) {                                          \
            fprintf(stderr, "%s: %s\n", #call, im2col_last_error());        \
            return 1;                                                       \
        }                                                                   \
    } while (0)

static int same(const char *what, const float *found, const float *wanted, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (found[i] != wanted[i]) {
            fprintf(stderr, "%s[%zu] is %g, not %g\n", what, i, found[i], wanted[i]);
            return 0;
        }
    }
    return 1;
}

int main(void) {
    /* The 3x3 image V1..V9 under the 2x2 filter W1..W4 makes the 2x2 output G1..G4. */
    im2col_conv_params params = {
        .spatial_dims = 2, .dtype = IM2COL_F32, .layout = IM2COL_CHANNELS_FIRST,
        .algorithm = IM2COL_ALGORITHM_AUTO,
        .batch = 1, .in_channels = 1, .out_channels = 1, .groups = 1,
        .input = {3, 3}, .kernel = {2, 2}, .stride = {1, 1}, .dilation = {1, 1},
    };
    im2col_conv *conv;
    TRY(im2col_conv_create(&params, &conv));
    size_t out[3];
    TRY(im2col_conv_output(conv, out));
    printf("im2col %s (%s): output %zux%zu\n", im2col_version(), im2col_isa(), out[0], out[1]);

    /* Forward: the filter at each of its four places. */
    const float v[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, w[4] = {1, 10, 100, 1000}, bias[1] = {0.5f};
    float g[4];
    const float want_g[4] = {5421.5f, 6532.5f, 8754.5f, 9865.5f};
    im2col_call with_bias = {.size = sizeof with_bias, .bias = bias, .bias_len = 1};
    TRY(im2col_forward(conv, v, 9, w, 4, g, 4, &with_bias));
    if (!same("g", g, want_g, 4)) return 1;

    /* Backward: the error dg of the output becomes that of the filter, in the same call of the bias, and of the image. */
    const float dg[4] = {1, 2, 3, 4};
    float dw[4], db[1], dv[9];
    const float want_dw[4] = {37, 47, 67, 77}, want_db[1] = {10};
    const float want_dv[9] = {1, 12, 20, 103, 1234, 2040, 300, 3400, 4000};
    im2col_call with_grad_bias = {.size = sizeof with_grad_bias, .grad_bias = db, .grad_bias_len = 1};
    TRY(im2col_backward_weight(conv, v, 9, dg, 4, dw, 4, &with_grad_bias));
    TRY(im2col_backward_data(conv, w, 4, dg, 4, dv, 9, NULL));
    if (!same("dw", dw, want_dw, 4) || !same("db", db, want_db, 1)) return 1;
    if (!same("dv", dv, want_dv, 9)) return 1;

    /* What is wrong with a call comes as a message, and nothing was written. */
    if (im2col_forward(conv, v, 9, w, 3, g, 4, NULL) != IM2COL_INVALID_ARGUMENT) return 1;
    if (strcmp(im2col_last_error(), "weight has 3 elements: this layer wants 4") != 0) return 1;
    printf("refused, as it should be: %s\n", im2col_last_error());
    im2col_conv_destroy(conv);

    /* So does what is wrong with a layer. */
    params.stride[1] = 0;
    if (im2col_conv_create(&params, &conv) != IM2COL_INVALID_ARGUMENT || conv != NULL) return 1;
    if (strcmp(im2col_last_error(), "stride of axis 1 is 0: it must be at least 1") != 0) return 1;
    printf("refused, as it should be: %s\n", im2col_last_error());
    return 0;
}
