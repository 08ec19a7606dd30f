#include "kernels/conv/rows.h"

namespace niwaki {

namespace {

using Eight = int8_t __attribute__((vector_size(8)));
using Bytes = int8_t __attribute__((vector_size(16)));
using Pairs = int16_t __attribute__((vector_size(16)));

Eight load_eight(const int8_t* from) {
  Eight eight;
  std::memcpy(&eight, from, sizeof eight);
  return eight;
}

Pairs paired(Eight a, Eight b) {
  const Bytes bytes = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  Pairs pairs;
  std::memcpy(&pairs, &bytes, sizeof pairs);
  return pairs;
}

void store_rows(int8_t* to, Pairs rows) { std::memcpy(to, &rows, sizeof rows); }

// Eight taps of four channels, `taps` apart.
void eight_rows(const int8_t* from, int32_t taps, int8_t* to) {
  const Pairs ab = paired(load_eight(from), load_eight(from + taps));
  const Pairs cd = paired(load_eight(from + int64_t{2} * taps), load_eight(from + int64_t{3} * taps));
  store_rows(to, __builtin_shufflevector(ab, cd, 0, 8, 1, 9, 2, 10, 3, 11));
  store_rows(to + 4 * kRowBytes, __builtin_shufflevector(ab, cd, 4, 12, 5, 13, 6, 14, 7, 15));
}

// [4][taps] -> [taps][4]. The last eight taps overlap those before.
void rows_of_group(const int8_t* from, int32_t taps, int8_t* to) {
  if (taps < 8) {
    for (int32_t tap = 0; tap < taps; ++tap)
      for (int64_t i = 0; i < kRowBytes; ++i) to[tap * kRowBytes + i] = from[i * taps + tap];
    return;
  }
  for (int32_t tap = 0; tap < taps; tap += 8) {
    const int32_t first = tap + 8 <= taps ? tap : taps - 8;
    eight_rows(from + first, taps, to + first * kRowBytes);
  }
}

}  // namespace

WeightRows::WeightRows(const ConvParams& params, const int8_t* weight) : params_(params), weight_(weight) {}

const int8_t* WeightRows::of(int32_t o, int32_t begin, int32_t end) {
  const int32_t taps = params_.kernel_h * params_.kernel_w, channels = params_.in_channels / params_.groups;
  const int8_t* from = weight_ + int64_t{o} * channels * taps;
  if (taps == 1 && params_.groups == 1 && end * kRowBytes <= channels) return from + begin * kRowBytes;
  const int32_t before = params_.groups == 1 ? 0 : o / (params_.out_channels / params_.groups) * channels;  // o's own
  rows_.resize(static_cast<std::size_t>(int64_t{end - begin} * taps * kRowBytes));
  int8_t* to = rows_.data();
  for (int32_t group = begin; group < end; ++group, to += taps * kRowBytes) {
    const int32_t first = group * static_cast<int32_t>(kRowBytes) - before;  // within o's channels
    if (first >= 0 && first + kRowBytes <= channels) {
      rows_of_group(from + int64_t{first} * taps, taps, to);
      continue;
    }
    for (int32_t tap = 0; tap < taps; ++tap)
      for (int32_t i = 0; i < kRowBytes; ++i)
        to[tap * kRowBytes + i] = first + i >= 0 && first + i < channels ? from[int64_t{first + i} * taps + tap] : int8_t{0};
  }
  return rows_.data();
}

}  // namespace niwaki
