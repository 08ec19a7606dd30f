// A linear layer with int8 weights whose float32 rows are quantized by the range of each row: what a row gives hangs on no other row.
//
// low = min(0, x), high = max(0, x); s = max(2 (high / 510 - low / 510), 1e-30); z = round_half_even(-low / s), at most 255; q as quantize()
// makes it of s and z. Then y = ((float(sum w (q - 128)) + float((128 - z) sum w)) * w_o) * s + bias_o. A row with an element that is not
// finite becomes NaN.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/arch.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/conv/conv.h"
#include "kernels/dynamic_linear/params.h"
#include "kernels/quantize/quantize.h"

namespace niwaki {

struct DynamicLinearKernel {
  const char* name;
  Isa isa;
  RowRange (*measure)(const float* row, int64_t count);
  void (*finish_rows)(const RowsFinish& finish);
};

std::span<const DynamicLinearKernel> dynamic_linear_kernels();
const DynamicLinearKernel& select_dynamic_linear(Isa isa);

struct DynamicLinearWeights {
  const int8_t* weight;  // [outputs, inputs]
  const float* scale;    // [outputs]
  const float* bias;     // [outputs]
  int32_t outputs, inputs;
};

// One layer, packed. Immutable: sessions and threads share it.
class DynamicLinear {
 public:
  // expected_rows: 0 where unknown; chooses between kernels, changes no result.
  DynamicLinear(const DynamicLinearWeights& weights, Isa isa, ConvKind kind, int64_t expected_rows);

  const PackedConv& product() const { return *product_; }
  int64_t bytes() const;

  // Bytes for each thread.
  int64_t scratch_bytes(int64_t rows, int threads) const;
  // The most for any number of rows from 1 to `rows`, in a time that has an end: beyond two times the rows that are taken together, numbers of rows
  // need what smaller ones do.
  int64_t most_scratch_bytes(int64_t rows, int threads) const;

  // in: [rows, inputs], out: [rows, outputs]. scratch: pool.threads() * scratch_bytes, 64-byte aligned.
  void run(const float* in, float* out, int64_t rows, uint8_t* scratch, ThreadPool& pool) const;

 private:
  int64_t product_scratch(int64_t rows, int threads) const;

  const QuantizeKernel& quantize_;
  const DynamicLinearKernel& kernel_;
  int32_t inputs_, outputs_;
  std::unique_ptr<PackedConv> product_;
  Buffer weight_sums_, weight_scale_, bias_;
};

}  // namespace niwaki
