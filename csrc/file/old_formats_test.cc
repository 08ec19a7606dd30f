// Files of formats 1 and 2, which are no longer written, and the answers that the niwaki of that time gave.
#include <cstdio>
#include <set>

#include "base/arch.h"
#include "file/test_tools.h"
#include "graph/operators.h"
#include "graph/shapes.h"
#include "runtime/session.h"

namespace niwaki {
namespace {

using namespace testing;

std::string old_file(const std::string& name) { return (fs::path(NIWAKI_TEST_DATA) / "formats" / (name + ".niwaki")).string(); }

// What stood in the inputs: numbers that any program can make anew.
std::vector<float> old_input(int64_t elements) {
  std::vector<float> values(static_cast<size_t>(elements));
  for (int64_t i = 0; i < elements; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i * 37 % 101 - 50) / 16.0f;
  return values;
}

// The checksum of all outputs, one after the other.
uint32_t answer(const Graph& graph, Isa isa, int64_t images, int64_t side) {
  Session session(std::make_shared<const Model>(graph, isa), 1);
  std::vector<std::vector<float>> data;
  std::vector<Session::Input> inputs;
  std::vector<Sizes> shapes;
  for (const Port& port : graph.inputs()) {
    const Dims& dims = graph.value(port.value).dims;
    Sizes shape = {images, dims[1].value()};
    if (dims.size() == 4) shape.insert(shape.end(), {side, side});
    data.push_back(old_input(elements_of(shape)));
    shapes.push_back(shape);
  }
  for (size_t i = 0; i < data.size(); ++i) inputs.push_back({data[i].data(), shapes[i]});
  std::vector<std::vector<float>> results;
  std::vector<void*> outputs;
  for (const Sizes& shape : session.output_shapes(shapes)) results.emplace_back(static_cast<size_t>(elements_of(shape)));
  for (auto& result : results) outputs.push_back(result.data());
  session.run(inputs, outputs);
  std::vector<float> all;
  for (const auto& result : results) all.insert(all.end(), result.begin(), result.end());
  return crc32c({reinterpret_cast<const uint8_t*>(all.data()), all.size() * sizeof(float)});
}

TEST(file_old_formats_give_the_old_answers) {
  std::ifstream list(fs::path(NIWAKI_TEST_DATA) / "formats" / "answers.txt");
  std::set<uint32_t> versions;
  std::string name, checksum;
  for (int64_t images, side; list >> name >> images >> side >> checksum;) {
    versions.insert(inspect_file(old_file(name)).info.version);
    const Graph graph = read_file(old_file(name));
    for (const Isa isa : supported_isas()) {
      char found[9];
      std::snprintf(found, sizeof found, "%08x", static_cast<unsigned>(answer(graph, isa, images, side)));
      if (checksum != found) testing::fail(__FILE__, __LINE__, name + " with " + isa_name(isa) + ": another answer");
    }
  }
  CHECK(versions == std::set<uint32_t>({1, 2}));
}

TEST(file_old_graphs_are_translated) {
  const Graph graph = read_file(old_file("phases"));  // two inputs
  std::string sizes;
  for (const FreeSize& size : graph.sizes())
    sizes +=
        size.name + " " + std::to_string(size.low) + " " + std::to_string(size.high) + " " + std::to_string(size.hint) + "; ";
  CHECK_EQ(sizes, std::string("batch 0 2147483647 1; height 1 2147483647 14; width 1 2147483647 14; batch_2 0 2147483647 1; "));
  CHECK(graph.value(graph.inputs()[1].value).dims == Dims({Dim::size(3), 8}));
  const Graph shapes = read_file(old_file("shapes"));
  std::map<std::string, const Node*> nodes;
  for (const Node& node : shapes.nodes()) nodes[op_name(node.op)] = &node;
  CHECK(nodes.at("pad")->dims("padding") == Dims({0, 0, 1, 0, 0, 2, 1, 1}) && nodes.at("pad")->integer("q") == 7);
  CHECK_EQ(nodes.at("pad")->word("mode"), std::string("constant"));
  const Dims& flat = nodes.at("reshape")->dims("shape");  // [-1] was [all of an image's]
  CHECK(flat.size() == 2 && flat[0] == Dim::size(0) && flat[1].evaluate(Sizes{2, 8, 8}) == 180);
  const Graph joined = read_file(old_file("joined"));
  for (const Node& node : joined.nodes())
    if (node.op == Op::concat) CHECK_EQ(node.integer("axis"), int64_t{1});
}

// Written anew, an old file is one of today.
TEST(file_old_formats_are_written_anew) {
  Folder folder;
  for (const char* name : {"version1", "joined"}) {
    write_file(read_file(old_file(name)), folder.file("a.niwaki"));
    const FileContents again = inspect_file(folder.file("a.niwaki"));
    CHECK_EQ(again.info.version, format::kVersion);
    CHECK_EQ(answer(again.entries[0].graph, Isa::scalar, 2, 8), answer(read_file(old_file(name)), Isa::scalar, 2, 8));
  }
}

TEST(file_version_1_is_read) {
  const std::vector<uint8_t> bytes = read_all(old_file("version1"));
  const Graph graph = read_memory(bytes);
  REQUIRE(graph.nodes().size() == 3 && graph.inputs().size() == 1);
  CHECK(graph.metadata.at("note") == "v1");
  const Node& conv = graph.nodes()[1];
  CHECK(conv.name == "c" && conv.op == Op::conv2d && conv.integers("dilation") == Sizes({1, 1}));
  const Tensor weight = conv.tensor("weight").unpacked();
  CHECK(weight.shape() == Sizes({2, 6, 1, 1}));
  CHECK(weight.as<int8_t>()[4] == 9 && weight.as<int8_t>()[7] == -7);
  CHECK_EQ(conv.tensor("bias").as<int32_t>()[1], -2);
  CHECK_EQ(conv.tensor("weight_scale").as<float>()[0], 0.5f);
  CHECK(graph.value(conv.outputs[0]).quantization == (Quantization{0.1f, 200}));
}

// Cut short or changed anywhere, they are refused as ever.
TEST(file_old_formats_are_checked) {
  for (const char* name : {"version1", "bit_mask"}) {
    const std::vector<uint8_t> bytes = read_all(old_file(name));
    for (size_t size = 0; size < bytes.size(); ++size)
      CHECK(!error_of([&] { read_memory(std::span(bytes).first(size)); }).empty());
    for (size_t i = 0; i < bytes.size(); ++i) {
      auto changed = bytes;
      changed[i] ^= 0x40;
      CHECK(!error_of([&] { read_memory(changed); }).empty());
    }
  }
}

}  // namespace
}  // namespace niwaki
