// Windows that slide over planes of floats, row of outputs by row of outputs: what depthwise convolutions and pools share.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/memory.h"

namespace niwaki {

// Depth, height, width; a plane with fewer axes has ones in front.
using Axes3 = std::array<int64_t, 3>;

// Tap k of output i reads element i * stride + k * dilation - before. Everything but `before`, which may be negative, is at least 1.
struct WindowAxes {
  Axes3 in, out, kernel, stride, dilation, before;
};

inline int64_t volume(const Axes3& sizes) { return sizes[0] * sizes[1] * sizes[2]; }

// Of `count` elements, those where start + i * step is one of `size` elements.
struct Inside {
  int64_t first, last;  // [first, last)
  static Inside of(int64_t start, int64_t step, int64_t size, int64_t count) {
    const int64_t first = std::clamp<int64_t>(start < 0 ? div_up(-start, step) : 0, 0, count);
    return {first, size > start ? std::clamp<int64_t>(div_up(size - start, step), first, count) : first};
  }
};

// The rows of a band of a plane, copied with what lies around them, and cut by the stride: elements 0, 2, 4, ... of a row lie together
// and so do 1, 3, 5, .... A tap of a row of outputs then reads neighbours, wherever it is.
class WindowRows {
 public:
  // Taps beside the plane, for a whole row of outputs: seen, or left out, where that is the same and a large window may have many of them.
  enum class Outside : uint8_t { seen, left_out };

  // `around`: what windows see outside of the plane.
  WindowRows(const WindowAxes& axes, float around, Outside outside);

  int64_t bands() const { return bands_[0] * bands_[1]; }
  int64_t scratch_bytes() const;

  // Calls function(taps, count, index) for each row of outputs of a band: taps[k][x] is what tap k of output x of the row sees, k < count,
  // for x up to the width rounded up to 16; index is that of the row's first output in the plane of outputs.
  template <typename Function>
  void run(const float* plane, int64_t band, uint8_t* scratch, const Function& function) const {
    const Band b = band_of(band);
    auto** taps = reinterpret_cast<const float**>(scratch);
    auto* rows = reinterpret_cast<float*>(scratch + tap_bytes());
    copy(plane, b, rows);
    for (int64_t z = b.first[0]; z < b.last[0]; ++z) {
      for (int64_t y = b.first[1]; y < b.last[1]; ++y) {
        const int64_t count = find_taps(b, rows, z, y, taps);
        function(taps, count, (z * axes_.out[1] + y) * axes_.out[2]);
      }
    }
  }

 private:
  // Outputs [first, last) and, of the input, [in_first, in_last): both of depth and height.
  struct Band {
    std::array<int64_t, 2> first, last, in_first, in_last;
  };
  void find_cuts();
  Band band_of(int64_t band) const;
  int64_t rows_of(const std::array<int64_t, 2>& outputs) const;  // that a band of so many outputs may need
  int64_t tap_bytes() const;
  void copy(const float* plane, const Band& band, float* rows) const;
  int64_t find_taps(const Band& band, const float* rows, int64_t z, int64_t y, const float** taps) const;

  WindowAxes axes_;
  float around_;
  Outside outside_;
  // Elements of a row that lie together: those at start + i * stride, of which [inside.first, inside.last) are there.
  struct Cut {
    int64_t start;
    Inside inside;
  };
  std::vector<Cut> cuts_;                 // that taps read
  static constexpr int64_t kAround = -1;  // a tap that sees nothing of the plane
  std::vector<int64_t> tap_offsets_;      // of each tap of the width, in a row
  int64_t cut_floats_ = 0;
  std::array<int64_t, 2> band_{}, bands_{};  // outputs of a band, and bands
};

}  // namespace niwaki
