#include "kernels/prelu/prelu.h"

#include <cstring>
#include <string>
#include <utility>

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_PRELU(name, isa)                                                                                \
  namespace prelu_##name {                                                                                     \
    void run(const uint8_t* in, uint8_t* out, int64_t bytes, const float* factors, const PreluParams& params); \
  }
#include "kernels/prelu/kernels.inc"
#undef NIWAKI_PRELU

std::span<const PreluKernel> prelu_kernels() {
  static constexpr PreluKernel rows[] = {
#define NIWAKI_PRELU(name, isa) {#name, isa, prelu_##name::run},
#include "kernels/prelu/kernels.inc"
#undef NIWAKI_PRELU
  };
  return rows;
}

const PreluKernel& select_prelu(Isa isa) { return select_kernel(prelu_kernels(), isa); }

void prelu(const PreluKernel& kernel, const Planes& in, const Planes& out, const float* factors, const PreluParams& params,
           ThreadPool& pool) {
  for_each_part(div_up(out.pixels(), 16), out.groups(), 64, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    for (int64_t group = first; group < last; ++group)
      kernel.run(in.group(group) + begin * 64, out.group(group) + begin * 64, (end - begin) * 64, factors + group * 4, params);
  });
}

namespace {

class PreluAfter final : public After {
 public:
  PreluAfter(const PreluKernel& kernel, std::vector<float> factors, const PreluParams& params)
      : kernel_(kernel), name_(std::string("prelu_") + kernel.name), factors_(std::move(factors)), params_(params) {}
  void run(uint8_t* data, int64_t stride, int64_t bytes, int64_t group, int64_t groups) const override {
    const int64_t whole = bytes / 64 * 64, left = bytes - whole;
    for (const int64_t end = group + groups; group < end; ++group, data += stride) {
      const float* factors = factors_.data() + group * 4;
      if (whole > 0) kernel_.run(data, data, whole, factors, params_);
      if (left == 0) continue;
      alignas(64) uint8_t rest[64] = {};  // what lies behind it may be another thread's
      std::memcpy(rest, data + whole, static_cast<std::size_t>(left));
      kernel_.run(rest, rest, 64, factors, params_);
      std::memcpy(data + whole, rest, static_cast<std::size_t>(left));
    }
  }
  const char* kernel() const override { return name_.c_str(); }
  int64_t bytes() const override { return static_cast<int64_t>(factors_.size() * sizeof(float)); }

 private:
  const PreluKernel& kernel_;
  const std::string name_;
  const std::vector<float> factors_;
  const PreluParams params_;
};

}  // namespace

std::unique_ptr<After> after_prelu(const PreluKernel& kernel, std::vector<float> factors, const PreluParams& params) {
  return std::make_unique<PreluAfter>(kernel, std::move(factors), params);
}

}  // namespace niwaki
