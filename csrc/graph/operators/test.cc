// The table of operators as a whole.
#include <set>

#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(operators_table_is_in_order) {
  int expected = 0;
  for (const OperatorRule& rule : operator_rules()) {
    CHECK_EQ(static_cast<int>(rule.op), expected++);
    CHECK(find_operator(rule.name) == &rule);
    CHECK(rule.infer != nullptr);
    CHECK(std::string(rule.summary).size() > 5);
    std::set<std::string> names;
    for (const AttributeRule& attribute : rule.attributes) {
      CHECK(names.insert(attribute.name).second);
      CHECK((attribute.kind == AttributeKind::word) == !attribute.words.empty());
    }
    for (const TensorRule& tensor : rule.tensors) CHECK(names.insert(tensor.name).second);
    bool optional = false;  // those that may be left out stand at the end
    for (const InputRule& input : rule.inputs) {
      CHECK(!optional || input.optional);
      optional = input.optional;
    }
  }
  CHECK(find_operator("softsign") == nullptr);
}

TEST(operators_refuse_by_name) {
  Images s;
  const size_t before = s.graph.values().size();
  const int f = s.graph.inputs()[0].value;
  CHECK_THROWS(s.add_u8("softsign", {s.x}), "the softsign: there is no operator 'softsign'");
  CHECK_THROWS(s.add_u8("clamp", {s.x, s.x}), "the clamp (clamp): takes 1 inputs, not 2");
  CHECK_THROWS(s.add_u8("conv2d", {}), "takes 1 to 2 inputs, not 0");
  CHECK_THROWS(s.add_u8("clamp", {99}), "value 99, which does not exist");
  CHECK_THROWS(s.add_u8("add", {-1, s.x}), "value -1, which does not exist");
  CHECK_THROWS(s.add_u8("clamp", {f}), "its input 'data' is float32, not uint8; quantize it first");
  CHECK_THROWS(s.add("softmax", {s.x}, {{"axis", Dims{1}}}), "its input 'data' is uint8, not float32; dequantize it first");
  CHECK_THROWS(s.add("take", {f, f}, {{"axis", Dims{1}}}), "its input 'indices' is float32, not int64 or int32");
  CHECK_THROWS(s.add_u8("clamp", {s.x}, {{"lo", Dims{1}}}), "takes no attribute 'lo'");
  CHECK_THROWS(s.add_u8("clamp", {s.x}, {{"low", Dims{256}}}), "'low' must lie in 0 to 255, not 256");
  CHECK_THROWS(s.add_u8("clamp", {s.x}, {{"low", numbers({1})}}), "'low' takes integers");
  CHECK_THROWS(s.add_u8("clamp", {s.x}, {{"low", Dims{Dim::size(0)}}}), "'low' must be a number, not batch");
  CHECK_THROWS(s.add("unary", {f}, {{"function", Dims{1}}}), "'function' takes a word");
  CHECK_THROWS(s.add("cast", {f}, {{"dtype", word("float16")}}),
               "'dtype' must be one of float32, int64, int32, bool, byte, int8, not 'float16'");
  CHECK_THROWS(s.add("unary", {f}, {{"function", word("elu")}, {"alpha", word("1")}}), "'alpha' takes numbers");
  CHECK_THROWS(s.add_u8("max_pool2d", {s.x}), "needs the attribute 'kernel'");
  CHECK_THROWS(s.add_u8("max_pool2d", {s.x}, {{"kernel", Dims{1, 2, 3}}}), "must have 2 values, not 3");
  CHECK_THROWS(s.add("reshape", {f}, {{"shape", Dims(65, 1)}}), "at most 64 values, not 65");
  CHECK_THROWS(s.add("reshape", {f}, {{"shape", Dims(9, 1)}}), "rank 9; 8 is the highest");
  CHECK_THROWS(s.add("reshape", {f}, {{"shape", Dims{Dim::size(7)}}}), "'shape' has an expression that is not made of");
  CHECK_THROWS(s.add("reshape", {f}, {{"shape", Dims{Dim::unknown()}}}), "'shape' has an expression that is not made of");
  CHECK_THROWS(s.add("reshape", {f}, {{"shape", Dims(8, INT32_MAX)}}), "does not fit 64 bits");
  CHECK_THROWS(s.add_u8("table", {s.x}), "needs the tensor 'table'");
  CHECK_THROWS(s.add_u8("table", {s.x}, {}, {{"tablet", bytes(DType::u8, {256}, 0)}}), "takes no tensor 'tablet'");
  CHECK_THROWS(s.add_u8("table", {s.x}, {}, {{"table", bytes(DType::i8, {256}, 0)}}), "table must be uint8, not int8");
  CHECK_THROWS(s.add_u8("table", {s.x}, {}, {{"table", bytes(DType::u8, {16, 16}, 0)}}), "table must have rank 1, not 2");
  CHECK_THROWS(s.add_u8("table", {s.x}, {}, {{"table", bytes(DType::u8, {255}, 0)}}), "256 elements, not 255");
  CHECK_EQ(s.graph.values().size(), before);  // what was refused left nothing
  CHECK_EQ(s.graph.nodes().size(), size_t{1});
}

TEST(operators_check_scales) {
  Images s;
  const auto add = [&](const char* op, std::vector<int> inputs, Quantization q) {
    return s.add(op, std::move(inputs), {}, {}, q);
  };
  CHECK_THROWS(add("clamp", {s.x}, {0.2f, 10}), "keeps scale and zero point");
  CHECK_THROWS(s.add("reshape", {s.x}, {{"shape", Dims{-1}}}, {}, Quantization{0.1f, 9}), "keeps scale and zero point");
  CHECK_THROWS(s.add("clamp", {s.x}), "needs a scale");
  CHECK_THROWS(add("add", {s.x, s.x}, {0.0f, 1}), "positive and finite");
  CHECK_THROWS(add("add", {s.x, s.x}, {1e-39f, 1}), "positive and finite");
  CHECK_THROWS(add("add", {s.x, s.x}, {1.0f, 256}), "0 to 255, not 256");
  CHECK_THROWS(add("add", {s.x, s.x}, {1e-30f, 0}), "above 1e25");
  CHECK_THROWS(add("mul", {s.x, s.x}, {1e-30f, 0}), "above 1e25");
  CHECK_THROWS(add("dequantize", {s.x}, kScale), "is float32 and takes no scale");
  CHECK_THROWS(s.graph.add_node(Op::dequantize, "two", {s.x}, {}, {}, {std::nullopt, kScale}),
               "1 outputs and is given more scales");
  CHECK_THROWS(s.add("full", {}, {{"shape", Dims{2}}, {"dtype", word("uint8")}, {"value", numbers({1})}}), "needs a scale");
  CHECK_THROWS(s.add_u8("constant", {}, {}, {{"value", bytes(DType::u8, {}, 1)}}), "uint8 value without axes");
}

TEST(operators_fill_in_attributes) {
  Images s;
  s.add_u8("conv2d", {s.x, -1}, {{"stride", Dims{2}}, {"padding", Dims{1}}}, layer({4, 8, 3, 3}));
  const Node& conv = s.graph.nodes().back();
  CHECK_EQ(conv.inputs.size(), size_t{1});
  CHECK(conv.integers("stride") == (std::vector<int64_t>{2, 2}));
  CHECK(conv.integers("padding") == (std::vector<int64_t>{1, 1, 1, 1}));
  CHECK(conv.integers("dilation") == (std::vector<int64_t>{1, 1}));
  CHECK_EQ(conv.integer("groups"), 1);
  CHECK_EQ(conv.integer("high"), 255);
  s.add("pool", {s.graph.inputs()[0].value}, {{"function", word("max")}, {"kernel", Dims{3}}});
  const Node& pool = s.graph.nodes().back();
  CHECK(pool.integers("kernel") == (std::vector<int64_t>{3, 3}));
  CHECK(pool.integers("padding") == (std::vector<int64_t>{0, 0, 0, 0}));
}

}  // namespace
}  // namespace niwaki
