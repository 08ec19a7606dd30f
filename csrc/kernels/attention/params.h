// What kernels of attention take. Apart from attention.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// What is known of a row of queries after some blocks of keys.
struct AttentionRow {
  float greatest;  // of the scores; -infinity where every key was masked
  float sum;       // of exp(score - greatest)
};

// to[i] = from[i] * factor
struct AttentionScale {
  const float* from;
  float* to;
  int64_t count;
  float factor;
};

// One block of keys of some rows, at most kAttentionTileRows.
constexpr int kAttentionTileRows = 16;
struct AttentionBlock {
  float* scores;  // [rows][scores_stride], a multiple of 16: become exp(score - greatest), and 0 up to a multiple of 16
  int64_t scores_stride;
  int64_t rows, keys;
  const uint8_t* bools;                  // the mask of row 0 and key 0, or null: true takes part
  const float* addends;                  // the same of a mask that is added
  int64_t mask_row_step, mask_key_step;  // key_step: 0 or 1
  int64_t visible;                       // keys that row 0 sees, row 1 one more and so on
  AttentionRow* state;                   // [rows]
  float* out;                            // [rows][out_stride]: sums of weights * values, scaled to the new greatest
  int64_t width, out_stride;
  bool first;  // `out` and `state` hold nothing yet
};

// out = out * (1 / sum); `empty` for a row without keys.
struct AttentionEnd {
  const AttentionRow* state;
  float* out;
  int64_t rows, width, stride;
  float empty;
};

}  // namespace niwaki
