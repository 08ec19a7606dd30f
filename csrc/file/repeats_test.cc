// Calls of one layer: nodes with the same tensors, which are stored and packed once.
#include "graph/repeats.h"

#include "base/arch.h"
#include "file/graph_reader.h"
#include "file/graph_writer.h"
#include "file/test_tools.h"
#include "runtime/session.h"

namespace niwaki {
namespace {

using namespace testing;

constexpr int64_t kWidth = 12;

Tensors cell(uint64_t seed) {
  const std::vector<float> scales(kWidth, 0.01f), bias(kWidth, 0.1f);
  return {{"w_ih_l0", weights({kWidth, kWidth}, 100, false, seed)},
          {"w_hh_l0", weights({kWidth, kWidth}, 100, false, seed + 1)},
          {"w_ih_l0_scale", tensor_of<float>(DType::f32, {kWidth}, scales)},
          {"w_hh_l0_scale", tensor_of<float>(DType::f32, {kWidth}, scales)},
          {"b_ih_l0", tensor_of<float>(DType::f32, {kWidth}, bias)},
          {"b_hh_l0", tensor_of<float>(DType::f32, {kWidth}, bias)}};
}

Attributes plain_cell(const char* kind) {
  return {{"kind", Attribute(std::string(kind))}, {"hidden", Attribute(Dims{kWidth})}, {"dynamic", Attribute(Dims{1})}};
}

// Calls of plain recurrent cells that read what they gave: of `seeds` one each.
Graph decoder(const std::vector<uint64_t>& seeds, const char* last_kind = "rnn_tanh") {
  Graph graph;
  const Dim batch = graph.add_size("batch", 1, 64, 2);
  int x = graph.add_input("x", DType::f32, {1, batch, kWidth}), h = x;
  for (size_t i = 0; i < seeds.size(); ++i) {
    const char* kind = i + 1 == seeds.size() ? last_kind : "rnn_tanh";
    x = graph.add_node(Op::recurrent, "cell" + std::to_string(i), {x, h}, plain_cell(kind), cell(seeds[i]));
    h = x + 1;
    share_repeated(graph);
  }
  graph.add_output(x, "y");
  return graph;
}

// The same, with tensors of its own for each call.
Graph apart(const Graph& graph) {
  Graph made = graph;
  for (size_t i = 0; i < made.nodes().size(); ++i)
    for (const auto& [name, tensor] : graph.nodes()[i].tensors)
      made.share_tensor(i, name, Tensor::copy_of(tensor.dtype(), tensor.shape(), tensor.data()));
  return made;
}

std::vector<float> answer(const std::shared_ptr<const Model>& model) {
  Session session(model, 1);
  std::vector<float> x(2 * kWidth), y(2 * kWidth);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) / 50.0f - 1.0f;
  const std::vector<Session::Input> inputs = {{x.data(), {1, 2, kWidth}}};
  void* const outputs[] = {y.data()};
  session.run(inputs, outputs);
  return y;
}
std::vector<float> answer(const Graph& graph, Isa isa = Isa::scalar) { return answer(std::make_shared<const Model>(graph, isa)); }

int64_t packed_bytes(const Model& model) {
  int64_t bytes = 0;
  for (const auto& step : model.steps()) bytes += step->info.bytes;
  return bytes;
}

TEST(repeats_are_nodes_that_are_alike) {
  CHECK(first_calls(decoder({1, 1, 1, 9, 1, 9})) == std::vector<size_t>({0, 0, 0, 3, 0, 3}));
  CHECK(first_calls(decoder({1, 1, 1}, "rnn_relu")) == std::vector<size_t>({0, 0, 2}));
  const Graph own = apart(decoder({1, 1}));
  CHECK(!has_repeats(own));
  CHECK(equal(own.nodes()[0].tensor("w_ih_l0"), own.nodes()[1].tensor("w_ih_l0")));
  CHECK(!equal(own.nodes()[0].tensor("w_ih_l0"), own.nodes()[1].tensor("w_hh_l0")));
}

TEST(repeats_are_packed_once) {
  const Graph graph = decoder({1, 1, 1, 9});
  for (const Isa isa : supported_isas()) {
    const auto model = std::make_shared<const Model>(graph, isa);
    CHECK(answer(model) == answer(apart(graph), isa));
    CHECK_EQ(packed_bytes(*model), packed_bytes(Model(apart(decoder({1, 9})), isa)));
    CHECK_EQ(model->steps()[2]->info.name, "cell2");
    CHECK(model->steps()[2]->info.reason.find("the weights of cell0") != std::string::npos);
    CHECK(model->steps()[3]->info.reason.find("the weights of") == std::string::npos);
  }
}

TEST(file_repeats_are_stored_once) {
  Folder folder;
  const Graph graph = decoder({1, 1, 1, 9});
  write_file(graph, folder.file("once"));
  write_file(apart(graph), folder.file("apart"));
  const FileContents once = inspect_file(folder.file("once"));
  CHECK_EQ(once.info.version, format::kRepeatsVersion);
  CHECK_EQ(inspect_file(folder.file("apart")).info.version, format::kVersion);
  const auto& tensors = once.info.entries[0].tensors;
  for (const auto& [name, place] : tensors[0]) {
    CHECK_EQ(tensors[1].at(name).offset, place.offset);
    CHECK_EQ(tensors[2].at(name).offset, place.offset);
    CHECK(tensors[3].at(name).offset != place.offset);
  }
  CHECK(read_all(folder.file("once")).size() + 2 * kWidth * kWidth < read_all(folder.file("apart")).size());
  const Graph back = read_file(folder.file("once"));
  CHECK(first_calls(back) == first_calls(graph));
  CHECK(answer(back) == answer(graph));
  write_file(back, folder.file("again"));
  CHECK(read_all(folder.file("again")) == read_all(folder.file("once")));
}

// Two linear layers, or convolutions, with one weight and other scales and biases, and a third one.
Graph tied(Op op, const Tensor& weight, const Tensor& third) {
  Graph graph;
  const Dim batch = graph.add_size("batch", 1, 64, 2);
  const bool conv = op == Op::conv2d;
  const int x = graph.add_input("x", DType::f32, conv ? Dims{batch, kWidth, 1, 1} : Dims{batch, kWidth});
  int v = graph.add_node(Op::quantize, "in", {x}, {}, {}, {Quantization{0.02f, 100}});
  int32_t bias = 40;
  for (const auto& [name, own] : {std::pair("a", &weight), std::pair("b", &weight), std::pair("c", &third)}) {
    Tensors tensors = layer(*own);
    std::vector<int32_t> biases(kWidth, bias += 3);
    tensors["bias"] = tensor_of<int32_t>(DType::i32, {kWidth}, biases);
    v = graph.add_node(op, name, {v}, {}, std::move(tensors), {Quantization{0.01f * static_cast<float>(bias), 120}});
    share_repeated(graph);
  }
  v = graph.add_node(Op::dequantize, "out", {v}, {}, {});
  graph.add_output(conv ? graph.add_node(Op::reshape, "flat", {v}, {{"shape", Attribute(Dims{1, batch, kWidth})}}, {}) : v, "y");
  return graph;
}

std::vector<float> answer_of_tied(const Graph& graph, Isa isa) {
  Session session(std::make_shared<const Model>(graph, isa), 1);
  std::vector<float> x(2 * kWidth), y(2 * kWidth);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) / 50.0f - 1.0f;
  const bool conv = graph.value(graph.inputs()[0].value).rank() == 4;
  const std::vector<Session::Input> inputs = {{x.data(), conv ? Sizes{2, kWidth, 1, 1} : Sizes{2, kWidth}}};
  void* const outputs[] = {y.data()};
  session.run(inputs, outputs);
  return y;
}

TEST(file_weights_that_layers_share_are_stored_once) {
  Folder folder;
  for (const Op op : {Op::linear, Op::conv2d}) {
    const std::vector<int64_t> shape =
        op == Op::linear ? std::vector<int64_t>{kWidth, kWidth} : std::vector<int64_t>{kWidth, kWidth, 1, 1};
    const Graph graph = tied(op, weights(shape, 100, false, 5), weights(shape, 100, false, 6));
    CHECK(first_weights(graph) == std::vector<size_t>({0, 1, 1, 3, 4}) ||
          first_weights(graph) == std::vector<size_t>({0, 1, 1, 3, 4, 5}));
    write_file(graph, folder.file("once"));
    const FileContents once = inspect_file(folder.file("once"));
    CHECK_EQ(once.info.version, format::kRepeatsVersion);
    const auto& tensors = once.info.entries[0].tensors;
    CHECK_EQ(tensors[1].at("weight").offset, tensors[2].at("weight").offset);
    CHECK(tensors[1].at("bias").offset != tensors[2].at("bias").offset);
    CHECK(tensors[1].at("weight").offset != tensors[3].at("weight").offset);
    const Graph back = read_file(folder.file("once"));
    CHECK(first_weights(back) == first_weights(graph));
    write_file(back, folder.file("again"));
    CHECK(read_all(folder.file("again")) == read_all(folder.file("once")));
    write_file(std::vector<Entry>{{"a", graph}, {"b", graph}}, folder.file("two"));
    const FileContents two = inspect_file(folder.file("two"));
    CHECK_EQ(two.info.entries[1].tensors[2].at("weight").offset, two.info.entries[0].tensors[1].at("weight").offset);
    for (const Isa isa : supported_isas()) {
      CHECK(answer_of_tied(back, isa) == answer_of_tied(apart(graph), Isa::scalar));
      CHECK(answer_of_tied(two.entries[1].graph, isa) == answer_of_tied(apart(graph), Isa::scalar));
    }
  }
}

// What is packed for each layer by itself stays apart.
TEST(repeats_leave_small_convolutions_alone) {
  const Tensor weight = weights({kWidth, 1, 1, 1}, 100, false, 5);
  Graph graph;
  const int x = graph.add_input("x", DType::f32, {2, kWidth, 1, 1});
  const int v = graph.add_node(Op::quantize, "in", {x}, {}, {}, {Quantization{0.02f, 100}});
  for (const char* name : {"a", "b"}) {
    graph.add_node(Op::conv2d, name, {v}, {{"groups", Attribute(Dims{kWidth})}}, layer(weight), {Quantization{0.05f, 120}});
    share_repeated(graph);
  }
  CHECK(!has_repeats(graph));
}

TEST(file_repeats_within_entries_that_share) {
  Folder folder;
  const std::vector<Entry> entries = {{"a", decoder({1, 1})}, {"b", decoder({9, 1, 1, 1})}, {"c", decoder({5})}};
  write_file(entries, folder.file("a"));
  const FileContents back = inspect_file(folder.file("a"));
  CHECK_EQ(back.info.version, format::kRepeatsVersion);
  const auto row = [&](size_t entry, size_t node) { return back.info.entries[entry].tensors[node].at("w_hh_l0").offset; };
  CHECK(row(0, 0) == row(0, 1) && row(0, 0) == row(1, 1) && row(0, 0) == row(1, 2) && row(0, 0) == row(1, 3));
  CHECK(row(1, 0) != row(0, 0) && row(2, 0) != row(0, 0));
  SharedWeights shared;
  for (size_t i = 0; i < entries.size(); ++i) {
    CHECK_EQ(back.entries[i].name, entries[i].name);
    const auto model = std::make_shared<const Model>(back.entries[i].graph, Isa::scalar, ConvKind::automatic, nullptr, &shared);
    CHECK(answer(model) == answer(entries[i].graph));
  }
}

// A file may not have a layer packed again and again, under other attributes or beside tensors of its own.
TEST(file_repeats_that_are_forged) {
  struct Call {
    std::vector<uint64_t> rows;
    const char* kind = "rnn_tanh";
  };
  const auto reading = [](const std::vector<Call>& calls, uint32_t version) -> std::string {
    WordWriter out;
    if (version > format::kVersion) out.natural(1), out.string(version == format::kRepeatsVersion ? "" : "a");
    for (int list = 0; list < 2; ++list) out.natural(0);  // metadata, sizes
    out.natural(1), out.string("x"), out.number(uint8_t{3});
    out.natural(3);
    for (const int64_t dim : {int64_t{1}, int64_t{2}, kWidth}) out.number(uint8_t{0}), out.integer(dim);
    for (int list = 0; list < 2; ++list) out.natural(0);  // states, guards
    out.natural(calls.size());
    const Tensors tensors = cell(1);
    for (size_t i = 0; i < calls.size(); ++i) {
      out.string("recurrent"), out.string("cell" + std::to_string(i));
      out.natural(1), out.natural(1);
      out.natural(2), out.string("kind"), out.number(uint8_t{3}), out.string(calls[i].kind);
      out.string("hidden"), out.number(uint8_t{0}), out.natural(1), out.integer(kWidth);
      out.natural(tensors.size());
      size_t at = 0;
      for (const auto& [name, tensor] : tensors) out.string(name), out.natural(calls[i].rows[at++]);
      out.natural(2), out.number(uint8_t{0}), out.number(uint8_t{0});
    }
    out.natural(1), out.natural(1), out.string("y");
    const std::vector<uint8_t> bytes = out.take_with_strings();
    const std::string path = "test";
    const auto refuse = [](const std::string&, const std::string& what) { throw Error(Status::invalid_file, what); };
    WordReader in(bytes, version, path, "the graph", refuse);
    uint64_t most = 0;
    for (const Call& call : calls) most = std::max(most, *std::max_element(call.rows.begin(), call.rows.end()));
    std::vector<Tensor> rows;
    while (rows.size() <= most)
      for (const auto& [name, tensor] : tensors) rows.push_back(Tensor::copy_of(tensor.dtype(), tensor.shape(), tensor.data()));
    rows.resize(most + 1);
    try {
      read_graphs(in, version, std::move(rows), nullptr);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  const auto says = [&](const std::vector<Call>& calls, uint32_t version, const char* part) {
    const std::string said = reading(calls, version);
    if (said.find(part) == std::string::npos) testing::fail(__FILE__, __LINE__, "'" + said + "' lacks '" + part + "'");
  };
  const std::vector<uint64_t> all = {0, 1, 2, 3, 4, 5}, others = {6, 7, 8, 9, 10, 11};
  for (const uint32_t version : {format::kVersion, format::kEntriesVersion, format::kRepeatsVersion})
    CHECK_EQ(reading({{all}, {others}}, version), "");
  CHECK_EQ(reading({{all}, {others}, {all}, {others}}, format::kRepeatsVersion), "");
  for (const uint32_t version : {format::kVersion, format::kEntriesVersion})
    says({{all}, {all}}, version, "belongs to two nodes");
  says({{all}, {all, "rnn_relu"}}, format::kRepeatsVersion, "cell1 has tensors of cell0, and is not the same layer");
  says({{all}, {{6, 7, 8, 9, 10, 5}}}, format::kRepeatsVersion, "is not the same layer");
  says({{all}, {others}, {{0, 1, 2, 9, 10, 11}}}, format::kRepeatsVersion, "is not the same layer");
  says({{{0, 1, 2, 3, 4, 4}}}, format::kRepeatsVersion, "tensor 4 belongs to two nodes");
}

}  // namespace
}  // namespace niwaki
