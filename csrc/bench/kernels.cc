// Every row of the kernels.inc tables that this machine can run, over shapes of real layers, on one thread. `make bench-kernels`.
// Names are <operator>_<set>/<shape>; --benchmark_filter takes a regular expression over them.
#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <string>

#include "bench/data.h"
#include "kernels/add/add.h"
#include "kernels/attention/attention.h"
#include "kernels/byte_attention/byte_attention.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/matmul/matmul.h"
#include "kernels/mul/mul.h"
#include "kernels/pool/pool.h"
#include "kernels/prelu/prelu.h"
#include "kernels/quantize/quantize.h"
#include "kernels/resize/resize.h"
#include "kernels/rows/rows.h"
#include "kernels/table/table.h"

namespace niwaki::bench {
namespace {

// What one call of `run` does: multiply-accumulates, or bytes that are read and written.
struct Work {
  double macs = 0, bytes = 0;
};

void add_benchmark(const std::string& name, const Work& work, std::function<void()> run) {
  benchmark::RegisterBenchmark(name.c_str(), [run = std::move(run), work](benchmark::State& state) {
    for ([[maybe_unused]] auto round : state) run();
    const auto each = [&](const char* unit, double amount) {
      if (amount > 0)
        state.counters[unit] = benchmark::Counter(amount * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
    };
    each("MAC/s", work.macs);
    each("B/s", work.bytes);
  });
}

template <typename Kernel, typename Function>
void for_runnable(std::span<const Kernel> rows, const Function& function) {
  for (const Kernel* row : testing::runnable(rows)) function(*row);
}

struct ConvShape {
  const char* name;
  int32_t channels, outputs, side, kernel;  // side: of a square image; 0: a linear layer over 128 tokens
  double zeros;
  int32_t largest = 127;  // weight
};

void add_conv(const ConvKernels& row, const ConvShape& shape, ConvKind kind, int64_t expected_pixels, const char* what) {
  auto layer = std::make_shared<ConvLayer>(shape.channels, shape.outputs, shape.side, shape.kernel, shape.zeros, shape.largest);
  layer->params.expected_pixels = expected_pixels;
  auto packed = std::shared_ptr<PackedConv>(pack_conv(layer->params, layer->weights(), row.isa, kind));
  auto scratch = std::make_shared<Buffer>(static_cast<size_t>(packed->scratch_bytes(layer->in.planes, layer->out.planes)));
  auto pool = std::make_shared<ThreadPool>(1);
  add_benchmark(std::string("conv_") + what + "_" + row.name + "/" + shape.name, {.macs = layer->macs()}, [=] {
    packed->run(layer->in.planes, layer->padding(), layer->out.planes, nullptr, Planes{}, {}, scratch->data(), *pool);
  });
}

void add_convs() {
  for_runnable(conv_kernels(), [](const ConvKernels& row) {
    for (const ConvShape& shape :
         {ConvShape{"64x56x56_k3", 64, 64, 56, 3, 0.0}, ConvShape{"256x14x14_k3", 256, 256, 14, 3, 0.0},
          ConvShape{"1024x14x14_k1", 1024, 256, 14, 1, 0.0}, ConvShape{"384_to_1536_tokens", 384, 1536, 0, 1, 0.0}})
      add_conv(row, shape, ConvKind::dense, 0, "dense");
    for (const ConvShape& shape :
         {ConvShape{"256x14x14_k3_85%", 256, 256, 14, 3, 0.85}, ConvShape{"1024x14x14_k1_85%", 1024, 256, 14, 1, 0.85}})
      add_conv(row, shape, ConvKind::sparse, 0, "sparse");
    add_conv(row, {"384_to_1536_tokens", 384, 1536, 0, 1, 0.0}, ConvKind::dense, 1, "wide");
    add_conv(row, {"384_to_1536_tokens", 384, 1536, 0, 1, 0.0, 7}, ConvKind::dense, 1, "wide4");
  });
}

void add_depthwise() {
  for_runnable(depthwise_kernels(), [](const DepthwiseKernel& row) {
    auto layer = std::make_shared<DepthwiseLayer>(row, 144, 56);
    auto pool = std::make_shared<ThreadPool>(1);
    add_benchmark(std::string("depthwise_") + row.name + "/144x56x56_k3", {.macs = 144.0 * 56 * 56 * 9},
                  [=] { depthwise(layer->weights, layer->in.planes, layer->out.planes, layer->params, {}, *pool); });
  });
}

// Kernels that go over bytes one after the other.
void add_flat() {
  constexpr int64_t kBytes = 64 * 56 * 56;
  auto a = std::make_shared<Bytes>(kBytes), b = std::make_shared<Bytes>(kBytes), out = std::make_shared<Bytes>(kBytes);
  auto table = std::make_shared<Bytes>(256);
  const AddParams sum{0.5f, 0.7f, 3, 5, 7, 0, 255};
  const MulParams product{0.01f, 3, 5, 7, 0, 255};
  for_runnable(add_kernels(), [&](const AddKernel& row) {
    add_benchmark(std::string("add_") + row.name, {.bytes = 3.0 * kBytes},
                  [=, run = row.run] { run(a->data(), b->data(), out->data(), kBytes, sum); });
  });
  auto slopes = std::make_shared<std::vector<float>>(4, 0.2f);
  for_runnable(prelu_kernels(), [&](const PreluKernel& row) {
    add_benchmark(std::string("prelu_") + row.name, {.bytes = 2.0 * kBytes},
                  [=, run = row.run] { run(a->data(), out->data(), kBytes, slopes->data(), {0.5f, 3, 7, 0, 255}); });
  });
  for_runnable(mul_kernels(), [&](const MulKernel& row) {
    add_benchmark(std::string("mul_") + row.name, {.bytes = 3.0 * kBytes},
                  [=, run = row.same] { run(a->data(), b->data(), out->data(), kBytes, product); });
  });
  for_runnable(table_kernels(), [&](const TableKernel& row) {
    add_benchmark(std::string("table_") + row.name, {.bytes = 2.0 * kBytes},
                  [=, run = row.lookup] { run(a->data(), out->data(), kBytes, table->data()); });
  });
}

void add_pools() {
  PoolParams params{};
  params.kernel_h = params.kernel_w = 3, params.stride_h = params.stride_w = 2, params.pad_top = params.pad_left = 1;
  params.dilation_h = params.dilation_w = 1, params.scale = 1.0f, params.high = 255;
  auto in = std::make_shared<Activation>(1, 64, 112, 112), out = std::make_shared<Activation>(1, 64, 56, 56);
  auto pool = std::make_shared<ThreadPool>(1);
  for_runnable(pool_kernels(), [&](const PoolKernel& row) {
    add_benchmark(std::string("max_pool_") + row.name + "/64x112x112_k3", {.bytes = 1.25 * 64 * 112 * 112},
                  [=, &row] { max_pool2d(row, in->planes, out->planes, params, *pool); });
  });
}

void add_resizes() {
  auto in = std::make_shared<Activation>(1, 64, 56, 56), out = std::make_shared<Activation>(1, 64, 112, 112);
  auto pool = std::make_shared<ThreadPool>(1);
  for (const auto& [mode, name] : {std::pair{Interpolation::nearest, "nearest"}, std::pair{Interpolation::linear, "linear"},
                                   std::pair{Interpolation::cubic, "cubic"}}) {
    const InterpolateParams params{mode, 2, false, {0.0, 0.0, 0.0}, {1, 56, 56}, {1, 112, 112}};
    auto resizer = std::make_shared<Resizer>(params);
    const int64_t bytes = Resizer::scratch_bytes(params);
    auto scratch = std::make_shared<Buffer>(static_cast<size_t>(bytes));
    for_runnable(resize_kernels(), [&](const ResizeKernel& row) {
      add_benchmark(std::string("resize_") + row.name + "/64x56x56_" + name + "_to_112", {.bytes = 5.0 * 64 * 56 * 56},
                    [=, &row] { resizer->run(row, in->planes, out->planes, {1.0f, 3, 3}, scratch->data(), bytes, *pool); });
    });
  }
}

void add_quantize() {
  auto values = std::make_shared<Floats>(int64_t{64} * 56 * 56);
  auto bytes = std::make_shared<Activation>(1, 64, 56, 56);
  auto pool = std::make_shared<ThreadPool>(1);
  const QuantizeParams params{50.0f, 0.02f, 128};
  for_runnable(quantize_kernels(), [&](const QuantizeKernel& row) {
    add_benchmark(std::string("quantize_") + row.name + "/64x56x56", {.bytes = 5.0 * 64 * 56 * 56},
                  [=, &row] { quantize(row, values->data(), bytes->planes, params, *pool); });
    add_benchmark(std::string("dequantize_") + row.name + "/64x56x56", {.bytes = 5.0 * 64 * 56 * 56},
                  [=, &row] { dequantize(row, bytes->planes, values->data(), params, *pool); });
  });
}

void add_float() {
  constexpr int64_t kSide = 384, kElements = 128 * kSide;
  auto a = std::make_shared<Floats>(kElements), b = std::make_shared<Floats>(kSide * kSide),
       out = std::make_shared<Floats>(kElements);
  for_runnable(matmul_kernels(), [&](const MatmulKernel& row) {
    const MatmulTile tile{a->data(), b->data(), out->data(), kSide, kSide, kSide, 128, kSide, kSide, false};
    add_benchmark(std::string("matmul_") + row.name + "/128x384x384", {.macs = 128.0 * kSide * kSide},
                  [=, keep = std::pair(a, b), result = out, run = row.multiply] { run(tile); });
  });
  for_runnable(elementwise_kernels(), [&](const ElementwiseKernel& row) {
    for (const char* name : {"exp", "gelu", "tanh", "relu"}) {
      const UnaryParams params{*find_unary(name), ElementType::f32, 0, 0, 0, 0};
      add_benchmark(std::string(name) + "_" + row.name, {.bytes = 8.0 * kElements},
                    [=, run = row.unary] { run(params, a->data(), out->data(), kElements); });
    }
  });
  auto pool = std::make_shared<ThreadPool>(1);
  for_runnable(rows_kernels(), [&](const RowsKernel& row) {
    add_benchmark(std::string("softmax_") + row.name + "/128x384", {.bytes = 8.0 * kElements},
                  [=, &row] { softmax(row, {128, kSide, 1}, false, a->data(), out->data(), *pool); });
    const NormParams params{nullptr, nullptr, kSide, 1, 1e-5f, true};
    add_benchmark(std::string("layer_norm_") + row.name + "/128x384", {.bytes = 8.0 * kElements},
                  [=, &row] { normalize(row, params, 128, a->data(), out->data(), *pool); });
  });
}

// Twelve heads of 128 tokens and 32 values.
void add_attention() {
  auto sizes = std::make_shared<AttentionSizes>();
  sizes->queries = sizes->keys = 128, sizes->width = sizes->value_width = 32, sizes->scale = 0.17f;
  for (int64_t head = 0; head < 12; ++head)
    for (auto* offsets : {&sizes->q_offsets, &sizes->k_offsets, &sizes->v_offsets, &sizes->out_offsets})
      offsets->push_back(head * 128 * 32);
  for (int64_t* stride : {&sizes->q_stride, &sizes->k_stride, &sizes->v_stride, &sizes->out_stride}) *stride = 32;
  auto q = std::make_shared<Floats>(12 * 128 * 32), k = std::make_shared<Floats>(12 * 128 * 32),
       v = std::make_shared<Floats>(12 * 128 * 32), out = std::make_shared<Floats>(12 * 128 * 32);
  auto pool = std::make_shared<ThreadPool>(1);
  const auto add = [&](const std::string& name, int64_t bytes, const auto& run) {
    auto scratch = std::make_shared<Buffer>(static_cast<size_t>(bytes));
    add_benchmark(name + "/12x128x128x32", {.macs = 2.0 * 12 * 128 * 128 * 32}, [=] {
      run(AttentionValues{.q = q->data(), .k = k->data(), .v = v->data(), .mask = nullptr, .out = out->data()}, scratch->data(),
          bytes);
    });
  };
  for_runnable(attention_kernels(), [&](const AttentionKernel& row) {
    const MatmulKernel& products = select_matmul(row.isa);
    add(std::string("attention_") + row.name, attention_scratch(products, *sizes),
        [=, &row, &products](const AttentionValues& values, uint8_t* scratch, int64_t bytes) {
          attention(row, products, *sizes, values, scratch, bytes, *pool);
        });
  });
  for_runnable(byte_attention_kernels(), [&](const ByteAttentionKernel& row) {
    const MatmulKernel& products = select_matmul(row.isa);
    const AttentionKernel& floats = select_attention(row.isa);
    add(std::string("byte_attention_") + row.name, byte_attention_scratch(row, products, *sizes),
        [=, &row, &products, &floats](const AttentionValues& values, uint8_t* scratch, int64_t bytes) {
          byte_attention(row, floats, products, *sizes, values, scratch, bytes, *pool);
        });
  });
});
}

}  // namespace
}  // namespace niwaki::bench

int main(int argc, char** argv) {
  using namespace niwaki::bench;
  add_convs();
  add_depthwise();
  add_flat();
  add_pools();
  add_resizes();
  add_quantize();
  add_float();
  add_attention();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
