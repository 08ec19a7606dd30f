// Whatever a node is given, its operator makes something of it or refuses it in a sentence.
#include <limits>

#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

class RandomNet {
 public:
  explicit RandomNet(uint64_t seed) : random_(seed) {}

  // A node of this operator on new inputs; false where it is refused.
  bool add(const OperatorRule& rule) {
    const bool wild = random_.integer(0, 3) == 0;
    batch_ = net_.size("batch");
    net_.graph.add_input("first", DType::f32, {batch_});
    shapes_.push_back({batch_size_});
    std::vector<int> inputs;
    int rank = random_.integer(0, 5);
    for (const InputRule& input : rule.inputs) {
      if (input.optional && random_.integer(0, 1) == 0) break;
      if (random_.integer(0, 2) == 0) rank = random_.integer(input.min_rank, std::min(input.max_rank, 5));
      rank = std::clamp(rank, input.min_rank, input.max_rank);
      inputs.push_back(new_input(wild ? any_type() : type_of(input.types), rank, wild));
    }
    if (rule.repeats_input) inputs.insert(inputs.end(), static_cast<size_t>(random_.integer(0, 3)), inputs[0]);
    try {
      const Attributes given = attributes(rule, wild);
      const int made =
          net_.add(rule.name, inputs, given, rule.op == Op::recurrent ? recurrent(given, wild) : tensors(rule, wild));
      return use(made, rule);
    } catch (const Error& error) {
      CHECK(std::string(error.what()).starts_with("the "));
    }
    try {
      return use(net_.add_u8(rule.name, inputs, attributes(rule, false), tensors(rule, false)), rule);
    } catch (const Error& error) {
      CHECK(std::string(error.what()).starts_with("the "));
      return false;
    }
  }

  // Shapes, alone and fused. Images that run apart have the shapes of a smaller batch.
  bool run() {
    try {
      const Inferred all = infer_shapes(net_.graph, shapes_);
      const FusedGraph fused = fuse(net_.graph);
      const Inferred again = infer_shapes(fused.graph, shapes_);
      for (const Port& port : net_.graph.outputs()) {
        const auto value = static_cast<size_t>(port.value);
        CHECK_EQ(text(all.shapes[value]), text(again.shapes[value]));
        for (size_t i = 0; i < all.shapes[value].size(); ++i) {
          const Dim& dim = net_.graph.value(port.value).dims[i];
          if (!dim.is_unknown()) CHECK_EQ(dim.evaluate(all.sizes), all.shapes[value][i]);
        }
      }
      if (is_batch_local(net_.graph, all)) check_one_image(all);
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  bool is_apart = false;

 private:
  void check_one_image(const Inferred& all) {
    is_apart = true;
    std::vector<Sizes> inputs = shapes_;
    for (Sizes& sizes : inputs) sizes[0] = 1;
    Inferred one;
    try {
      one = infer_shapes(net_.graph, inputs);
    } catch (const Error& error) {
      testing::fail(__FILE__, __LINE__, std::string("one image is refused: ") + error.what());
      return;
    }
    for (const Port& port : net_.graph.outputs()) {
      Sizes shape = all.shapes[static_cast<size_t>(port.value)];
      CHECK_EQ(shape[0], batch_size_);
      shape[0] = 1;
      CHECK_EQ(text(shape), text(one.shapes[static_cast<size_t>(port.value)]));
    }
  }

  bool use(int made, const OperatorRule&) {
    const Node node = net_.graph.nodes().back();
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const int value = made + static_cast<int>(i);
      const bool is_u8 = net_.graph.value(value).dtype == DType::u8;
      net_.graph.add_output(is_u8 ? net_.add("dequantize", {value}) : value, "y");
    }
    return true;
  }

  DType any_type() { return static_cast<DType>(std::array{0, 2, 3, 4, 5}[static_cast<size_t>(random_.integer(0, 4))]); }

  DType type_of(TypeSet types) {
    for (;;)
      if (const DType type = any_type(); contains(types, type)) return type;
  }

  int64_t any_number() {
    constexpr std::array<int64_t, 12> kNumbers = {-1, 0, 1, 2, 3, 4, 7, 65535, INT32_MAX, -3, INT64_MAX, INT64_MIN};
    return kNumbers[static_cast<size_t>(random_.integer(0, 11))];
  }

  int new_input(DType type, int rank, bool wild) {
    Dims dims;
    Sizes shape;
    for (int axis = 0; axis < rank; ++axis) {
      int64_t size = random_.integer(0, 9) == 0 ? 0 : random_.integer(1, 6);
      if (wild && random_.integer(0, 3) == 0) size = std::clamp<int64_t>(any_number(), 0, INT32_MAX);
      if (axis == 0 && random_.integer(0, 3) > 0) {
        dims.push_back(batch_);
        size = batch_size_;
      } else if (random_.integer(0, 1) == 0) {
        dims.push_back(size);
      } else {
        dims.push_back(net_.graph.add_size("size" + std::to_string(net_.graph.sizes().size())));
      }
      shape.push_back(size);
    }
    shapes_.push_back(shape);
    const bool quantized = type == DType::u8 && rank > 0;
    const int value = net_.graph.add_input("in", type == DType::u8 ? DType::f32 : type, std::move(dims));
    return quantized ? net_.add_u8("quantize", {value}) : value;
  }

  Attributes attributes(const OperatorRule& rule, bool wild) {
    Attributes made;
    for (const AttributeRule& attribute : rule.attributes) {
      if (attribute.otherwise && random_.integer(0, 1) == 0) continue;
      const int count = attribute.count > 0 && !wild ? attribute.count : random_.integer(1, 4);
      if (attribute.kind == AttributeKind::word) {
        made[attribute.name] =
            word(attribute.words[static_cast<size_t>(random_.integer(0, static_cast<int32_t>(attribute.words.size()) - 1))]);
      } else if (attribute.kind == AttributeKind::numbers) {
        made[attribute.name] =
            numbers(std::vector<double>(static_cast<size_t>(attribute.count > 0 ? count : 1), random_.integer(-1, 2)));
      } else {
        Dims dims;
        for (int i = 0; i < (attribute.count < 0 && !wild ? 1 : count); ++i) dims.push_back(integer(attribute, wild));
        made[attribute.name] = std::move(dims);
      }
    }
    return made;
  }

  Dim integer(const AttributeRule& rule, bool wild) {
    if (rule.kind == AttributeKind::expressions && random_.integer(0, 2) == 0) {
      const Dim size = Dim::size(random_.integer(0, static_cast<int32_t>(net_.graph.sizes().size()) - 1));
      const Dim other = wild ? Dim(std::max<int64_t>(any_number(), -9)) : Dim(random_.integer(-1, 2));
      switch (random_.integer(0, 3)) {
        case 0: return size;
        case 1: return size + std::min(other.value(), int64_t{INT32_MAX});
        case 2: return size * std::min(other.value(), int64_t{INT32_MAX});
        default: return floor_div(Dim(7), size - 1);
      }
    }
    if (wild) return any_number();
    return std::clamp<int64_t>(random_.integer(-1, 4), std::max<int64_t>(rule.low, -4), std::min<int64_t>(rule.high, 6));
  }

  Tensors tensors(const OperatorRule& rule, bool wild) {
    Tensors made;
    const int64_t outputs = random_.integer(1, 5);  // the first dim of all: of a weight and of its scales
    for (const TensorRule& tensor : rule.tensors) {
      if (tensor.optional && random_.integer(0, 1) == 0) continue;
      Sizes shape;
      const int rank = tensor.rank >= 0 ? tensor.rank : random_.integer(0, 5);
      for (int axis = 0; axis < rank; ++axis) shape.push_back(axis == 0 ? outputs : random_.integer(1, 5));
      if (wild && rank > 1)
        shape[static_cast<size_t>(random_.integer(0, rank - 1))] = 0, shape[static_cast<size_t>(random_.integer(0, rank - 1))] =
                                                                          random_.integer(0, INT32_MAX - 1);
      if (wild && elements_of(shape) > 1000) shape.assign(static_cast<size_t>(rank), 1);
      if (std::string(rule.name) == "table") shape = {256};
      const DType type = type_of_tensor(tensor.types);
      const std::vector<uint8_t> data(static_cast<size_t>(elements_of(shape) * dtype_bytes(type)), type == DType::f32 ? 0x3c : 1);
      made[tensor.name] = Tensor::copy_of(type, shape, data.data());
    }
    return made;
  }

  // Which tensors recurrent layers have, and their shapes, follows from the attributes.
  Tensors recurrent(const Attributes& given, bool wild) {
    const auto number = [&](const char* name, int64_t otherwise) {
      const auto found = given.find(name);
      const Dims dims = found == given.end() ? Dims{otherwise} : std::get<Dims>(found->second);
      return dims[0].is_constant() ? std::clamp<int64_t>(dims[0].value(), 1, 8) : otherwise;
    };
    const std::string kind = std::get<std::string>(given.at("kind"));
    const int64_t gates = kind == "lstm" ? 4 : kind == "gru" ? 3 : 1, hidden = number("hidden", 1);
    const int64_t directions = given.contains("bidirectional") && std::get<Dims>(given.at("bidirectional"))[0] == Dim(1) ? 2 : 1;
    const int64_t inputs = wild ? random_.integer(0, 9) : shapes_[1].empty() ? 1 : shapes_[1].back();
    const int64_t projected = kind == "lstm" && hidden > 1 ? random_.integer(0, 1) : 0;
    return recurrent_tensors(gates, inputs, hidden, number("layers", 1), directions, projected);
  }

  static DType type_of_tensor(TypeSet types) {
    for (const DType type : {DType::f32, DType::i8, DType::u8, DType::i32})
      if (contains(types, type)) return type;
    return DType::f32;
  }

  Random random_;
  Net net_;
  Dim batch_;
  int64_t batch_size_ = random_.integer(1, 5);
  std::vector<Sizes> shapes_;
};

TEST(operators_take_anything_or_refuse) {
  for (const OperatorRule& rule : operator_rules()) {
    int added = 0, ran = 0, apart = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      RandomNet net(seed * 64 + static_cast<uint64_t>(rule.op));
      if (!net.add(rule)) continue;
      ++added;
      ran += net.run();
      apart += net.is_apart;
    }
    if (std::getenv("NIWAKI_SHOW")) std::printf("%s: %d %d %d\n", rule.name, added, ran, apart);
    CHECK(added > 0);
  }
}

}  // namespace
}  // namespace niwaki
