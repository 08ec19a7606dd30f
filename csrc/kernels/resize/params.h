// What the kernels of resizing take. Apart from resize.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// A weight is a whole number of 2^-kWeightBits, and a value between the two directions one of 2^-kWordBits, in 16 bits: cubic weights reach
// 1.2 times beyond the bytes. Two taps are a pair; the weights of a pair lie in one 32-bit word, the first in its low half.
inline constexpr int kWeightBits = 14, kWordBits = 6;

// word[x][c] = round(sum over t of weights[t][x] * in[indices[t][x]][c], to kWordBits), for the four channels c of each pixel x. Tables of a
// tap, or of a pair, lie `count` elements apart.
struct ResizeColumns {
  const uint8_t* in;       // pixels of a row
  const int32_t* indices;  // of each tap; they do not fall along x
  const int32_t* weights;  // of each pair
  int64_t pairs;
  // Eight bytes for each pixel, in whole vectors of 64 bytes. In which order is each instruction set's own.
  uint8_t* words;
  int64_t count;
};

// t = float(sum over t of weights[t] * words[t][x][c] - (in_zero << (kWeightBits + kWordBits))) * scale; out = round(clamp(t)) + out_zero.
struct ResizeRows {
  const uint8_t* const* words;  // of each tap
  const int32_t* weights;       // of each pair
  int64_t pairs;
  int32_t in_zero, out_zero;
  float scale;  // scale of the input over scale of the output, times 2^-(kWeightBits + kWordBits)
  uint8_t* out;
  int64_t count;
};

// out[x] = in[indices[x]], pixels.
struct ResizeTake {
  const uint8_t* in;
  const int32_t* indices;  // they do not fall
  uint8_t* out;
  int64_t count;
};

}  // namespace niwaki
