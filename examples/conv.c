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
    TRY(im2col_conv_forward(conv, v, w, bias, g, NULL, 0));
    if (!same("g", g, want_g, 4)) return 1;

    /* Backward: the error dg of the output becomes that of the filter, the bias and the image. */
    const float dg[4] = {1, 2, 3, 4};
    float dw[4], db[1], dv[9];
    const float want_dw[4] = {37, 47, 67, 77}, want_db[1] = {10};
    const float want_dv[9] = {1, 12, 20, 103, 1234, 2040, 300, 3400, 4000};
    TRY(im2col_conv_backward_weight(conv, v, dg, dw, IM2COL_OVERWRITE, NULL, 0));
    TRY(im2col_conv_backward_bias(conv, dg, db, IM2COL_OVERWRITE));
    TRY(im2col_conv_backward_data(conv, w, dg, dv, IM2COL_OVERWRITE, NULL, 0));
    if (!same("dw", dw, want_dw, 4) || !same("db", db, want_db, 1)) return 1;
    if (!same("dv", dv, want_dv, 9)) return 1;
    im2col_conv_destroy(conv);

    /* What is wrong with a layer comes as a message. */
    params.stride[1] = 0;
    if (im2col_conv_create(&params, &conv) != IM2COL_INVALID_ARGUMENT || conv != NULL) return 1;
    if (strcmp(im2col_last_error(), "stride of axis 1 is 0: it must be at least 1") != 0) return 1;
    printf("refused, as it should be: %s\n", im2col_last_error());
    return 0;
}
