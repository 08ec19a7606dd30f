// What the tests of files share: folders, weights, a small network, and files with good checksums and wrong contents.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "base/status.h"
#include "file/crc32c.h"
#include "file/file.h"
#include "file/format.h"
#include "file/words.h"
#include "testing/emulation.h"
#include "testing/test.h"

namespace niwaki::testing {

namespace fs = std::filesystem;

// A folder that goes away with the test.
class Folder {
 public:
  Folder() {
    static int counter = 0;
    path_ = fs::temp_directory_path() /
            ("niwaki-file-test-" + std::to_string(reinterpret_cast<uintptr_t>(this)) + "-" + std::to_string(counter++));
    fs::create_directory(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string file(const char* name) const { return (path_ / name).string(); }
  size_t entries() const { return static_cast<size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator())); }

 private:
  fs::path path_;
};

inline std::vector<uint8_t> read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_all(const std::string& path, const std::vector<uint8_t>& bytes) {
  fs::remove(path);  // some file systems wait for the disk when a file is written over
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.status() == Status::invalid_file ? error.what() : std::string("wrong status: ") + error.what();
  }
  return "";
}

// Weights of which about `kept` per cent are left: single ones, or whole blocks of four input channels.
inline Tensor weights(std::vector<int64_t> shape, int kept, bool blocks, uint64_t seed) {
  Random random(seed);
  int64_t taps = 1;
  for (size_t i = 2; i < shape.size(); ++i) taps *= shape[i];
  std::vector<int8_t> data(static_cast<size_t>(shape[0] * shape[1] * taps));
  std::vector<bool> keep(data.size());
  for (size_t i = 0; i < keep.size(); ++i) keep[i] = random.integer(0, 99) < kept;
  for (int64_t o = 0; o < shape[0]; ++o)
    for (int64_t c = 0; c < shape[1]; ++c)
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t i = (o * shape[1] + c) * taps + t, decides = blocks ? (o * shape[1] + c / 4 * 4) * taps + t : i;
        const int value = random.integer(1, 127) * (random.integer(0, 1) * 2 - 1);
        data[static_cast<size_t>(i)] = keep[static_cast<size_t>(decides)] ? static_cast<int8_t>(value) : int8_t{0};
      }
  return Tensor::copy_of(DType::i8, shape, data.data());
}

inline bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && std::equal(a.data(), a.data() + a.bytes(), b.data());
}

inline Tensors layer(const Tensor& weight) {
  const auto outputs = static_cast<size_t>(weight.shape()[0]);
  std::vector<float> scale(outputs);
  std::vector<int32_t> bias(outputs);
  for (size_t o = 0; o < outputs; ++o) scale[o] = 0.01f * static_cast<float>(o + 1), bias[o] = static_cast<int32_t>(o) * 77 - 100;
  return {{"weight", weight},
          {"weight_scale", Tensor::copy_of(DType::f32, {weight.shape()[0]}, scale.data())},
          {"bias", Tensor::copy_of(DType::i32, {weight.shape()[0]}, bias.data())}};
}

// An input of images, whose sizes are "batch", "height" and "width".
inline int add_image(Graph& graph, const std::string& name, int64_t channels) {
  return graph.add_input(name, DType::f32,
                         {graph.add_size("batch"), Dim(channels), graph.add_size("height", 1, INT64_MAX, 9),
                          graph.add_size("width", 1, INT64_MAX, 9)});
}

inline Graph small_graph() {
  Graph graph;
  graph.metadata = {{"made by", "a test"}, {"note", ""}};
  const Quantization q{0.05f, 3};
  int v = graph.add_node(Op::quantize, "in", {add_image(graph, "image", 6)}, {}, {}, {q});
  v = graph.add_node(Op::conv2d, "first", {v}, {{"padding", Dims{1}}}, layer(weights({5, 6, 3, 3}, 20, true, 1)),
                     {Quantization{0.1f, 200}});
  v = graph.add_node(Op::conv2d, "second", {v}, {}, layer(weights({7, 5, 1, 1}, 30, false, 2)), {Quantization{0.2f, 0}});
  v = graph.add_node(Op::adaptive_avg_pool2d, "pool", {v}, {{"size", Dims{1, 1}}}, {}, {Quantization{0.2f, 0}});
  v = graph.add_node(Op::reshape, "flat", {v}, {{"shape", Dims{Dim::size(0), 7}}}, {}, {Quantization{0.2f, 0}});
  // An input after nodes: its value gets another number in the file.
  const int extra = graph.add_input("extra", DType::f32, {Dim::size(0), 7});
  v = graph.add_node(Op::add, "sum", {v, graph.add_node(Op::quantize, "in2", {extra}, {}, {}, {q})}, {}, {},
                     {Quantization{0.3f, 9}});
  v = graph.add_node(Op::linear, "last", {v}, {}, layer(weights({3, 7}, 100, false, 3)));
  graph.add_output(v, "scores");
  return graph;
}

template <typename T>
Tensor tensor_of(DType dtype, std::vector<int64_t> shape, std::vector<T> values) {
  return Tensor::copy_of(dtype, std::move(shape), values.data());
}

// What the graph above has not: inputs of every type, expressions, a guard, a state, several outputs, constants of every type and rank.
inline Graph token_graph() {
  Graph graph;
  const Dim batch = graph.add_size("batch", 0, 64, 1), length = graph.add_size("length", 2, 512, 16);
  const int ids = graph.add_input("ids", DType::i64, {batch, length}),
            mask = graph.add_input("mask", DType::boolean, {batch, length});
  const int kinds = graph.add_input("kinds", DType::i32, {batch, length});
  const int extra = graph.add_input("extra", DType::f32, {batch, max(length * 2 - 3, floor_div(length, 2) + mod(batch, 5)), 4});
  const int state = graph.add_state("seen", tensor_of<float>(DType::f32, {4}, {1, 2, 3, 4}));
  graph.add_guard({{{{mod(length, 2), Relation::equal, 0}, {0, Relation::less, batch}}, {{length, Relation::less_equal, 8}}},
                   "Input 'ids': its length must be even, or at most 8."});
  graph.add_guard({{{{min(batch, length), Relation::not_equal, 63}}}, "Inputs of 63 sentences are not taken."});
  const auto constant = [&](const char* name, Tensor value) {
    return graph.add_node(Op::constant, name, {}, {}, {{"value", std::move(value)}});
  };
  const auto unary = [&](const char* name, int of, const char* function) {
    return graph.add_node(Op::unary, name, {of}, {{"function", std::string(function)}}, {});
  };
  const auto binary = [&](const char* name, int a, int b, const char* function) {
    return graph.add_node(Op::binary, name, {a, b}, {{"function", std::string(function)}}, {});
  };
  const int table = constant("table", tensor_of<float>(DType::f32, {3, 4}, {0, 1, 2, 3, -1, -2, -3, -4, 0.5, 0.25, 0.125, 9}));
  int v = graph.add_node(Op::take, "embedding", {table, ids}, {{"axis", Dims{0}}}, {});
  const int masked = constant("masked", tensor_of<float>(DType::f32, {}, {-7.5f}));
  const int seen = graph.add_node(Op::reshape, "mask.columns", {mask}, {{"shape", Dims{batch, length, 1}}}, {});
  v = graph.add_node(Op::where, "masking", {seen, v, masked}, {}, {});
  const int part = graph.add_node(Op::slice, "part", {extra}, {{"axis", Dims{1}}, {"end", Dims{length}}}, {});
  const int rows = graph.add_node(Op::slice, "rows", {v}, {{"axis", Dims{1}}, {"end", Dims{max(length * 2 - 3, 0)}}}, {});
  const int top = graph.add_node(Op::topk, "top", {v}, {{"k", Dims{2}}, {"axis", Dims{2}}}, {});
  const int sums = graph.add_node(Op::reduce, "sums", {v}, {{"function", std::string("sum")}, {"axes", Dims{0, 1}}}, {});
  graph.set_state(state, binary("see", state, unary("squash", sums, "tanh"), "add"));
  const int places =
      graph.add_node(Op::arange, "places", {}, {{"start", Dims{0}}, {"end", Dims{length}}, {"dtype", std::string("int64")}}, {});
  const int same = constant("kind", tensor_of<int32_t>(DType::i32, {1}, {-3}));
  const int far = constant("far", tensor_of<int64_t>(DType::i64, {1}, {INT64_MIN + 1}));
  const int flags = constant("flags", tensor_of<uint8_t>(DType::boolean, {1, 1, 1, 1, 1, 1, 2, 1}, {1, 0}));
  const int nothing = constant("nothing", tensor_of<float>(DType::f32, {0, 3}, {}));
  const int empty = graph.add_node(
      Op::full, "empty", {},
      {{"shape", Dims{batch, 0}}, {"dtype", std::string("float32")}, {"value", std::vector<double>{-INFINITY}}}, {});
  graph.add_output(rows, "rows");
  graph.add_output(part, "part");
  graph.add_output(top, "values");
  graph.add_output(top + 1, "indices");
  graph.add_output(binary("later", places, far, "maximum"), "places");
  graph.add_output(binary("alike", kinds, same, "eq"), "alike");
  graph.add_output(flags, "flags");
  graph.add_output(nothing, "nothing");
  graph.add_output(empty, "empty");
  graph.add_output(graph.add_node(Op::size, "count", {}, {{"value", Dims{batch * length}}}, {}), "count");
  graph.add_output(ids, "ids");
  return graph;
}

// Weights that are coded: by Huffman, dense and under a mask that is coded itself, and by a codebook.
inline Graph coded_graph() {
  Graph graph;
  const Quantization q{0.05f, 3};
  Random random(9);
  const auto skewed = [&](int64_t outputs, int64_t inputs, int zeros) {
    std::vector<int8_t> data(static_cast<size_t>(outputs * inputs), 0);
    for (int8_t& value : data)
      for (int i = 0; i < 8 && random.integer(0, 99) >= zeros; ++i) value = static_cast<int8_t>(value + random.integer(0, 2) - 1);
    for (size_t i = 0; i < data.size() * static_cast<size_t>(zeros) / 100; ++i) data[i] = 0;
    return Tensor::copy_of(DType::i8, {outputs, inputs}, data.data());
  };
  std::vector<int8_t> four(64);
  for (int8_t& value : four) value = static_cast<int8_t>(random.integer(0, 3) * 40 - 60);
  const int x = graph.add_input("x", DType::f32, {graph.add_size("batch"), 32});
  int v = graph.add_node(Op::quantize, "in", {x}, {}, {}, {q});
  v = graph.add_node(Op::linear, "dense", {v}, {}, layer(skewed(8, 32, 0)), {Quantization{0.1f, 100}});
  v = graph.add_node(Op::linear, "book", {v}, {}, layer(Tensor::copy_of(DType::i8, {8, 8}, four.data())),
                     {Quantization{0.1f, 9}});
  v = graph.add_node(Op::linear, "masked", {v}, {}, layer(skewed(200, 8, 80)));
  graph.add_output(v, "y");
  return graph;
}

// Makes all checksums good again after a change of the bytes, as far as the sizes still make sense.
inline void seal(std::vector<uint8_t>& bytes) {
  format::Header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const size_t room = bytes.size() - sizeof(header);
  if (header.graph_bytes <= room && header.table_bytes <= room - header.graph_bytes) {
    uint8_t* table = bytes.data() + sizeof(header) + header.graph_bytes;
    const std::string path = "test";
    const auto refuse = [](const std::string&, const std::string& what) { throw Error(Status::invalid_file, what); };
    try {
      WordReader in({table, header.table_bytes}, format::kVersion, path, "table", refuse);
      size_t end = sizeof(header) + header.graph_bytes + header.table_bytes;
      for (uint64_t i = 0; i < header.tensors; ++i) {
        const auto type = in.number<uint8_t>(), storage = in.number<uint8_t>();
        for (int k = 0; k < type >> 4; ++k) in.natural();
        const uint64_t size = in.natural();
        const bool aligned = storage == 0 && (type & 15) <= static_cast<int>(DType::boolean);
        const size_t at = format::align(end, aligned ? static_cast<uint64_t>(dtype_bytes(static_cast<DType>(type & 15))) : 1);
        if (at > bytes.size() || size > bytes.size() - at) break;
        const uint32_t crc = crc32c({bytes.data() + at, size});
        std::memcpy(table + in.position(), &crc, sizeof(crc));
        in.number<uint32_t>();
        end = at + size;
      }
    } catch (const Error&) {
      // The change was to the table: what is left of it is sealed as it is.
    }
    header.graph_crc = crc32c({bytes.data() + sizeof(header), header.graph_bytes});
    header.table_crc = crc32c({table, header.table_bytes});
  }
  header.header_crc = crc32c({reinterpret_cast<const uint8_t*>(&header), 60});
  std::memcpy(bytes.data(), &header, sizeof(header));
}

// The file with something changed and good checksums: only the checks of the content are left to find it, when the file is
// read or when its weights are unpacked.
inline std::string error_of_forged(std::vector<uint8_t> bytes, const std::function<void(std::vector<uint8_t>&)>& change) {
  change(bytes);
  seal(bytes);
  return error_of([&] {
    const Graph graph = read_memory(bytes);
    for (const Node& node : graph.nodes())
      for (const auto& [name, tensor] : node.tensors) (void)tensor.unpacked();
  });
}

}  // namespace niwaki::testing
