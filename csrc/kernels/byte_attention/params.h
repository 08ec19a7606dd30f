// What kernels of attention in 8 bits take. Apart from byte_attention.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

#include "kernels/attention/params.h"

namespace niwaki {

// Of a tile of queries. Codes, scales and scores have room for so many, however few there are.
constexpr int64_t kByteAttentionRows = 6;

// means[e] = (k[0][e] + k[1][e] + ...) * (1 / keys), in the order of the keys.
struct KeyMeans {
  const float* k;  // [keys][stride]
  int64_t keys, width, stride;
  float* means;  // a multiple of 16
};

// A block of keys, in columns: each less the mean, and divided by a scale of its own.
struct KeyCodes {
  const float* panel;  // [width][pitch], a multiple of 16 columns
  int64_t pitch, width, columns;
  const float* means;
  void* groups;    // [ceil(width / kCodes)][pitch]
  float* scales;   // [pitch]
  int32_t* begin;  // [pitch]: what sums of products with codes of queries begin with, so that kCodeOffset drops out
};

// The scale of each channel of the values and 1 / scale, 0 where all is 0.
struct ValueScales {
  const float* v;  // [keys][stride]
  int64_t keys, width, stride;
  float *scales, *inverses;  // a multiple of 16
};

// A block of values; 0 behind the last key up to whole groups.
struct ValueCodes {
  const float* v;  // [keys][stride]
  int64_t keys, width, stride;
  const float* inverses;
  void* groups;         // [ceil(keys / kCodes)][pitch]
  int64_t group_pitch;  // a multiple of 16
};

// Rows of queries times `factor`, each divided by a scale of its own.
struct QueryCodes {
  const float* q;  // [rows][stride]
  int64_t rows, width, stride;
  float factor;
  void* codes;    // [rows][pitch]
  int64_t pitch;  // in codes: a multiple of 16
  float* scales;  // [rows]
};

// scores[r][c] = float(begin[c] + sum over e of query code * key code) * (key scale * query scale)
struct ScoreTile {
  const void* codes;
  int64_t code_pitch;
  const float* query_scales;
  const void* groups;
  int64_t group_pitch;
  const int32_t* begin;
  const float* key_scales;
  float* scores;
  int64_t scores_stride;
  int64_t depth, columns;  // depth: in groups; columns: a multiple of 16
};

// A block of keys whose weights become codes of 14 bits: what is above 7 of them in `high`, the others in `low`, or all of them in `high` where
// codes are words. `state.sum` is a sum of codes.
struct CodedWeights {
  AttentionBlock block;
  void *high, *low;  // [rows][pitch]
  int64_t pitch;     // in codes: a multiple of 16
};

// out[r][c] = (add ? out[r][c] : 0) + float(sum over keys of weight code * value code)
struct ValueTile {
  const void *high, *low;
  int64_t code_pitch;
  const void* groups;
  int64_t group_pitch;
  float* out;
  int64_t out_stride;
  int64_t rows, depth, columns;  // depth: in groups
  bool add;
};

// out = out * (1 / sum) * scale of the channel; `empty` for a row without keys, NaN where a score was not a number.
struct ByteAttentionEnd {
  const AttentionRow* state;
  float* out;
  int64_t rows, width, stride;
  const float* scales;
  float empty;
};

}  // namespace niwaki
