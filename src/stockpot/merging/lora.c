/* A block of a folded tensor: base + scale * (up @ down), as `folding.py` defines it, bit for bit.
 *
 * Sums are made in double, from zero, k ascending; `down` and `up` are float32, so every product is
 * exact. To be compiled with -ffp-contract=off: what is added to the base is rounded first.
 */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST 0
#endif

/* Of which version of this file the library was made. */
EXPORT int64_t stockpot_source(void) { return SOURCE_DIGEST; }

#define WIDE 4 /* doubles in a register */
typedef double Doubles __attribute__((vector_size(8 * WIDE)));
typedef float Floats __attribute__((vector_size(4 * WIDE)));

typedef struct {
    const double *up;  /* of shape (rows, rank) */
    const float *down; /* of shape (rank, columns) */
    int64_t rank, columns;
    double scale;
} Factors;

INLINE Doubles widened(const float *from) {
    Floats found;
    memcpy(&found, from, sizeof found);
    return __builtin_convertvector(found, Doubles);
}

INLINE void add(float *to, Doubles sum, double scale) {
    Doubles folded = widened(to) + sum * scale;
    Floats rounded = __builtin_convertvector(folded, Floats);
    memcpy(to, &rounded, sizeof rounded);
}

/* Columns `begin` to `end` of `rows` rows, the first of which is at `to` from `begin` on. */
INLINE void rows_of(const Factors *factors, float *to, int64_t row, const int rows,
                    int64_t begin, int64_t end) {
    const int64_t rank = factors->rank, columns = factors->columns;
    const double *up = factors->up + row * rank, scale = factors->scale;
    int64_t at = begin;
    for (; at + 2 * WIDE <= end; at += 2 * WIDE) {
        Doubles low[4] = {{0}}, high[4] = {{0}};
        const float *down = factors->down + at;
        for (int64_t k = 0; k < rank; k++, down += columns) {
            Doubles a = widened(down), b = widened(down + WIDE);
            for (int i = 0; i < rows; i++) {
                low[i] += a * up[i * rank + k];
                high[i] += b * up[i * rank + k];
            }
        }
        for (int i = 0; i < rows; i++) {
            add(to + i * columns + at - begin, low[i], scale);
            add(to + i * columns + at - begin + WIDE, high[i], scale);
        }
    }
    for (; at < end; at++) {
        for (int i = 0; i < rows; i++) {
            double sum = 0;
            for (int64_t k = 0; k < rank; k++)
                sum += factors->down[k * columns + at] * up[i * rank + k];
            float *one = to + i * columns + at - begin;
            *one = (float)(*one + sum * scale);
        }
    }
}

INLINE void fold(const Factors *factors, float *values, int64_t first, int64_t count) {
    const int64_t columns = factors->columns;
    int64_t row = first / columns, begin = first % columns;
    while (count > 0) {
        int64_t rows = begin == 0 && count >= 4 * columns ? 4 : 1;
        int64_t end = begin + count < columns ? begin + count : columns;
        if (rows == 4) rows_of(factors, values, row, 4, 0, columns);
        else rows_of(factors, values, row, 1, begin, end);
        values += rows * (end - begin), count -= rows * (end - begin);
        row += rows, begin = 0;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void fold_avx2(const Factors *factors, float *values,
                                                      int64_t first, int64_t count) {
    fold(factors, values, first, count);
}
#endif

static void fold_plain(const Factors *factors, float *values, int64_t first, int64_t count) {
    fold(factors, values, first, count);
}

/* Fold `count` elements of a tensor, from element `first` on; `values` are the base's. */
EXPORT void stockpot_fold_lora(float *values, const double *up, const float *down, int64_t rank,
                               int64_t columns, double scale, int64_t first, int64_t count) {
    Factors factors = {up, down, rank, columns, scale};
#if defined(__x86_64__)
    /* Others in the process may have told the processor to drop subnormal numbers. */
    unsigned int before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) fold_avx2(&factors, values, first, count);
    else fold_plain(&factors, values, first, count);
    _mm_setcsr(before);
#else
    fold_plain(&factors, values, first, count);
#endif
}
