// Products of float32 values: matmul, attention, dynamic_linear.
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "base/status.h"
#include "graph/heads.h"
#include "kernels/attention/attention.h"
#include "kernels/byte_attention/byte_attention.h"
#include "kernels/dynamic_linear/dynamic_linear.h"
#include "kernels/matmul/matmul.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

using SizeSpan = std::span<const int64_t>;

// Where the matrices of a value begin for each matrix of the result, in elements: the axes before a matrix are broadcast to `out`.
std::vector<int64_t> matrix_offsets(SizeSpan axes, SizeSpan out, int64_t matrix) {
  const std::size_t missing = out.size() - axes.size();
  std::vector<int64_t> steps(out.size(), 0);
  for (std::size_t i = out.size(); i-- > missing;) {
    if (axes[i - missing] > 1) steps[i] = matrix;
    matrix *= axes[i - missing];
  }
  std::vector<int64_t> offsets = {0};
  for (std::size_t i = 0; i < out.size(); ++i) {  // every axis multiplies what the ones before it made
    std::vector<int64_t> more;
    more.reserve(offsets.size() * static_cast<std::size_t>(out[i]));
    for (const int64_t offset : offsets)
      for (int64_t k = 0; k < out[i]; ++k) more.push_back(offset + k * steps[i]);
    offsets = std::move(more);
  }
  return offsets;
}

// How the matrices of heads lie in a value of these sizes: the sizes of their rows and columns, and where they begin for each head of the result.
struct HeadMatrices {
  int64_t rows, columns, stride;  // between rows, in elements
  std::vector<int64_t> offsets;

  // heads: the axes of the result before its matrices.
  HeadMatrices(const Sizes& sizes, HeadForm form, SizeSpan heads) {
    const Sizes first = heads_first(sizes, form);
    rows = first[first.size() - 2], columns = first.back();
    stride = columns;
    const SizeSpan axes = SizeSpan(first).first(first.size() - 2);
    if (form == HeadForm::heads_first) {
      offsets = matrix_offsets(axes, heads, rows * columns);
      return;
    }
    // All heads of a token beside one another: one matrix of each image, in which heads begin a width apart.
    const int64_t count = axes.back(), parts = is_part(form) ? 3 : 1;
    stride = parts * count * columns;
    const int64_t part = is_part(form) ? static_cast<int64_t>(form) - static_cast<int64_t>(HeadForm::part_0) : 0;
    for (const int64_t image : matrix_offsets(axes.first(axes.size() - 1), heads.first(heads.size() - 1), rows * stride))
      for (int64_t head = 0; head < heads.back(); ++head)
        offsets.push_back(image + (part * count + (count == 1 ? 0 : head)) * columns);
  }
};

SizeSpan leading(SizeSpan dims, std::size_t matrix_axes) { return dims.first(dims.size() - matrix_axes); }

int64_t product(SizeSpan sizes) {
  int64_t result = 1;
  for (const int64_t size : sizes) result *= size;
  return result;
}

int64_t bytes_of(const std::vector<int64_t>& offsets) { return static_cast<int64_t>(offsets.size() * sizeof(int64_t)); }

class ProductStep : public Step {
 public:
  explicit ProductStep(const std::string& kernel) {
    info.scheme = "float32";
    info.kernel = kernel;
  }
};

// ---- matmul ----

struct MatmulSetup : StepSetup {
  MatmulSizes sizes{};
  bool swapped = false;  // b is the left matrix: its only column is a row
  int64_t bytes() const override { return bytes_of(sizes.a_offsets) + bytes_of(sizes.b_offsets); }
};

class MatmulStep : public ProductStep {
 public:
  MatmulStep(const MatmulKernel& kernel, bool transposed)
      : ProductStep(std::string("matmul_") + kernel.name), kernel_(kernel), transposed_(transposed) {}

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override { return std::make_unique<MatmulSetup>(plan(sizes)); }
  int64_t scratch_bytes(const StepSizes& sizes) const override { return matmul_scratch(kernel_, plan(sizes).sizes); }
  void run(const StepCall& call) const override {
    const auto& setup = static_cast<const MatmulSetup&>(*call.setup);
    const float *a = call.in[0].as<float>(), *b = call.in[1].as<float>();
    if (setup.swapped) std::swap(a, b);
    matmul(kernel_, setup.sizes, a, b, call.out[0].as<float>(), call.scratch, call.scratch_bytes, call.pool);
  }

 private:
  // A vector is a row on the left and a column on the right.
  MatmulSetup plan(const StepSizes& s) const {
    Sizes a = s.in[0].dims, b = s.in[1].dims;
    if (a.size() == 1) a.insert(a.begin(), 1);
    if (b.size() == 1) b.push_back(1);
    MatmulSetup setup;
    MatmulSizes& sizes = setup.sizes;
    sizes.rows = a[a.size() - 2];
    sizes.depth = a.back();
    sizes.columns = transposed_ ? b[b.size() - 2] : b.back();
    sizes.transposed = transposed_;
    const std::size_t result_axes = (s.in[0].dims.size() > 1 ? 1u : 0u) + (s.in[1].dims.size() > 1 ? 1u : 0u);
    const SizeSpan pairs = leading(s.out[0].dims, result_axes);
    if (product(leading(b, 2)) == 1) {  // one right matrix for all: the left ones are a single one, with more rows
      sizes.rows *= product(pairs);
      sizes.a_offsets = sizes.b_offsets = {0};
    } else {
      sizes.a_offsets = matrix_offsets(leading(a, 2), pairs, sizes.rows * sizes.depth);
      sizes.b_offsets = matrix_offsets(leading(b, 2), pairs, sizes.depth * sizes.columns);
    }
    if (sizes.columns == 1 && sizes.rows > 1) {  // sums lie along columns
      setup.swapped = sizes.transposed = true;
      std::swap(sizes.rows, sizes.columns);
      std::swap(sizes.a_offsets, sizes.b_offsets);
    }
    return setup;
  }

  const MatmulKernel& kernel_;
  bool transposed_;
};

// ---- attention ----

struct AttentionSetup : StepSetup {
  AttentionSizes sizes{};
  int64_t bytes() const override {
    return bytes_of(sizes.q_offsets) + bytes_of(sizes.k_offsets) + bytes_of(sizes.v_offsets) + bytes_of(sizes.out_offsets) +
           bytes_of(sizes.mask_offsets);
  }
};

class AttentionStep : public ProductStep {
 public:
  AttentionStep(const AttentionKernel& kernel, const MatmulKernel& products, const Node& node)
      : ProductStep(std::string("attention_") + kernel.name),
        kernel_(kernel),
        products_(products),
        forms_(head_forms(node)),
        causal_(node.integer("causal") != 0),
        scale_(static_cast<float>(node.number("scale"))),
        empty_(node.integer("nan_rows") != 0 ? std::numeric_limits<float>::quiet_NaN() : 0.0f) {}

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override {
    return std::make_unique<AttentionSetup>(plan(sizes));
  }
  int64_t scratch_bytes(const StepSizes& sizes) const override { return attention_scratch(products_, plan(sizes).sizes); }
  void run(const StepCall& call) const override {
    attention(kernel_, products_, static_cast<const AttentionSetup&>(*call.setup).sizes, values(call), call.scratch,
              call.scratch_bytes, call.pool);
  }

 protected:
  AttentionSetup plan(const StepSizes& s) const {
    const Sizes result = heads_first(s.out[0].dims, forms_[3]);
    const SizeSpan heads = leading(result, 2);
    HeadMatrices q(s.in[0].dims, forms_[0], heads), k(s.in[1].dims, forms_[1], heads), v(s.in[2].dims, forms_[2], heads),
        out(s.out[0].dims, forms_[3], heads);
    AttentionSetup setup;
    AttentionSizes& sizes = setup.sizes;
    sizes.queries = q.rows;
    sizes.keys = k.rows;
    sizes.width = q.columns;
    sizes.value_width = v.columns;
    sizes.causal = causal_;
    sizes.scale = scale_;
    sizes.empty = empty_;
    sizes.q_stride = q.stride, sizes.k_stride = k.stride, sizes.v_stride = v.stride, sizes.out_stride = out.stride;
    sizes.q_offsets = std::move(q.offsets);
    sizes.k_offsets = std::move(k.offsets);
    sizes.v_offsets = std::move(v.offsets);
    sizes.out_offsets = std::move(out.offsets);
    if (s.in.size() <= 3 || !s.in[3].given) return setup;
    Sizes mask = s.in[3].dims;
    while (mask.size() < 2) mask.insert(mask.begin(), 1);
    const int64_t rows = mask[mask.size() - 2], columns = mask.back();
    sizes.mask = s.in[3].dtype == DType::boolean ? AttentionMask::boolean : AttentionMask::added;
    sizes.mask_query_step = rows == 1 ? 0 : columns;
    sizes.mask_key_step = columns == 1 ? 0 : 1;
    sizes.mask_offsets = matrix_offsets(leading(mask, 2), heads, rows * columns);
    return setup;
  }
  static AttentionValues values(const StepCall& call) {
    return {call.in[0].as<float>(), call.in[1].as<float>(), call.in[2].as<float>(),
            call.in.size() > 3 ? call.in[3].data : nullptr, call.out[0].as<float>()};
  }

  const AttentionKernel& kernel_;
  const MatmulKernel& products_;

 private:
  HeadForms forms_;
  bool causal_;
  float scale_, empty_;
};

class ByteAttentionStep : public AttentionStep {
 public:
  ByteAttentionStep(const ByteAttentionKernel& bytes, const AttentionKernel& kernel, const MatmulKernel& products,
                    const Node& node)
      : AttentionStep(kernel, products, node), bytes_(bytes) {
    info.scheme = "int8";
    info.kernel = std::string("byte_attention_") + bytes.name;
    info.reason = "queries, keys and values are quantized by their own ranges";
  }

  int64_t scratch_bytes(const StepSizes& sizes) const override {
    return byte_attention_scratch(bytes_, products_, plan(sizes).sizes);
  }
  void run(const StepCall& call) const override {
    byte_attention(bytes_, kernel_, products_, static_cast<const AttentionSetup&>(*call.setup).sizes, values(call), call.scratch,
                   call.scratch_bytes, call.pool);
  }

 private:
  const ByteAttentionKernel& bytes_;
};

std::unique_ptr<Step> make_attention(const StepMaker& maker) {
  const Node& node = maker.node;
  const AttentionKernel& kernel = select_attention(maker.isa);
  const MatmulKernel& products = select_matmul(maker.isa);
  if (node.word("precision") == "float32") return std::make_unique<AttentionStep>(kernel, products, node);
  return std::make_unique<ByteAttentionStep>(select_byte_attention(maker.isa), kernel, products, node);
}

// ---- dynamic_linear ----

class DynamicLinearStep : public Step {
 public:
  explicit DynamicLinearStep(DynamicLinear layer) : layer_(std::move(layer)) {
    info.scheme = layer_.product().sparse() ? "sparse int8" : "int8";
    info.kernel = layer_.product().kernel();
    info.reason = layer_.product().reason() + "; each row is quantized by its own range";
    info.bytes = layer_.bytes();
  }

  int64_t scratch_bytes(const StepSizes& sizes) const override { return layer_.scratch_bytes(rows(sizes.in[0]), sizes.threads); }
  void run(const StepCall& call) const override {
    layer_.run(call.in[0].as<float>(), call.out[0].as<float>(), rows(call.in[0]), call.scratch, call.pool);
  }

 private:
  static int64_t rows(const Array& in) { return product(leading(in.dims, 1)); }
  DynamicLinear layer_;
};

std::unique_ptr<Step> make_dynamic_linear(const StepMaker& maker) {
  const Node& node = maker.node;
  const Tensor weight = node.tensor("weight").unpacked();
  const DynamicLinearWeights weights{weight.as<int8_t>(), node.tensor("weight_scale").as<float>(),
                                     node.tensor("bias").as<float>(), narrow(weight.shape()[0]), narrow(weight.shape()[1])};
  auto step = std::make_unique<DynamicLinearStep>(DynamicLinear(weights, maker.isa, maker.kind, maker.expected_pixels));
  step->info.zeros = weight.zeros();
  return step;
}

}  // namespace

std::unique_ptr<Step> make_product(const StepMaker& maker) {
  const Node& node = maker.node;
  switch (node.op) {
    case Op::matmul: return std::make_unique<MatmulStep>(select_matmul(maker.isa), node.integer("transpose_b") != 0);
    case Op::attention: return make_attention(maker);
    case Op::dynamic_linear: return make_dynamic_linear(maker);
    default: throw Error(Status::internal, node.name + ": not a product.");
  }
}

}  // namespace niwaki
