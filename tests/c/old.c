/* Every call of the first header, against the library as it is: programs that were written for it go on. */
#include "im2col-0.1.h"
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, im2col_last_error()); \
            return 1;                                                               \
        }                                                                           \
    } while (0)

static int all(const float *found, const float *wanted, size_t len) {
    return memcmp(found, wanted, len * sizeof(float)) == 0;
}

int main(void) {
    CHECK(im2col_version()[0] != 0 && im2col_isa()[0] != 0);
    im2col_conv_params params;
    memset(&params, 0, sizeof params);
    params.spatial_dims = 2;
    params.dtype = IM2COL_F32;
    params.layout = IM2COL_CHANNELS_FIRST;
    params.algorithm = IM2COL_ALGORITHM_AUTO;
    params.batch = params.in_channels = params.out_channels = params.groups = 1;
    params.input[0] = params.input[1] = 3;
    params.kernel[0] = params.kernel[1] = 2;
    params.stride[0] = params.stride[1] = params.dilation[0] = params.dilation[1] = 1;
    CHECK(im2col_set_num_threads(2) == IM2COL_OK);
    const uint32_t algorithms[3] = {
        IM2COL_ALGORITHM_AUTO, IM2COL_ALGORITHM_EXPLICIT, IM2COL_ALGORITHM_IMPLICIT};
    for (int i = 0; i < 3; i++) {
        params.algorithm = algorithms[i];
        im2col_conv *conv;
        CHECK(im2col_conv_create(&params, &conv) == IM2COL_OK);
        size_t output[3] = {0, 0, 77};
        CHECK(im2col_conv_output(conv, output) == IM2COL_OK);
        CHECK(output[0] == 2 && output[1] == 2 && output[2] == 77);
        unsigned char scratch[1 << 16];
        size_t bytes;
        const int32_t passes[3] = {IM2COL_FORWARD, IM2COL_BACKWARD_DATA, IM2COL_BACKWARD_WEIGHT};
        for (int pass = 0; pass < 3; pass++) {
            CHECK(im2col_conv_scratch_bytes(conv, passes[pass], &bytes) == IM2COL_OK);
            CHECK(bytes <= sizeof scratch);
        }
        const float v[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, w[4] = {1, 10, 100, 1000}, bias[1] = {0.5f};
        const float dg[4] = {1, 2, 3, 4};
        float g[4], dv[9], dw[4], db[1], cols[16], image[9];
        CHECK(im2col_conv_forward(conv, v, w, bias, g, scratch, sizeof scratch) == IM2COL_OK);
        CHECK(all(g, (const float[4]){5421.5f, 6532.5f, 8754.5f, 9865.5f}, 4));
        CHECK(im2col_conv_forward(conv, v, w, NULL, g, NULL, 0) == IM2COL_OK);
        CHECK(all(g, (const float[4]){5421, 6532, 8754, 9865}, 4));
        CHECK(im2col_conv_backward_data(conv, w, dg, dv, IM2COL_OVERWRITE, NULL, 0) == IM2COL_OK);
        CHECK(all(dv, (const float[9]){1, 12, 20, 103, 1234, 2040, 300, 3400, 4000}, 9));
        CHECK(im2col_conv_backward_weight(conv, v, dg, dw, IM2COL_OVERWRITE, NULL, 0) == IM2COL_OK);
        CHECK(im2col_conv_backward_weight(conv, v, dg, dw, IM2COL_ACCUMULATE, scratch, sizeof scratch) == IM2COL_OK);
        CHECK(all(dw, (const float[4]){74, 94, 134, 154}, 4));
        CHECK(im2col_conv_backward_bias(conv, dg, db, IM2COL_OVERWRITE) == IM2COL_OK && db[0] == 10);
        CHECK(im2col_im2col(conv, v, cols) == IM2COL_OK);
        CHECK(all(cols, (const float[16]){1, 2, 4, 5, 2, 3, 5, 6, 4, 5, 7, 8, 5, 6, 8, 9}, 16));
        CHECK(im2col_col2im(conv, cols, image, IM2COL_OVERWRITE) == IM2COL_OK);
        CHECK(all(image, (const float[9]){1, 4, 3, 8, 20, 12, 7, 16, 9}, 9));
        im2col_conv_destroy(conv);
    }
    im2col_conv *conv;
    params.layout = IM2COL_CHANNELS_LAST;
    params.dtype = IM2COL_F64;
    CHECK(im2col_conv_create(&params, &conv) == IM2COL_OK);
    im2col_conv_destroy(conv);
    params.stride[0] = 0;
    CHECK(im2col_conv_create(&params, &conv) == IM2COL_INVALID_ARGUMENT && conv == NULL);
    params.stride[0] = 1;
    params.batch = (size_t)-1;
    CHECK(im2col_conv_create(&params, &conv) == IM2COL_OVERFLOW && conv == NULL);
    CHECK(IM2COL_OUT_OF_MEMORY == 3 && IM2COL_UNSUPPORTED == 4 && IM2COL_INTERNAL == 5);
    im2col_conv_destroy(NULL);
    return 0;
}
