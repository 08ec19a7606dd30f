#include "kernels/common/window_rows.h"

#include <numeric>

namespace niwaki {
namespace {

constexpr int64_t kBandBytes = 49152;  // stays in the first cache, or nearly

}  // namespace

WindowRows::WindowRows(const WindowAxes& axes, float around, Outside outside) : axes_(axes), around_(around), outside_(outside) {
  find_cuts();
  band_ = {axes.out[0], axes.out[1]};
  for (int64_t& outputs : band_)
    while (outputs > 1 && rows_of(band_) * static_cast<int64_t>(cuts_.size()) * cut_floats_ * 4 > kBandBytes)
      outputs = (outputs + 1) / 2;
  for (std::size_t i = 0; i < 2; ++i) bands_[i] = band_[i] > 0 ? div_up(axes.out[i], band_[i]) : 0;
}

// A cut has what taps see of the row, and as much around it as a tap that sees any of that: no more, however far the others reach.
void WindowRows::find_cuts() {
  const int64_t stride = axes_.stride[2], width = round_up(axes_.out[2], 16);
  const int64_t reach = (axes_.kernel[2] - 1) * axes_.dilation[2] / stride + width;
  const int64_t period =
      std::min(axes_.kernel[2], stride / std::gcd(stride, axes_.dilation[2]));  // taps until one reads a cut again
  std::vector<int64_t> begins;                                                  // where cuts begin, of what could be reached
  for (int64_t k = 0; k < period; ++k) {
    const int64_t start = k * axes_.dilation[2] % stride - axes_.before[2];
    const Inside inside = Inside::of(start, stride, axes_.in[2], reach);
    begins.push_back(std::clamp<int64_t>(inside.first - width, 0, reach - width));
    cuts_.push_back({start + begins.back() * stride, {}});
    cut_floats_ = std::max(cut_floats_, std::min(reach, inside.last + width) - begins.back());
  }
  for (Cut& cut : cuts_) cut.inside = Inside::of(cut.start, stride, axes_.in[2], cut_floats_);
  for (int64_t k = 0; k < axes_.kernel[2]; ++k) {
    const int64_t offset = k * axes_.dilation[2] / stride - begins[static_cast<std::size_t>(k % period)];
    if (offset >= 0 && offset + width <= cut_floats_) tap_offsets_.push_back(k % period * cut_floats_ + offset);
    else if (outside_ == Outside::seen) tap_offsets_.push_back(kAround);
  }
}

int64_t WindowRows::rows_of(const std::array<int64_t, 2>& outputs) const {
  int64_t rows = 1;
  for (std::size_t i = 0; i < 2; ++i)
    rows *= std::min(axes_.in[i], (outputs[i] - 1) * axes_.stride[i] + (axes_.kernel[i] - 1) * axes_.dilation[i] + 1);
  return rows;
}

int64_t WindowRows::tap_bytes() const {
  auto taps = static_cast<int64_t>(tap_offsets_.size());
  for (std::size_t i = 0; i < 2; ++i)
    taps *= outside_ == Outside::seen ? axes_.kernel[i] : std::min(axes_.kernel[i], axes_.in[i]);
  return round_up(taps * int64_t{sizeof(float*)}, kCacheLine);
}

int64_t WindowRows::scratch_bytes() const {
  // One more row for what lies above and below.
  return tap_bytes() + (rows_of(band_) * static_cast<int64_t>(cuts_.size()) + 1) * cut_floats_ * 4;
}

WindowRows::Band WindowRows::band_of(int64_t band) const {
  const std::array<int64_t, 2> index = {band / bands_[1], band % bands_[1]};
  Band b{};
  for (std::size_t i = 0; i < 2; ++i) {
    b.first[i] = index[i] * band_[i];
    b.last[i] = std::min(b.first[i] + band_[i], axes_.out[i]);
    const int64_t last = (b.last[i] - 1) * axes_.stride[i] + (axes_.kernel[i] - 1) * axes_.dilation[i] + 1;
    b.in_first[i] = std::clamp<int64_t>(b.first[i] * axes_.stride[i] - axes_.before[i], 0, axes_.in[i]);
    b.in_last[i] = std::clamp<int64_t>(last - axes_.before[i], b.in_first[i], axes_.in[i]);
  }
  return b;
}

void WindowRows::copy(const float* plane, const Band& band, float* rows) const {
  std::fill_n(rows, cut_floats_, around_);
  float* to = rows + cut_floats_;
  const int64_t width = axes_.in[2], stride = axes_.stride[2];
  for (int64_t z = band.in_first[0]; z < band.in_last[0]; ++z) {
    for (int64_t y = band.in_first[1]; y < band.in_last[1]; ++y) {
      for (const auto& [start, inside] : cuts_) {
        const float* from = plane + (z * axes_.in[1] + y) * width + start;
        std::fill_n(to, inside.first, around_);
        if (stride == 1) std::copy(from + inside.first, from + inside.last, to + inside.first);
        else
          for (int64_t i = inside.first; i < inside.last; ++i) to[i] = from[i * stride];
        std::fill(to + inside.last, to + cut_floats_, around_);
        to += cut_floats_;
      }
    }
  }
}

int64_t WindowRows::find_taps(const Band& band, const float* rows, int64_t z, int64_t y, const float** taps) const {
  const int64_t row_floats = cut_floats_ * static_cast<int64_t>(cuts_.size());
  // Taps of an axis that lie inside; all of them where the others are seen, too.
  const auto range = [&](std::size_t axis, int64_t output) {
    if (outside_ == Outside::seen) return Inside{0, axes_.kernel[axis]};
    return Inside::of(output * axes_.stride[axis] - axes_.before[axis], axes_.dilation[axis], axes_.in[axis], axes_.kernel[axis]);
  };
  const Inside deep = range(0, z), high = range(1, y);
  int64_t count = 0;
  for (int64_t kz = deep.first; kz < deep.last; ++kz) {
    const int64_t in_z = z * axes_.stride[0] + kz * axes_.dilation[0] - axes_.before[0];
    for (int64_t ky = high.first; ky < high.last; ++ky) {
      const int64_t in_y = y * axes_.stride[1] + ky * axes_.dilation[1] - axes_.before[1];
      const bool inside = in_z >= 0 && in_z < axes_.in[0] && in_y >= 0 && in_y < axes_.in[1];
      const int64_t row = (in_z - band.in_first[0]) * (band.in_last[1] - band.in_first[1]) + in_y - band.in_first[1];
      for (const int64_t offset : tap_offsets_)
        taps[count++] = inside && offset != kAround ? rows + cut_floats_ + row * row_floats + offset : rows;
    }
  }
  return count;
}

}  // namespace niwaki
