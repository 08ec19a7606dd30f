// Random attention, computed by every instruction set.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/memory.h"
#include "kernels/attention/attention.h"
#include "kernels/byte_attention/byte_attention.h"
#include "kernels/common/test_planes.h"

namespace niwaki::testing {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

inline std::size_t at(int64_t index) { return static_cast<std::size_t>(index); }

inline std::vector<float> random_floats(Random& random, int64_t count, float most) {
  std::vector<float> values(at(count));
  for (float& value : values) value = random.real(-most, most);
  return values;
}

// The same bits, or not a number both.
inline bool same(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::isnan(a[i]) ? !std::isnan(b[i]) : !(a[i] == b[i])) return false;
  return a.size() == b.size();
}

struct AttentionCase {
  int64_t heads, queries, keys, width, value_width;
  bool causal = false;
  AttentionMask mask = AttentionMask::none;
  bool one_mask_row = false, one_mask_column = false;
  int64_t gap = 0;  // elements between rows that belong to nobody
};

struct AttentionProblem {
  AttentionSizes sizes{};
  bool in_bytes = false;
  std::vector<float> q, k, v, added;
  std::vector<uint8_t> bools;

  AttentionProblem(const AttentionCase& c, Random& random, bool bytes = false) : in_bytes(bytes) {
    const int64_t mask_rows = c.one_mask_row ? 1 : c.queries, mask_columns = c.one_mask_column ? 1 : c.keys;
    sizes = {c.queries,
             c.keys,
             c.width,
             c.value_width,
             c.causal,
             0.31f,
             0.0f,
             c.mask,
             c.one_mask_row ? 0 : mask_columns,
             c.one_mask_column ? 0 : 1,
             c.width + c.gap,
             c.width + 2 * c.gap,
             c.value_width + c.gap,
             c.value_width + 3 * c.gap,
             {},
             {},
             {},
             {},
             {}};
    for (int64_t head = 0; head < c.heads; ++head) {  // every second head shares its keys, values and mask
      sizes.q_offsets.push_back((c.heads - 1 - head) * c.queries * sizes.q_stride);
      sizes.k_offsets.push_back(head / 2 * c.keys * sizes.k_stride);
      sizes.v_offsets.push_back(head / 2 * c.keys * sizes.v_stride);
      sizes.out_offsets.push_back(head * c.queries * sizes.out_stride);
      if (c.mask != AttentionMask::none) sizes.mask_offsets.push_back(head / 2 * mask_rows * mask_columns);
    }
    q = random_floats(random, c.heads * c.queries * sizes.q_stride, 3.0f);
    k = random_floats(random, c.heads * c.keys * sizes.k_stride, 3.0f);
    v = random_floats(random, c.heads * c.keys * sizes.v_stride, 3.0f);
    for (int64_t i = 0; i < c.heads * mask_rows * mask_columns; ++i) {
      bools.push_back(random.integer(0, 3) > 0);
      added.push_back(random.integer(0, 4) == 0 ? -kInfinity : random.real(-2.0f, 2.0f));
    }
  }

  std::vector<float> run(Isa isa, int threads) const {
    const AttentionKernel& kernel = select_attention(isa);
    const ByteAttentionKernel& bytes = select_byte_attention(isa);
    const MatmulKernel& products = select_matmul(isa);
    const auto rows = static_cast<int64_t>(sizes.q_offsets.size()) * sizes.queries;
    std::vector<float> out(at(rows * sizes.out_stride + 1), 7.0f);
    const int64_t step =
        round_up(in_bytes ? byte_attention_scratch(bytes, products, sizes) : attention_scratch(products, sizes), 64);
    Buffer scratch(at(step * threads));
    std::memset(scratch.data(), 0xff, scratch.size());
    ThreadPool pool(threads);
    const void* mask = sizes.mask == AttentionMask::boolean ? static_cast<const void*>(bools.data()) : added.data();
    const AttentionValues values{q.data(), k.data(), v.data(), mask, out.data()};
    if (in_bytes) byte_attention(bytes, kernel, products, sizes, values, scratch.data(), step, pool);
    else attention(kernel, products, sizes, values, scratch.data(), step, pool);
    std::vector<float> found;  // without the gaps, where nothing may be written
    for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
      if (i < rows * sizes.out_stride && i % sizes.out_stride < sizes.value_width) found.push_back(out[at(i)]);
      else CHECK_EQ(out[at(i)], 7.0f);
    }
    return found;
  }

  // The same bits from every instruction set and number of threads.
  std::vector<float> run_all() const {
    const std::vector<float> first = run(Isa::scalar, 1);
    for (const Isa isa : supported_isas())
      for (const int threads : {1, 3}) CHECK(same(run(isa, threads), first));
    return first;
  }

  // In double: the score of a query and a key, with its mask.
  double score(std::size_t head, int64_t query, int64_t key) const {
    if (sizes.causal && key > query) return -kInfinity;
    double sum = 0.0;
    for (int64_t e = 0; e < sizes.width; ++e)
      sum += double{q[at(sizes.q_offsets[head] + query * sizes.q_stride + e)]} *
             k[at(sizes.k_offsets[head] + key * sizes.k_stride + e)];
    sum *= sizes.scale;
    if (sizes.mask == AttentionMask::none) return sum;
    const std::size_t mask = at(sizes.mask_offsets[head] + query * sizes.mask_query_step + key * sizes.mask_key_step);
    if (sizes.mask == AttentionMask::boolean) return bools[mask] ? sum : -kInfinity;
    return sum + added[mask];
  }

  void check_near(const std::vector<float>& found, double most_error = 1e-4) const {
    for (std::size_t head = 0; head < sizes.q_offsets.size(); ++head) {
      for (int64_t query = 0; query < sizes.queries; ++query) {
        std::vector<double> scores;
        double most = -kInfinity, sum = 0.0;
        for (int64_t key = 0; key < sizes.keys; ++key) scores.push_back(score(head, query, key));
        for (const double s : scores) most = std::max(most, s);
        for (double& s : scores) {
          s = most == -kInfinity ? 0.0 : std::exp(s - most);
          sum += s;
        }
        for (int64_t i = 0; i < sizes.value_width; ++i) {
          double wanted = 0.0;
          for (int64_t key = 0; key < sizes.keys; ++key)
            if (sum > 0.0) wanted += scores[at(key)] / sum * v[at(sizes.v_offsets[head] + key * sizes.v_stride + i)];
          const auto index = (static_cast<int64_t>(head) * sizes.queries + query) * sizes.value_width + i;
          CHECK(std::abs(found[at(index)] - wanted) < most_error);
        }
      }
    }
  }
};

}  // namespace niwaki::testing
