// What the rules of operators are written with. Each operator's rule is a function of its name in namespace rules.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "graph/operators.h"

namespace niwaki::rules {

#define NIWAKI_OPERATOR(name) OperatorRule name();
#include "graph/operators.inc"
#undef NIWAKI_OPERATOR

inline constexpr int64_t kFar =
    65535;  // the largest kernel, stride, dilation and padding: keeps products of them far from overflow
inline constexpr int64_t kInt32 = INT32_MAX;

inline constexpr TypeSet kFloat = types_of(DType::f32), kU8 = types_of(DType::u8), kInt64 = types_of(DType::i64),
                         kBool = types_of(DType::boolean), kIndex = types_of(DType::i64, DType::i32),
                         kNumbers = types_of(DType::f32, DType::i64, DType::i32),
                         kPlain = types_of(DType::f32, DType::i64, DType::i32, DType::boolean),
                         kBytes = types_of(DType::byte, DType::i8),  // are moved, chosen and converted, and not computed with
    kMovable = kPlain | kBytes, kAny = kMovable | kU8;

// Attributes. Without `otherwise` they must be given.
AttributeRule integers(const char* name, int count, int64_t low, int64_t high, std::optional<Dims> otherwise = std::nullopt);
AttributeRule expressions(const char* name, int count, int64_t low, int64_t high, std::optional<Dims> otherwise = std::nullopt);
AttributeRule flag(const char* name, bool otherwise = false);
AttributeRule axis(const char* name = "axis");  // checked by axis_of
AttributeRule number(const char* name, std::optional<double> otherwise = std::nullopt);
AttributeRule word(const char* name, std::vector<const char*> words, const char* otherwise = nullptr);
AttributeRule dtype_word(std::vector<const char*> words);
std::vector<AttributeRule> with_bounds(std::vector<AttributeRule> attributes = {});  // and low and high of a uint8 result
void check_bounds(const Node& node);
void check_int8_matrix(const Node& node, const char* name);  // tensor `name` of int8 [outputs, inputs], with name_scale [outputs]

// Messages.
std::string text(int64_t value);
std::string text(const Inference& node, const Dim& dim);
std::string text(const Inference& node, const Dims& dims);  // "[batch, 8, 4]"

// Dims.
bool differ(const Dim& a, const Dim& b);                              // both are constants, and not the same
Dim known(const Dim& a, const Dim& b);                                // of two dims that must be the same, the one that says more
bool is_zero(const Dim& dim);                                         // a constant 0
Dim count_of(std::span<const Dim> dims);                              // their product
Dims broadcast(const Inference& node, const Dims& a, const Dims& b);  // as numpy does
void expect_channels(const Inference& node, const Dim& dim, int64_t expected, const char* what);
void expect_pixels(const Inference& node);  // refuses a first input that has none along axis 2 or beyond
void expect_same(const Inference& node, const Dims& a, const Dims& b);  // refuses inputs of unlike shapes

size_t axis_of(const Inference& node, const char* attribute = "axis", size_t input = 0);  // refuses those beyond the input's rank
std::vector<size_t> axes_of(const Inference& node, const char* attribute = "axes");       // and those given twice
void expect_same_types(const Inference& node, size_t a, size_t b);
DType dtype_of(const std::string& word);

// What many operators make.
std::vector<Operand> same_as_input(const Inference& node);
std::vector<Operand> one(DType dtype, Dims dims);

// Whether images stay apart.
bool always(const BatchInference& node);  // every input and output has the images as axis 0 and nothing looks across them
bool if_not_first_axis(const BatchInference& node);  // of operators along one `axis`
bool elementwise(const BatchInference&
                     node);  // of those that broadcast: the batched inputs have the output's rank, the others no axis of images
bool shares(const BatchInference& node, size_t input,
            int rank);  // the input is the same for all images, where the output has this rank

}  // namespace niwaki::rules
