#include "graph/phases.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace niwaki {
namespace {

int64_t floor_half(int64_t value) { return value >= 0 ? value / 2 : -((1 - value) / 2); }

// One axis: tap k of the old kernel reads row 2 (y + reach - before) + parity, where k - pad = 2 (reach - before) + parity.
struct Axis {
  int64_t old_kernel, old_pad;
  int64_t kernel, before, after;

  Axis(int64_t size, int64_t pad_before, int64_t pad_after) : old_kernel(size), old_pad(pad_before) {
    const int64_t first = floor_half(-pad_before), last = floor_half(size - 1 - pad_before);
    kernel = last - first + 1;
    before = -first;
    // The output has floor((H + pads - size) / 2) + 1 rows; for odd pads - size that is the same for H = 2 h and 2 h - 1.
    after = floor_half(pad_before + pad_after - size) - before + kernel;
    possible = (pad_before + pad_after - size) % 2 != 0 && after >= 0;
  }

  bool is_tap(int64_t old) const { return old >= 0 && old < old_kernel; }
  int64_t taps(int64_t parity) const {
    int64_t count = 0;
    for (int64_t tap = 0; tap < kernel; ++tap) count += is_tap(old_tap(tap, parity));
    return count;
  }

  // The old tap at `tap` of the new kernel and `parity`; outside of the old kernel where that has none.
  int64_t old_tap(int64_t tap, int64_t parity) const { return 2 * (tap - before) + parity + old_pad; }

  bool possible;
};

// Which channel of which phase each channel of the phases' image is, as phase * channels + channel. Three channels of a phase leave a lane
// of their group empty: the phase with the fewest taps fills these. Four groups become three, each with the taps of its own phase.
std::vector<int64_t> order_of_phases(const Axis& y, const Axis& x, int64_t channels) {
  std::vector<int64_t> order;
  if (channels == 3) {
    const auto taps = [&](int64_t phase) { return y.taps(phase / 2) * x.taps(phase % 2); };
    int64_t fewest = 0;
    for (int64_t phase = 1; phase < 4; ++phase)
      if (taps(phase) < taps(fewest)) fewest = phase;
    for (int64_t phase = 0, spare = 0; phase < 4; ++phase) {
      if (phase == fewest) continue;
      for (int64_t c = 0; c < 3; ++c) order.push_back(phase * 3 + c);
      order.push_back(fewest * 3 + spare++);
    }
  } else {
    for (int64_t i = 0; i < 4 * channels; ++i) order.push_back(i);
  }
  return order;
}

// Rows of the panel: four channels at one tap that any of them has.
int64_t rows_of_phases(const Axis& y, const Axis& x, int64_t channels, const std::vector<int64_t>& order) {
  int64_t rows = 0;
  for (int64_t group = 0; group < channels; ++group) {
    for (int64_t tap = 0; tap < y.kernel * x.kernel; ++tap) {
      bool any = false;
      for (int64_t i = group * 4; i < group * 4 + 4; ++i) {
        const int64_t phase = order[static_cast<size_t>(i)] / channels;
        any = any || (y.is_tap(y.old_tap(tap / x.kernel, phase / 2)) && x.is_tap(x.old_tap(tap % x.kernel, phase % 2)));
      }
      rows += any;
    }
  }
  return rows;
}

}  // namespace

bool split_into_phases(Node& quantize, Node& conv) {
  const Dims& ends = conv.dims("padding");
  if (!std::all_of(ends.begin(), ends.end(), [](const Dim& end) { return end.is_constant(); })) return false;
  const auto stride = conv.integers("stride"), dilation = conv.integers("dilation"), padding = conv.integers("padding");
  if (stride[0] != 2 || stride[1] != 2 || dilation[0] != 1 || dilation[1] != 1 || conv.integer("groups") != 1) return false;
  const Tensor weight = conv.tensor("weight").unpacked();
  const int64_t outputs = weight.shape()[0], channels = weight.shape()[1];
  const Axis y(weight.shape()[2], padding[0], padding[2]), x(weight.shape()[3], padding[1], padding[3]);
  if (!y.possible || !x.possible) return false;
  const int64_t taps = y.kernel * x.kernel;
  const std::vector<int64_t> order = order_of_phases(y, x, channels);
  if (rows_of_phases(y, x, channels, order) >= (channels + 3) / 4 * y.old_kernel * x.old_kernel) return false;
  std::vector<int8_t> phases(static_cast<size_t>(outputs * 4 * channels * taps), 0);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t i = 0; i < 4 * channels; ++i) {
      const int64_t phase = order[static_cast<size_t>(i)] / channels, c = order[static_cast<size_t>(i)] % channels;
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t ky = y.old_tap(tap / x.kernel, phase / 2), kx = x.old_tap(tap % x.kernel, phase % 2);
        if (!y.is_tap(ky) || !x.is_tap(kx)) continue;
        phases[static_cast<size_t>((o * 4 * channels + i) * taps + tap)] =
            weight.as<int8_t>()[((o * channels + c) * y.old_kernel + ky) * x.old_kernel + kx];
      }
    }
  }
  quantize.attributes["phases"] = Dims(order.begin(), order.end());
  conv.attributes["weights"] = Dims{weight.elements()};
  conv.attributes["stride"] = Dims{1, 1};
  conv.attributes["padding"] = Dims{y.before, x.before, y.after, x.after};
  conv.tensors["weight"] = Tensor::copy_of(DType::i8, {outputs, 4 * channels, y.kernel, x.kernel}, phases.data());
  return true;
}

int64_t original_weights(const Node& node) {
  return node.has("weights") ? node.integer("weights") : node.tensor("weight").elements();
}

}  // namespace niwaki
