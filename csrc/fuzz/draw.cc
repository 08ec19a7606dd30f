#include "fuzz/draw.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/status.h"
#include "fuzz/change_network.h"

namespace niwaki::fuzz {
namespace {

using testing::Random;

constexpr int64_t kMost32 = std::numeric_limits<int32_t>::max(), kMost64 = std::numeric_limits<int64_t>::max();

template <typename T, size_t n>
T one_of(const T (&choices)[n], Random& random) {
  return choices[random.next() % n];
}

int64_t draw_size(const FreeSize& size, Random& random) {
  constexpr int64_t kSmall[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31};
  constexpr int64_t kLarge[] = {255,         256,         4097,    65535,       65536,       kMost32 - 1, kMost32,
                                kMost32 + 1, 2 * kMost32, 1 << 20, kMost64 / 4, kMost64 / 2, kMost64 - 1, kMost64};
  const int64_t ends[] = {size.low, size.low + (size.low < size.high), size.high};
  switch (random.next() % 8) {
    case 0: return one_of(ends, random);
    case 1: return one_of(kLarge, random);
    case 2: return std::clamp<int64_t>(size.hint > 0 ? size.hint : 8, size.low, std::max<int64_t>(size.low, 24));
    case 3: return one_of(kSmall, random);
    case 4:
    case 5: return draw_between(size.low, size.high, random);
    default: return std::clamp(one_of(kSmall, random), size.low, size.high);
  }
}

Sizes draw_free_sizes(const Graph& graph, Random& random) {
  Sizes sizes;
  for (const FreeSize& size : graph.sizes()) sizes.push_back(draw_size(size, random));
  return sizes;
}

// -1 for what cannot be computed: the network has to refuse it.
Sizes shape_of(const Value& value, const Sizes& sizes) {
  Sizes shape;
  for (const Dim& dim : value.dims) {
    try {
      shape.push_back(dim.evaluate(sizes));
    } catch (const Error&) {
      shape.push_back(-1);
    }
  }
  return shape;
}

void spoil(Sizes& shape, Random& random) {
  constexpr int64_t kOdd[] = {-1, 0, 1, 2, kMost32, kMost32 + 1, kMost64, std::numeric_limits<int64_t>::min()};
  const size_t axis = shape.empty() ? 0 : random.next() % shape.size();
  switch (random.next() % 4) {
    case 0:
      if (!shape.empty()) shape.pop_back();
      break;
    case 1: shape.push_back(one_of(kOdd, random)); break;
    default:
      if (!shape.empty()) shape[axis] = one_of(kOdd, random);
  }
}

float draw_float(Random& random) {
  constexpr float kOdd[] = {0.0f,
                            -0.0f,
                            1e-40f,
                            3e38f,
                            -3e38f,
                            0.5f,
                            -1.0f,
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};
  return random.next() % 64 == 0 ? one_of(kOdd, random) : random.real(-3.0f, 3.0f);
}

template <typename T>
T draw_integer(Random& random) {
  constexpr T kOdd[] = {-1, -2, 100, 65536, std::numeric_limits<T>::max(), std::numeric_limits<T>::min()};
  return random.next() % 256 == 0 ? one_of(kOdd, random) : static_cast<T>(random.next() % 3);
}

template <typename T, typename Draw>
void fill_with(uint8_t* data, size_t bytes, const Draw& draw) {
  for (size_t i = 0; i < bytes; i += sizeof(T)) {
    const T value = draw();
    std::memcpy(data + i, &value, sizeof value);
  }
}

}  // namespace

std::vector<Sizes> draw_sizes(const Graph& graph, Random& random) {
  Sizes sizes = draw_free_sizes(graph, random);
  const bool unlike = random.next() % 8 == 0;
  std::vector<Sizes> shapes;
  for (const Port& port : graph.inputs()) {
    shapes.push_back(shape_of(graph.value(port.value), sizes));
    if (unlike) sizes = draw_free_sizes(graph, random);
  }
  if (!shapes.empty() && random.next() % 16 == 0) spoil(shapes[random.next() % shapes.size()], random);
  return shapes;
}

Elements::Elements(DType dtype, int64_t count)
    : dtype_(dtype),
      offset_(static_cast<size_t>(dtype_bytes(dtype))),
      memory_(offset_ + static_cast<size_t>(count) * offset_, uint8_t{0x5a}) {}

void Elements::fill(Random& random) {
  const size_t bytes = memory_.size() - offset_;
  switch (dtype_) {
    case DType::f32: return fill_with<float>(data(), bytes, [&] { return draw_float(random); });
    case DType::i64: return fill_with<int64_t>(data(), bytes, [&] { return draw_integer<int64_t>(random); });
    case DType::i32: return fill_with<int32_t>(data(), bytes, [&] { return draw_integer<int32_t>(random); });
    case DType::boolean: return fill_with<uint8_t>(data(), bytes, [&] { return static_cast<uint8_t>(random.next() % 2); });
    case DType::byte:
    case DType::i8: return fill_with<uint8_t>(data(), bytes, [&] { return static_cast<uint8_t>(random.next()); });
    case DType::u8: break;
  }
}

bool Elements::operator==(const Elements& other) const {
  if (memory_ == other.memory_) return true;
  if (dtype_ != DType::f32 || memory_.size() != other.memory_.size()) return false;
  for (size_t i = offset_; i < memory_.size(); i += sizeof(float)) {
    float a, b;
    std::memcpy(&a, memory_.data() + i, sizeof a);
    std::memcpy(&b, other.memory_.data() + i, sizeof b);
    if (std::memcmp(&a, &b, sizeof a) != 0 && !(std::isnan(a) && std::isnan(b))) return false;
  }
  return true;
}

}  // namespace niwaki::fuzz
