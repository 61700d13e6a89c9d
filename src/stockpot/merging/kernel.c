/* The mean of a block of elements, for processors with AVX2, F16C and FMA. Plain C, no Python.
 *
 * What it decides it decides exactly as `mean.py` does, bit for bit; what it cannot decide it
 * lists, and `mean.py` does that. The proof of both sums and quotients stands in `kernel.py`; that
 * of sums that are kept in `accumulator_blocks.py`.
 * To be compiled without -ffast-math; -ffp-contract has nothing to contract, for every
 * multiplication here is exact.
 */
#define _POSIX_C_SOURCE 200809L /* for pread */
#include <stdint.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST 0
#endif

/* The digest of the version of this file that the library was compiled from. */
EXPORT int64_t stockpot_source(void) { return SOURCE_DIGEST; }

enum { F16, BF16, F32 };

/* A block of kept sums, and what is to be added to it; see accumulator_blocks.py. */
typedef struct {
    const void *old;           /* the old sums; unused if old_width is 0 */
    int64_t old_width;         /* bytes of each old sum: 4, 8, or 0 if all are zero */
    double times, divisor;     /* new = (times * old + what is added) / divisor, exactly */
    const void *const *inputs; /* one array for each ingredient that is added */
    const double *weights;     /* whole numbers of either sign */
    int64_t count;
    double total;              /* what the new sums are divided by for the mean */
    int64_t checked;           /* whether float64 may be too narrow for a sum */
    int64_t elements, given, output;
    void *sums;
    int64_t width;             /* bytes of each new sum: 4 or 8 */
    void *out;                 /* the means */
    uint32_t *doubts;
    int64_t largest, overflow; /* answers: as of stockpot_mean; a sum that 4 bytes do not hold */
} Account;

/* Blocks that lie in files, and the pieces of them that are in memory at once. */
typedef struct {
    const int *files;       /* one for each ingredient, open to be read */
    const int64_t *offsets; /* where the run begins in each, in bytes */
    void *const *pieces;    /* room for `piece` elements of each */
    int64_t piece;          /* elements */
} Files;

#define LANES 1024          /* of a fold */
#define FACTOR 0x9e3779b1u  /* odd, so that no change of one word is lost */

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,f16c,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET

#define CHUNK 32 /* elements that are added up in registers */
#define HALF 16  /* elements that go the wide way together */

typedef struct {
    const void *const *inputs; /* one array for each ingredient */
    const double *weights;     /* whole numbers below 2^53 */
    int64_t count;
    double total;
    int narrow_span, wide_span; /* how many binades the elements of one lane may span */
} Recipe;

static const int fraction_bits[] = {10, 7, 23};

/* ------------------------------------------------------------- what the inputs of a lane span */

/* Exponents of 16 lanes: the largest, and the smallest of what is not zero, never below 1. */
INLINE __m256i spans(__m256i most, __m256i least, int given, __m256i *top, __m256i *bottom) {
    int shift = fraction_bits[given];
    /* `least` is one less than the magnitude, so that zero became 0xffff. */
    __m256i small = _mm256_adds_epu16(least, _mm256_set1_epi16(1));
    *top = _mm256_srli_epi16(most, shift);
    *bottom = _mm256_max_epi16(_mm256_srli_epi16(small, shift), _mm256_set1_epi16(1));
    return _mm256_sub_epi16(*top, *bottom);
}

INLINE __m256i not_finite(__m256i top, int given) {
    return _mm256_cmpeq_epi16(top, _mm256_set1_epi16(given == F16 ? 31 : 255));
}

/* What the smallest is taken of in float32. BF16: one less, so that zero becomes 0xffff. F16: a zero
 * counts as of exponent 1, as the smallest numbers do: it takes an operation less, and where it asks
 * for too much float64 does what float32 could. */
INLINE __m256i for_least(__m256i magnitudes, int given) {
    return given == F16 ? magnitudes : _mm256_sub_epi16(magnitudes, _mm256_set1_epi16(1));
}

/* Lanes that float32 gets right: whose largest is below 2^(span + 1) times the power of two at or
 * below their smallest. BF16 has float32's range: what comes near its ends is not for it. */
INLINE __m256i right_in_float(__m256i most, __m256i least, int given, int span) {
    const int shift = fraction_bits[given], end = given == F16 ? 31 : 221;
    const __m256i exponents = _mm256_set1_epi16((short)(given == F16 ? 0x7c00 : 0x7f80));
    const __m256i one = _mm256_set1_epi16(1);
    __m256i bottom = given == F16 ? least : _mm256_adds_epu16(least, one);
    bottom = _mm256_and_si256(bottom, exponents);
    if (given == F16) bottom = _mm256_max_epi16(bottom, _mm256_set1_epi16(1 << 10));
    __m256i limit = _mm256_adds_epi16(bottom, _mm256_set1_epi16((short)((span + 1) << shift)));
    limit = _mm256_min_epi16(limit, _mm256_set1_epi16((short)(end << shift)));
    __m256i right = _mm256_cmpgt_epi16(limit, most);
    if (given == F16) return right;
    return _mm256_andnot_si256(_mm256_cmpgt_epi16(_mm256_set1_epi16(40 << 7), bottom), right);
}

/* One bit for each of 16 lanes that float64 may get wrong. */
INLINE uint32_t too_much_for_double(__m256i most, __m256i least, int given, int span) {
    __m256i top, bottom;
    __m256i over = spans(most, least, given, &top, &bottom);
    __m256i bad = _mm256_or_si256(
        _mm256_cmpgt_epi16(over, _mm256_set1_epi16((short)span)), not_finite(top, given));
    __m128i packed = _mm_packs_epi16(_mm256_castsi256_si128(bad), _mm256_extracti128_si256(bad, 1));
    return (uint32_t)_mm_movemask_epi8(packed);
}

/* One bit for each of 8 lanes of F32 that float64 may get wrong. */
INLINE uint32_t too_much_of_32(__m256i most, __m256i least, int span) {
    __m256i none = _mm256_cmpeq_epi32(least, _mm256_set1_epi32(-1));
    __m256i small = _mm256_add_epi32(least, _mm256_set1_epi32(1));
    __m256i top = _mm256_srli_epi32(most, 23);
    __m256i bottom = _mm256_max_epi32(_mm256_srli_epi32(small, 23), _mm256_set1_epi32(1));
    __m256i over = _mm256_sub_epi32(top, bottom);
    __m256i bad = _mm256_andnot_si256(none, _mm256_cmpgt_epi32(over, _mm256_set1_epi32(span)));
    bad = _mm256_or_si256(bad, _mm256_cmpeq_epi32(top, _mm256_set1_epi32(255)));
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(bad));
}

/* ------------------------------------------------------------------------- widening, rounding */

INLINE __m256 widened(__m128i stored, int given) {
    if (given == F16) return _mm256_cvtph_ps(stored);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(stored), 16));
}

INLINE __m128i narrowed(__m256 value, int output) {
    if (output == F16) return _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT);
    __m256i bits = _mm256_castps_si256(value);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    bits = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    bits = _mm256_srli_epi32(bits, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
}

/* float64 to float32 by cutting, with the last bit set where anything was cut off: to round that
 * again to a format of two bits less or fewer is to round once. */
INLINE __m128 cut_to_odd(__m256d value) {
    const __m256i lost = _mm256_set1_epi64x((1LL << 29) - 1);
    __m256i bits = _mm256_castpd_si256(value);
    __m256i whole = _mm256_cmpeq_epi64(_mm256_and_si256(bits, lost), _mm256_setzero_si256());
    __m256i odd = _mm256_andnot_si256(whole, _mm256_set1_epi64x(1LL << 29));
    bits = _mm256_or_si256(_mm256_andnot_si256(lost, bits), odd);
    return _mm256_cvtpd_ps(_mm256_castsi256_pd(bits));
}

/* One bit for each of 4 quotients that float32 would hold with fewer bits than it has. */
INLINE uint32_t below_normal(__m256d value) {
    __m256d size = _mm256_andnot_pd(_mm256_set1_pd(-0.0), value);
    __m256d small = _mm256_cmp_pd(size, _mm256_set1_pd(0x1p-126), _CMP_LT_OQ);
    __m256d some = _mm256_cmp_pd(size, _mm256_setzero_pd(), _CMP_NEQ_OQ);
    return (uint32_t)_mm256_movemask_pd(_mm256_and_pd(small, some));
}

/* Write 8 quotients; return the largest magnitudes so far. */
INLINE __m256i put_float(__m256 value, void *out, int64_t at, int output, __m256i largest) {
    if (output == F32) {
        _mm256_storeu_ps((float *)out + at, value);
        __m256i bits = _mm256_and_si256(_mm256_castps_si256(value), _mm256_set1_epi32(0x7fffffff));
        return _mm256_max_epu32(largest, bits);
    }
    __m128i bits = narrowed(value, output);
    _mm_storeu_si128((__m128i *)((uint16_t *)out + at), bits);
    __m256i wide = _mm256_cvtepu16_epi32(_mm_and_si128(bits, _mm_set1_epi16(0x7fff)));
    return _mm256_max_epu32(largest, wide);
}

/* Write 16 quotients in float32; with 16-bit outputs the largest are 16 bits wide too. */
INLINE __m256i put_floats(__m256 x, __m256 y, void *out, int64_t at, int output, __m256i largest) {
    if (output == F32)
        return put_float(y, out, at + 8, output, put_float(x, out, at, output, largest));
    __m256i bits = _mm256_castsi128_si256(narrowed(x, output));
    bits = _mm256_inserti128_si256(bits, narrowed(y, output), 1);
    _mm256_storeu_si256((__m256i *)((uint16_t *)out + at), bits);
    return _mm256_max_epu16(largest, _mm256_and_si256(bits, _mm256_set1_epi16(0x7fff)));
}

INLINE __m256 both(__m128 low, __m128 high) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

/* Write 8 quotients in float64; bits of `doubt` where they are not decided. */
INLINE __m256i put_double(__m256d low, __m256d high, void *out, int64_t at, int output,
                          uint32_t *doubt, __m256i largest) {
    __m256 value;
    if (output == F32) {
        value = both(_mm256_cvtpd_ps(low), _mm256_cvtpd_ps(high));
    } else {
        if (output == BF16) *doubt = below_normal(low) | below_normal(high) << 4;
        value = both(cut_to_odd(low), cut_to_odd(high));
    }
    return put_float(value, out, at, output, largest);
}

/* -------------------------------------------------------------------------------- adding up */

INLINE int64_t noted(uint32_t lanes, int64_t at, uint32_t *doubts, int64_t known) {
    while (lanes) {
        doubts[known++] = (uint32_t)(at + __builtin_ctz(lanes));
        lanes &= lanes - 1;
    }
    return known;
}

INLINE uint32_t largest_of(__m256i lanes, uint32_t top) {
    uint32_t each[8];
    _mm256_storeu_si256((__m256i *)each, lanes);
    for (int i = 0; i < 8; i++) top = each[i] > top ? each[i] : top;
    return top;
}

/* Add 8 elements. Where a product or a sum is exact, rounding it once or twice is the same. */
INLINE void add_wide(__m256 x, __m256d weight, __m256d *low, __m256d *high) {
    *low = _mm256_fmadd_pd(weight, _mm256_cvtps_pd(_mm256_castps256_ps128(x)), *low);
    *high = _mm256_fmadd_pd(weight, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)), *high);
}

/* Average 16 elements in float64, and note what is not decided. */
INLINE int64_t half_wide(const Recipe *recipe, int64_t at, int given, int output, void *out,
                         uint32_t *doubts, int64_t known, __m256i *largest) {
    const __m256i ones = given == F32 ? _mm256_set1_epi32(1) : _mm256_set1_epi16(1);
    const __m256d total = _mm256_set1_pd(recipe->total);
    /* From -0, not from zero: -0 stays -0 where every input is. */
    __m256d a = _mm256_set1_pd(-0.0), b = a, c = a, d = a;
    __m256i most_0 = _mm256_setzero_si256(), most_1 = most_0;
    __m256i least_0 = _mm256_set1_epi16(-1), least_1 = least_0;
    for (int64_t i = 0; i < recipe->count; i++) {
        __m256d weight = _mm256_set1_pd(recipe->weights[i]);
        if (given == F32) {
            const float *input = (const float *)recipe->inputs[i] + at;
            const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
            __m256 x = _mm256_loadu_ps(input), y = _mm256_loadu_ps(input + 8);
            __m256i m = _mm256_and_si256(_mm256_castps_si256(x), magnitude);
            __m256i n = _mm256_and_si256(_mm256_castps_si256(y), magnitude);
            most_0 = _mm256_max_epu32(most_0, m), most_1 = _mm256_max_epu32(most_1, n);
            least_0 = _mm256_min_epu32(least_0, _mm256_sub_epi32(m, ones));
            least_1 = _mm256_min_epu32(least_1, _mm256_sub_epi32(n, ones));
            add_wide(x, weight, &a, &b), add_wide(y, weight, &c, &d);
        } else {
            const __m128i *input = (const __m128i *)((const uint16_t *)recipe->inputs[i] + at);
            __m256i m = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)input),
                                         _mm256_set1_epi16(0x7fff));
            most_0 = _mm256_max_epu16(most_0, m);
            least_0 = _mm256_min_epu16(least_0, _mm256_sub_epi16(m, ones));
            add_wide(widened(_mm_loadu_si128(input), given), weight, &a, &b);
            add_wide(widened(_mm_loadu_si128(input + 1), given), weight, &c, &d);
        }
    }
    uint32_t bad = given == F32 ? too_much_of_32(most_0, least_0, recipe->wide_span) |
                                      too_much_of_32(most_1, least_1, recipe->wide_span) << 8
                                : too_much_for_double(most_0, least_0, given, recipe->wide_span);
    for (int part = 0; part < 2; part++) {
        __m256d low = _mm256_div_pd(part ? c : a, total);
        __m256d high = _mm256_div_pd(part ? d : b, total);
        uint32_t small = 0;
        __m256i now = put_double(low, high, out, at + 8 * part, output, &small, *largest);
        /* What is not decided says nothing of the largest, nor do the seven beside it. */
        if ((bad >> 8 * part & 0xff) | small) known = noted(0xff, at + 8 * part, doubts, known);
        else *largest = now;
    }
    return known;
}

/* Elements `at` to `end` in float64. What is less than 16 is not decided. */
__attribute__((noinline)) TARGET static int64_t wide(const Recipe *recipe, int64_t at, int64_t end,
                                                     int given, int output, void *out,
                                                     uint32_t *doubts, int64_t known,
                                                     uint32_t *top) {
    __m256i largest = _mm256_setzero_si256();
/* A loop for each pair of formats, so that nothing is decided inside of it. */
#define OF(g, o)                                                                        \
    if (given == g && output == o)                                                      \
        for (; at + HALF <= end; at += HALF)                                            \
            known = half_wide(recipe, at, g, o, out, doubts, known, &largest)
    OF(F16, F16); OF(F16, BF16); OF(F16, F32);
    OF(BF16, F16); OF(BF16, BF16); OF(BF16, F32);
    OF(F32, F16); OF(F32, BF16); OF(F32, F32);
#undef OF
    for (; at < end; at++) doubts[known++] = (uint32_t)at;
    *top = largest_of(largest, *top);
    return known;
}

INLINE __m256 add_narrow(__m256 sum, __m256 x, __m256 weight, int weighted) {
    return weighted ? _mm256_fmadd_ps(weight, x, sum) : _mm256_add_ps(sum, x);
}

/* 16-bit elements in float32, and where that is not exact in float64. */
INLINE int64_t narrow(const Recipe *recipe, int64_t elements, int given, int output, int weighted,
                      void *out, uint32_t *doubts, uint32_t *top) {
    const __m256i magnitude = _mm256_set1_epi16(0x7fff);
    const __m256 total = _mm256_set1_ps((float)recipe->total);
    /* To divide by a power of two is to multiply by another: the same number, rounded once. */
    const int64_t parts = (int64_t)recipe->total, exactly = !(parts & (parts - 1));
    const __m256 inverse = _mm256_set1_ps(1.0f / (float)recipe->total);
    __m256i largest = _mm256_setzero_si256();
    int64_t known = 0, at = 0;
    for (; at + CHUNK <= elements; at += CHUNK) {
        __m256 a = _mm256_set1_ps(-0.0f), b = a, c = a, d = a;
        __m256i most_0 = _mm256_setzero_si256(), most_1 = most_0;
        __m256i least_0 = _mm256_set1_epi16(-1), least_1 = least_0;
        for (int64_t i = 0; i < recipe->count; i++) {
            const __m128i *input = (const __m128i *)((const uint16_t *)recipe->inputs[i] + at);
            const __m256i *twice = (const __m256i *)input;
            __m256 weight = _mm256_set1_ps(weighted ? (float)recipe->weights[i] : 1);
            __m256i m = _mm256_and_si256(_mm256_loadu_si256(twice), magnitude);
            __m256i n = _mm256_and_si256(_mm256_loadu_si256(twice + 1), magnitude);
            most_0 = _mm256_max_epu16(most_0, m), most_1 = _mm256_max_epu16(most_1, n);
            m = for_least(m, given), n = for_least(n, given);
            least_0 = _mm256_min_epu16(least_0, m), least_1 = _mm256_min_epu16(least_1, n);
            a = add_narrow(a, widened(_mm_loadu_si128(input), given), weight, weighted);
            b = add_narrow(b, widened(_mm_loadu_si128(input + 1), given), weight, weighted);
            c = add_narrow(c, widened(_mm_loadu_si128(input + 2), given), weight, weighted);
            d = add_narrow(d, widened(_mm_loadu_si128(input + 3), given), weight, weighted);
        }
        int span = recipe->narrow_span;
        __m256i right = _mm256_and_si256(right_in_float(most_0, least_0, given, span),
                                         right_in_float(most_1, least_1, given, span));
        if (__builtin_expect(_mm256_movemask_epi8(right) != -1, 0)) {
            known = wide(recipe, at, at + CHUNK, given, output, out, doubts, known, top);
            continue;
        }
        if (exactly) {
            a = _mm256_mul_ps(a, inverse), b = _mm256_mul_ps(b, inverse);
            c = _mm256_mul_ps(c, inverse), d = _mm256_mul_ps(d, inverse);
        } else {
            a = _mm256_div_ps(a, total), b = _mm256_div_ps(b, total);
            c = _mm256_div_ps(c, total), d = _mm256_div_ps(d, total);
        }
        largest = put_floats(a, b, out, at, output, largest);
        largest = put_floats(c, d, out, at + HALF, output, largest);
    }
    if (output != F32) {
        __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(largest, 1));
        largest = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(largest));
        largest = _mm256_max_epu32(largest, high);
    }
    *top = largest_of(largest, *top);
    return wide(recipe, at, elements, given, output, out, doubts, known, top);
}

TARGET static int64_t chosen(const Recipe *recipe, int64_t elements, int given, int output,
                             int weighted, void *out, uint32_t *doubts, uint32_t *top) {
    if (given == F32 || recipe->narrow_span < 0)
        return wide(recipe, 0, elements, given, output, out, doubts, 0, top);
/* A function for each pair of formats, so that nothing is decided inside of the loops. */
#define OF(g, o, w)                                     \
    if (given == g && output == o && weighted == w)     \
        return narrow(recipe, elements, g, o, w, out, doubts, top)
    OF(F16, F16, 0); OF(F16, BF16, 0); OF(F16, F32, 0);
    OF(F16, F16, 1); OF(F16, BF16, 1); OF(F16, F32, 1);
    OF(BF16, F16, 0); OF(BF16, BF16, 0); OF(BF16, F32, 0);
    OF(BF16, F16, 1); OF(BF16, BF16, 1);
#undef OF
    return narrow(recipe, elements, BF16, F32, 1, out, doubts, top);
}

/* ------------------------------------------------------------------------ sums that are kept */

#define UNITS 0x1p24 /* a sum of 4 bytes counts units of 2^-24, the quantum of F16 */
#define NO_SUM INT32_MIN /* stands for what is kept elsewhere; in 8 bytes a NaN does */

/* 8 sums as they were; one bit for each that is kept elsewhere. */
INLINE uint32_t old_sums(const Account *account, int64_t at, __m256d *low, __m256d *high) {
    if (!account->old_width) {
        *low = *high = _mm256_setzero_pd();
        return 0;
    }
    if (account->old_width == 8) {
        *low = _mm256_loadu_pd((const double *)account->old + at);
        *high = _mm256_loadu_pd((const double *)account->old + at + 4);
        return (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(*low, *low, _CMP_UNORD_Q)) |
               (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(*high, *high, _CMP_UNORD_Q)) << 4;
    }
    __m256i sums = _mm256_loadu_si256((const __m256i *)((const int32_t *)account->old + at));
    __m256i none = _mm256_cmpeq_epi32(sums, _mm256_set1_epi32(NO_SUM));
    __m256d unit = _mm256_set1_pd(1 / UNITS);
    *low = _mm256_mul_pd(_mm256_cvtepi32_pd(_mm256_castsi256_si128(sums)), unit);
    *high = _mm256_mul_pd(_mm256_cvtepi32_pd(_mm256_extracti128_si256(sums, 1)), unit);
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(none));
}

/* Add; lanes of `lost` are set where the sum is not exact. */
INLINE __m256d two_sum(__m256d sum, __m256d term, __m256d *lost) {
    __m256d total = _mm256_add_pd(sum, term), of_term = _mm256_sub_pd(total, sum);
    __m256d error = _mm256_add_pd(_mm256_sub_pd(sum, _mm256_sub_pd(total, of_term)),
                                  _mm256_sub_pd(term, of_term));
    *lost = _mm256_or_pd(*lost, _mm256_cmp_pd(error, _mm256_setzero_pd(), _CMP_NEQ_UQ));
    return total;
}

INLINE __m256d scaled(__m256d sum, __m256d times, __m256d *lost) {
    __m256d product = _mm256_mul_pd(sum, times);
    __m256d error = _mm256_fmsub_pd(sum, times, product);
    *lost = _mm256_or_pd(*lost, _mm256_cmp_pd(error, _mm256_setzero_pd(), _CMP_NEQ_UQ));
    return product;
}

INLINE uint32_t not_numbers(__m256d sums) {
    __m256d size = _mm256_andnot_pd(_mm256_set1_pd(-0.0), sums);
    __m256d number = _mm256_cmp_pd(size, _mm256_set1_pd(0x1p1000), _CMP_LT_OQ);
    return ~(uint32_t)_mm256_movemask_pd(number) & 0xf;
}

/* Add 8 elements of each input to 8 sums; one bit for each that float64 may get wrong, or where an
 * input is -0, which a sum does not remember. */
INLINE uint32_t add_inputs(const Account *account, int64_t at, int given, int checked,
                           __m256d *low, __m256d *high) {
    __m256d lost_low = _mm256_setzero_pd(), lost_high = lost_low, a = *low, b = *high;
    __m128i zeros = _mm_setzero_si128();
    __m256i wide_zeros = _mm256_setzero_si256();
    if (checked) {
        __m256d times = _mm256_set1_pd(account->times);
        a = scaled(a, times, &lost_low), b = scaled(b, times, &lost_high);
    } else if (account->times != 1) {
        __m256d times = _mm256_set1_pd(account->times);
        a = _mm256_mul_pd(a, times), b = _mm256_mul_pd(b, times);
    }
    for (int64_t i = 0; i < account->count; i++) {
        __m256d weight = _mm256_set1_pd(account->weights[i]);
        __m256 wide;
        if (given == F32) {
            wide = _mm256_loadu_ps((const float *)account->inputs[i] + at);
            __m256i is = _mm256_cmpeq_epi32(_mm256_castps_si256(wide), _mm256_set1_epi32(INT32_MIN));
            wide_zeros = _mm256_or_si256(wide_zeros, is);
        } else {
            const uint16_t *input = (const uint16_t *)account->inputs[i] + at;
            __m128i stored = _mm_loadu_si128((const __m128i *)input);
            zeros = _mm_or_si128(zeros, _mm_cmpeq_epi16(stored, _mm_set1_epi16(INT16_MIN)));
            wide = widened(stored, given);
        }
        __m256d x = _mm256_mul_pd(weight, _mm256_cvtps_pd(_mm256_castps256_ps128(wide)));
        __m256d y = _mm256_mul_pd(weight, _mm256_cvtps_pd(_mm256_extractf128_ps(wide, 1)));
        if (checked) {
            a = two_sum(a, x, &lost_low), b = two_sum(b, y, &lost_high);
        } else {
            a = _mm256_add_pd(a, x), b = _mm256_add_pd(b, y);
        }
    }
    if (account->divisor != 1) {
        __m256d divisor = _mm256_set1_pd(account->divisor);
        a = _mm256_div_pd(a, divisor), b = _mm256_div_pd(b, divisor);
    }
    *low = a, *high = b;
    uint32_t bad = not_numbers(a) | not_numbers(b) << 4;
    if (checked) {
        bad |= (uint32_t)_mm256_movemask_pd(lost_low);
        bad |= (uint32_t)_mm256_movemask_pd(lost_high) << 4;
    }
    if (given == F32) return bad | (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(wide_zeros));
    return bad | (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(zeros, _mm_setzero_si128()));
}

/* Keep 8 sums; one bit for each that does not fit. */
INLINE uint32_t keep_sums(const Account *account, int64_t at, __m256d low, __m256d high) {
    if (account->width == 8) {
        _mm256_storeu_pd((double *)account->sums + at, low);
        _mm256_storeu_pd((double *)account->sums + at + 4, high);
        return 0;
    }
    /* What is too large becomes INT32_MIN. */
    __m256d units = _mm256_set1_pd(UNITS);
    __m128i a = _mm256_cvtpd_epi32(_mm256_mul_pd(low, units));
    __m128i b = _mm256_cvtpd_epi32(_mm256_mul_pd(high, units));
    __m256i sums = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    _mm256_storeu_si256((__m256i *)((int32_t *)account->sums + at), sums);
    __m256i none = _mm256_cmpeq_epi32(sums, _mm256_set1_epi32(NO_SUM));
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(none));
}

TARGET static void without(uint32_t bad, __m256d *low, __m256d *high) {
    double lanes[8];
    _mm256_storeu_pd(lanes, *low), _mm256_storeu_pd(lanes + 4, *high);
    for (int i = 0; i < 8; i++) lanes[i] = bad >> i & 1 ? 0 : lanes[i];
    *low = _mm256_loadu_pd(lanes), *high = _mm256_loadu_pd(lanes + 4);
}

INLINE int64_t account_of(Account *account, int given, int checked) {
    const __m256d total = _mm256_set1_pd(account->total);
    const int output = (int)account->output;
    __m256i largest = _mm256_setzero_si256();
    uint32_t overflow = 0, top = 0;
    int64_t known = 0, at = 0;
    for (; at + 8 <= account->elements; at += 8) {
        __m256d low, high;
        uint32_t bad = old_sums(account, at, &low, &high), unused = 0;
        bad |= add_inputs(account, at, given, checked, &low, &high);
        overflow |= keep_sums(account, at, low, high) & ~bad;
        low = _mm256_div_pd(low, total), high = _mm256_div_pd(high, total);
        if (output == BF16) bad |= below_normal(low) | below_normal(high) << 4;
        if (bad) {
            /* What is not decided says nothing of the largest. */
            without(bad, &low, &high);
            known = noted(bad, at, account->doubts, known);
        }
        largest = put_double(low, high, account->out, at, output, &unused, largest);
    }
    for (; at < account->elements; at++) account->doubts[known++] = (uint32_t)at;
    uint32_t lanes[8];
    _mm256_storeu_si256((__m256i *)lanes, largest);
    for (int i = 0; i < 8; i++) top = lanes[i] > top ? lanes[i] : top;
    account->largest = top;
    account->overflow = overflow != 0;
    return known;
}

TARGET static int64_t accounted(Account *account) {
#define OF(g, c) \
    if (account->given == g && !account->checked == !c) return account_of(account, g, c)
    OF(F16, 0); OF(BF16, 0); OF(F32, 0); OF(F16, 1); OF(BF16, 1);
#undef OF
    return account_of(account, F32, 1);
}

/* Bring kept sums up to date, and average.
 * Returns how many elements are not decided, neither sum nor mean; `doubts` lists them, in order. */
EXPORT int64_t stockpot_account(Account *account) {
    unsigned int before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    int64_t known = accounted(account);
    _mm_setcsr(before);
    return known;
}

/* Fold words into LANES numbers: each is a polynomial in FACTOR of every LANES-th word. */
TARGET static void folded(const uint32_t *words, int64_t count, uint32_t *lanes) {
    for (int i = 0; i < LANES; i++) lanes[i] = 0;
    for (; count >= LANES; count -= LANES, words += LANES)
        for (int i = 0; i < LANES; i++) lanes[i] = lanes[i] * FACTOR + words[i];
    if (!count) return;
    for (int i = 0; i < LANES; i++) lanes[i] = lanes[i] * FACTOR + (i < count ? words[i] : 0);
}

EXPORT void stockpot_fold(const uint32_t *words, int64_t count, uint32_t *lanes) {
    folded(words, count, lanes);
}

/* Whether this processor can do it. */
EXPORT int stockpot_usable(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c") &&
           __builtin_cpu_supports("fma");
}

/* Average; see kernel.py for what the arguments must be.
 * Returns how many elements are not decided; `doubts` lists them, in order. */
EXPORT int64_t stockpot_mean(const void *const *inputs, const double *weights, int64_t count,
                             double total, int narrow_span, int wide_span, int64_t elements,
                             int given, int output, int weighted, void *out, uint32_t *doubts,
                             uint32_t *largest) {
    Recipe recipe = {inputs, weights, count, total, narrow_span, wide_span};
    /* Other code in the process may have set the processor to flush subnormal numbers. */
    unsigned int before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    *largest = 0;
    int64_t known = chosen(&recipe, elements, given, output, weighted, out, doubts, largest);
    _mm_setcsr(before);
    return known;
}

static int read_whole(int file, char *to, int64_t size, int64_t offset) {
    while (size) {
        ssize_t read = pread(file, to, (size_t)size, offset);
        if (read <= 0) return 0;
        to += read, size -= read, offset += read;
    }
    return 1;
}

/* Read `elements` from element `first` of each file on, and average them, a piece at a time: what
 * was read is averaged before it leaves the processor's cache.
 * Returns how many elements are averaged. It ends early behind a piece of which not all is decided:
 * `doubts` lists `known` elements of that piece, which lies in `pieces`. And it ends early before a
 * piece that could not be read: the caller reads it again to get the error. */
EXPORT int64_t stockpot_read_mean(const Files *files, int64_t first, const double *weights,
                                  int64_t count, double total, int narrow_span, int wide_span,
                                  int64_t elements, int given, int output, int weighted, void *out,
                                  uint32_t *doubts, int64_t *known, uint32_t *largest) {
    const void *const *inputs = (const void *const *)files->pieces;
    Recipe recipe = {inputs, weights, count, total, narrow_span, wide_span};
    const int64_t given_bytes = given == F32 ? 4 : 2, output_bytes = output == F32 ? 4 : 2;
    unsigned int before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    *largest = 0, *known = 0;
    int64_t done = 0;
    while (done < elements && !*known) {
        int64_t now = elements - done < files->piece ? elements - done : files->piece, i = 0;
        int64_t begin = (first + done) * given_bytes;
        while (i < count && read_whole(files->files[i], files->pieces[i], now * given_bytes,
                                       files->offsets[i] + begin))
            i++;
        if (i < count) break;
        void *at = (char *)out + done * output_bytes;
        *known = chosen(&recipe, now, given, output, weighted, at, doubts, largest);
        done += now;
    }
    _mm_setcsr(before);
    return done;
}

#else

EXPORT int stockpot_usable(void) { return 0; }

EXPORT int64_t stockpot_mean(const void *const *inputs, const double *weights, int64_t count,
                             double total, int narrow_span, int wide_span, int64_t elements,
                             int given, int output, int weighted, void *out, uint32_t *doubts,
                             uint32_t *largest) {
    (void)inputs, (void)weights, (void)count, (void)total, (void)narrow_span, (void)wide_span;
    (void)given, (void)output, (void)weighted, (void)out;
    *largest = 0;
    for (int64_t at = 0; at < elements; at++) doubts[at] = (uint32_t)at;
    return elements;
}

EXPORT int64_t stockpot_account(Account *account) {
    for (int64_t at = 0; at < account->elements; at++) account->doubts[at] = (uint32_t)at;
    account->largest = account->overflow = 0;
    return account->elements;
}

EXPORT void stockpot_fold(const uint32_t *words, int64_t count, uint32_t *lanes) {
    for (int i = 0; i < LANES; i++) lanes[i] = 0;
    for (int64_t at = 0; at < count; at += LANES)
        for (int64_t i = 0; i < LANES; i++)
            lanes[i] = lanes[i] * FACTOR + (at + i < count ? words[at + i] : 0);
}

EXPORT int64_t stockpot_read_mean(const Files *files, int64_t first, const double *weights,
                                  int64_t count, double total, int narrow_span, int wide_span,
                                  int64_t elements, int given, int output, int weighted, void *out,
                                  uint32_t *doubts, int64_t *known, uint32_t *largest) {
    (void)files, (void)first, (void)weights, (void)count, (void)total, (void)narrow_span;
    (void)wide_span, (void)elements, (void)given, (void)output, (void)weighted, (void)out;
    (void)doubts;
    *known = *largest = 0;
    return 0;
}

#endif
