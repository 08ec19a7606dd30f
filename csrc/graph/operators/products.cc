// Products of float32 values.
#include <cmath>

#include "graph/heads.h"
#include "graph/operators/rules.h"

namespace niwaki::rules {
namespace {

void expect_sum(const Inference& node, const Dim& a, const Dim& b) {
  if (differ(a, b))
    refuse(node.node, "its inputs are " + text(node, node.input(0).dims) + " and " + text(node, node.input(1).dims) +
                          ": sums over " + text(node, a) + " and " + text(node, b) + " elements do not fit.");
}

// torch.matmul: a vector is a row on the left and a column on the right, and leaves no axis.
std::vector<Operand> infer_matmul(const Inference& node) {
  Dims a = node.input(0).dims, b = node.input(1).dims;
  const bool row = a.size() == 1, column = b.size() == 1;
  if (row) a.insert(a.begin(), 1);
  if (column) {
    if (node.integer("transpose_b") != 0) refuse(node.node, "cannot transpose an input of rank 1.");
    b.push_back(1);
  } else if (node.integer("transpose_b") != 0) {
    std::swap(b[b.size() - 1], b[b.size() - 2]);
  }
  expect_sum(node, a.back(), b[b.size() - 2]);
  Dims out = broadcast(node, Dims(a.begin(), a.end() - 2), Dims(b.begin(), b.end() - 2));
  if (!row) out.push_back(a[a.size() - 2]);
  if (!column) out.push_back(b.back());
  return one(DType::f32, std::move(out));
}

// Axis 0 is an axis of matrices for both, or the rows of the left one.
bool local_matmul(const BatchInference& node) {
  const int a = node.input(0).rank(), b = node.input(1).rank(), rank = std::max(a, b);
  if (a == 1 || b == 1 || rank == 2) return node.batched[0] && !node.batched[1] && a >= 2 && b <= 2;
  for (size_t i = 0; i < 2; ++i)
    if (node.batched[i] ? node.input(i).rank() != rank : !shares(node, i, rank)) return false;
  return true;
}

std::vector<Operand> infer_attention(const Inference& node) {
  const HeadForms forms = head_forms(node.node);
  const Dims q = heads_first(node.input(0).dims, forms[0]), k = heads_first(node.input(1).dims, forms[1]),
             v = heads_first(node.input(2).dims, forms[2]);
  const auto refuse_shapes = [&] {
    refuse(node.node, "its inputs are " + text(node, q) + ", " + text(node, k) + " and " + text(node, v) +
                          "; [..., L, E], [..., S, E] and [..., S, Ev] are expected.");
  };
  const Dim &queries = q[q.size() - 2], &keys = k[k.size() - 2];
  if (differ(q.back(), k.back()) || differ(keys, v[v.size() - 2])) refuse_shapes();
  const auto leading = [](const Dims& dims) { return Dims(dims.begin(), dims.end() - 2); };
  Dims out = broadcast(node, broadcast(node, leading(q), leading(k)), leading(v));
  out.push_back(queries);
  if (node.given(3)) {
    Dims scores = out;
    scores.push_back(keys);
    const Dims& mask = node.input(3).dims;
    bool fits = mask.size() <= scores.size();
    for (size_t i = 0; fits && i < mask.size(); ++i)
      fits = mask[i] == Dim(1) || !differ(mask[i], scores[scores.size() - mask.size() + i]);
    if (!fits) refuse(node.node, "its mask " + text(node, mask) + " does not broadcast to " + text(node, scores) + ".");
  }
  out.push_back(v.back());
  return one(DType::f32, heads_first(std::move(out), forms[3]));  // the same swap, from heads first
}

bool local_attention(const BatchInference& node) {
  const HeadForms forms = head_forms(node.node.node);
  const int rank = node.out[0].rank();
  if (rank <= 2) return false;
  for (size_t i = 0; i < node.node.in.size(); ++i) {
    const int wanted = i < 3 && is_part(forms[i]) ? rank + 1 : rank;
    if (node.batched[i] ? node.input(i).rank() != wanted : !shares(node, i, rank)) return false;
  }
  return true;
}

void check_attention(const Inference& node) {
  if (!std::isfinite(node.node.number("scale")))
    refuse(node.node, "scale must be a finite number, not " + std::to_string(node.node.number("scale")) + ".");
}

}  // namespace

OperatorRule matmul() {
  return {.summary = "matrix products, as torch.matmul; transpose_b: the second one is [..., columns, sum]",
          .inputs = {{"a", kFloat, 1}, {"b", kFloat, 1}},
          .attributes = {flag("transpose_b")},
          .infer = infer_matmul,
          .batch_local = local_matmul};
}

OperatorRule attention() {
  return {.summary =
              "softmax(q k' * scale + mask) v, as torch's scaled_dot_product_attention. mask: bool (true takes part) or float32 "
              "(added); causal: query i sees keys 0 to i; a query that sees none becomes zeros, with nan_rows NaN; precision "
              "int8: both products multiply codes of 8 bits, made when it runs",
          .inputs = {{"q", kFloat, 2},
                     {"k", kFloat, 2},
                     {"v", kFloat, 2},
                     {"mask", types_of(DType::boolean, DType::f32), 0, kMaxRank, true}},
          .attributes = {flag("causal"), number("scale"), flag("nan_rows"), word("precision", {"float32", "int8"}, "float32")},
          .check = check_attention,
          .infer = infer_attention,
          .batch_local = local_attention};
}

}  // namespace niwaki::rules
