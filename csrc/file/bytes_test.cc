// Files of networks with plain integers of eight bits.
#include "file/file.h"
#include "file/format.h"
#include "file/graph_reader.h"
#include "file/graph_writer.h"
#include "file/test_tools.h"
#include "file/words.h"

namespace niwaki {
namespace {

using namespace testing;

Graph bytes_graph(bool bytes) {
  Graph graph;
  const Dim batch = graph.add_size("batch");
  const int x = graph.add_input("x", bytes ? DType::byte : DType::i32, {batch, 3});
  if (bytes) {
    graph.add_output(graph.add_input("y", DType::i8, {batch}), "y");
    // Weights never are -128; integers may be.
    const std::vector<int8_t> all = {-128, 127, 0, 0, -1, 0, 5, -128, 0, 0, 0, 0};
    const std::vector<uint8_t> start = {0, 255, 128};
    const int seen = graph.add_state("seen", Tensor::copy_of(DType::u8, {1, 3}, start.data()));
    graph.add_output(graph.add_node("constant", "i8", {}, {}, {{"value", Tensor::copy_of(DType::i8, {2, 6}, all.data())}}), "i8");
    graph.add_output(graph.add_node("constant", "u8", {}, {}, {{"value", Tensor::copy_of(DType::u8, {3}, start.data())}}), "u8");
    graph.set_state(seen, graph.add_node("flip", "flip", {seen}, {{"axes", Dims{1}}}, {}));
  }
  graph.add_output(graph.add_node("cast", "floats", {x}, {{"dtype", std::string("float32")}}, {}), "floats");
  return graph;
}

TEST(file_of_bytes_has_a_version_of_its_own) {
  Folder folder;
  write_file(bytes_graph(false), folder.file("without"));
  CHECK_EQ(inspect_file(folder.file("without")).info.version, format::kVersion);
  const Graph graph = bytes_graph(true);
  write_file(graph, folder.file("with"));
  const FileContents back = inspect_file(folder.file("with"));
  CHECK_EQ(back.info.version, format::kBytesVersion);
  CHECK_EQ(back.entries[0].name, "");
  const Graph& found = back.entries[0].graph;
  REQUIRE(found.values().size() == graph.values().size() && found.nodes().size() == graph.nodes().size());
  for (size_t i = 0; i < graph.values().size(); ++i) CHECK(found.values()[i].dtype == graph.values()[i].dtype);
  for (size_t i = 0; i < 2; ++i) CHECK(same(found.nodes()[i].tensor("value"), graph.nodes()[i].tensor("value")));
  CHECK(same(found.states()[0].initial, graph.states()[0].initial));
  write_file(back.entries, folder.file("again"));
  CHECK(read_all(folder.file("again")) == read_all(folder.file("with")));
  // Beside another entry point, which has none.
  write_file(std::vector<Entry>{{"a", graph}, {"b", bytes_graph(false)}}, folder.file("two"));
  CHECK_EQ(inspect_file(folder.file("two")).info.version, format::kBytesVersion);
}

// Readers of older versions do not know such values: a file that says it is older and has them is none.
TEST(file_of_bytes_that_says_it_is_older) {
  const std::vector<Entry> entries = {{"a", bytes_graph(true)}};
  const auto reading = [&](uint32_t version) -> std::string {
    std::vector<Tensor> tensors;
    const GraphSection section = write_graphs(entries, tensors);
    const std::string path = "test";
    const auto refuse = [](const std::string&, const std::string& what) { throw Error(Status::invalid_file, what); };
    WordReader in(section.bytes, version, path, "the graph", refuse);
    try {
      read_graphs(in, version, std::move(tensors), nullptr);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  CHECK_EQ(reading(format::kBytesVersion), "");
  for (const uint32_t version : {format::kEntriesVersion, format::kRepeatsVersion})
    CHECK_EQ(reading(version), "values of eight bits");
}

}  // namespace
}  // namespace niwaki
