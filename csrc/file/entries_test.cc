// Files with entry points: graphs with names that share rows of the tensor table.
#include "graph/entries.h"

#include "base/arch.h"
#include "file/graph_reader.h"
#include "file/graph_writer.h"
#include "file/test_tools.h"
#include "runtime/session.h"

namespace niwaki {
namespace {

using namespace testing;

// Two linear layers, of which the first may be another graph's, too: [batch, 48] to [batch, 5].
Graph tower(const Tensor& first, uint64_t seed, float scale = 0.05f) {
  Graph graph;
  graph.metadata = {{"tower", std::to_string(seed)}};
  const int x = graph.add_input("x", DType::f32, {graph.add_size("batch", 0, 64, 2), 48});
  int v = graph.add_node(Op::quantize, "in", {x}, {}, {}, {Quantization{scale, 100}});
  v = graph.add_node(Op::linear, "shared", {v}, {}, layer(first), {Quantization{0.1f, 120}});
  v = graph.add_node(Op::linear, "own", {v}, {}, layer(weights({5, 64}, 100, false, seed)));
  graph.add_output(v, "y");
  return graph;
}

Tensor shared_weight() { return weights({64, 48}, 100, false, 77); }

std::vector<Entry> towers() { return {{"image", tower(shared_weight(), 1)}, {"text", tower(shared_weight(), 2)}}; }

std::vector<float> answer(std::shared_ptr<const Model> model) {
  Session session(std::move(model), 1);
  std::vector<float> x(2 * 48), y(2 * 5);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) / 16.0f - 3.0f;
  const std::vector<Session::Input> inputs = {{x.data(), {2, 48}}};
  void* const outputs[] = {y.data()};
  session.run(inputs, outputs);
  return y;
}
std::vector<float> answer(const Graph& graph) { return answer(std::make_shared<const Model>(graph, Isa::scalar)); }

uint64_t payload(const FileInfo& info) {
  std::map<uint64_t, uint64_t> found;
  for (const auto& places : info.entries)
    for (const auto& of_node : places.tensors)
      for (const auto& [name, place] : of_node) found[place.offset] = std::max(found[place.offset], place.bytes);
  uint64_t bytes = 0;
  for (const auto& [offset, size] : found) bytes += size;
  return bytes;
}

TEST(file_entries_share_what_is_equal) {
  Folder folder;
  const std::vector<Entry> entries = towers();
  write_file(entries, folder.file("two"));
  write_file(entries[0].graph, folder.file("one"));
  const FileContents two = inspect_file(folder.file("two")), one = inspect_file(folder.file("one"));
  CHECK_EQ(two.info.version, format::kEntriesVersion);
  CHECK_EQ(one.info.version, format::kVersion);
  REQUIRE(two.entries.size() == 2 && two.info.entries.size() == 2);
  CHECK_EQ(two.entries[0].name, "image");
  CHECK_EQ(two.entries[1].name, "text");
  // The layer "shared" whole, and the scales and biases of "own", which are alike.
  const auto &first = two.info.entries[0], &second = two.info.entries[1];
  for (size_t node = 1; node < 3; ++node)
    for (const char* name : {"weight", "weight_scale", "bias"}) {
      const bool same = node == 1 || std::string(name) != "weight";
      CHECK_EQ(first.tensors[node].at(name).offset == second.tensors[node].at(name).offset, same);
    }
  CHECK_EQ(payload(two.info), payload(one.info) + second.tensors[2].at("weight").bytes);
  for (size_t i = 0; i < 2; ++i) {
    CHECK(two.entries[i].graph.metadata == entries[i].graph.metadata);
    CHECK(answer(two.entries[i].graph) == answer(entries[i].graph));
  }
  // In memory, too.
  const auto weight = [&](size_t i, size_t node) { return two.entries[i].graph.nodes()[node].tensor("weight"); };
  CHECK(weight(0, 1).is_same(weight(1, 1)));
  CHECK(!weight(0, 2).is_same(weight(1, 2)));
  // Written anew, it is the same file.
  write_file(two.entries, folder.file("again"));
  CHECK(read_all(folder.file("again")) == read_all(folder.file("two")));
}

TEST(file_entries_by_name_alone_or_with_others) {
  Folder folder;
  write_file(std::vector<Entry>{{"only", small_graph()}}, folder.file("a"));
  CHECK_EQ(inspect_file(folder.file("a")).info.version, format::kEntriesVersion);
  CHECK_EQ(read_entries(folder.file("a"))[0].name, "only");
  CHECK_EQ(read_file(folder.file("a")).nodes().size(), small_graph().nodes().size());
  write_file(towers(), folder.file("b"));
  CHECK_THROWS(read_file(folder.file("b")), "b: has 2 entry points, 'image', 'text'; say which.");
  CHECK_THROWS(read_memory(read_all(folder.file("b"))), "has 2 entry points");
  CHECK_EQ(read_entries(read_all(folder.file("b"))).size(), size_t{2});
}

TEST(file_entries_of_every_kind_come_back) {
  Folder folder;
  std::vector<Entry> entries = {{"small", small_graph()}, {"tokens", token_graph()}, {"coded", coded_graph()}};
  for (int i = 0; i < 13; ++i) entries.push_back({"again" + std::to_string(i), token_graph()});
  write_file(entries, folder.file("a"));
  write_file(std::vector<Entry>(entries.begin(), entries.begin() + 3), folder.file("b"));
  const FileContents back = inspect_file(folder.file("a"));
  write_file(back.entries, folder.file("c"));  // an empty tensor lies where the next one does
  CHECK(read_all(folder.file("c")) == read_all(folder.file("a")));
  CHECK_EQ(payload(back.info), payload(inspect_file(folder.file("b")).info));
  for (size_t i = 0; i < entries.size(); ++i) {
    const Graph &a = entries[i].graph, &b = back.entries[i].graph;
    REQUIRE(a.nodes().size() == b.nodes().size());
    for (size_t n = 0; n < a.nodes().size(); ++n)
      for (const auto& [name, tensor] : a.nodes()[n].tensors) CHECK(same(tensor, b.nodes()[n].tensor(name.c_str())));
    CHECK_EQ(a.states().size(), b.states().size());
    for (size_t s = 0; s < a.states().size(); ++s) CHECK(same(a.states()[s].initial, b.states()[s].initial));
  }
}

// Equal tensors within an entry stay apart, and each finds one of its own in the other entry.
TEST(file_entries_with_equal_tensors_inside) {
  const auto twice = [] {
    Graph graph;
    const int x = graph.add_input("x", DType::f32, {graph.add_size("batch"), 48});
    int v = graph.add_node(Op::quantize, "in", {x}, {}, {}, {Quantization{0.05f, 100}});
    for (const char* name : {"a", "b"}) graph.add_output(graph.add_node(Op::linear, name, {v}, {}, layer(shared_weight())), name);
    return graph;
  };
  Folder folder;
  write_file(std::vector<Entry>{{"one", twice()}, {"two", twice()}}, folder.file("a"));
  write_file(twice(), folder.file("b"));
  CHECK_EQ(payload(inspect_file(folder.file("a")).info), payload(inspect_file(folder.file("b")).info));
}

TEST(file_entries_that_no_file_holds) {
  Folder folder;
  const auto refused = [&](std::vector<Entry> entries, const char* part) {
    try {
      write_file(entries, folder.file("a"));
      testing::fail(__FILE__, __LINE__, std::string("taken: ") + part);
    } catch (const Error& error) {
      CHECK(error.status() == Status::invalid_argument);
      CHECK(std::string(error.what()).find(part) != std::string::npos);
    }
    CHECK_EQ(folder.entries(), size_t{0});
  };
  refused({}, "1 to 16 entry points, not 0");
  refused(std::vector<Entry>(17, {"a", small_graph()}), "1 to 16 entry points, not 17");
  refused({{"a", small_graph()}, {"", small_graph()}}, "Entry point 1 has no name");
  refused({{"a", small_graph()}, {"b", small_graph()}, {"a", small_graph()}}, "the name 'a'");
}

// A graph section of version 4 with the parts of it in the caller's hands: `names` of entries, of which each is a graph with one constant.
struct ForgedEntries {
  uint64_t count = 2;
  std::vector<std::string> names = {"a", "b"};
  std::vector<uint64_t> rows = {0, 0};  // that the constants lie in
  size_t tensors = 1;
  int more = 0;  // bytes at the end

  std::string reading() const {
    WordWriter out;
    out.natural(count);
    for (size_t i = 0; i < names.size(); ++i) {
      out.string(names[i]);
      for (int list = 0; list < 5; ++list) out.natural(0);  // metadata, sizes, inputs, states, guards
      out.natural(1);
      out.string("constant"), out.string("c"), out.natural(0), out.natural(0);
      out.natural(1), out.string("value"), out.natural(rows[i]);
      out.natural(1), out.number(uint8_t{0});
      out.natural(1), out.natural(0), out.string("y");
    }
    for (int i = 0; i < more; ++i) out.number(uint8_t{0});
    const std::vector<uint8_t> bytes = out.take_with_strings();
    const std::string path = "test";
    const auto refuse = [](const std::string&, const std::string& what) { throw Error(Status::invalid_file, what); };
    WordReader in(bytes, format::kEntriesVersion, path, "the graph", refuse);
    try {
      std::vector<Tensor> all(tensors, tensor_of<float>(DType::f32, {2}, {1, 2}));
      const auto entries = read_graphs(in, format::kEntriesVersion, std::move(all), nullptr);
      return entries.size() == names.size() ? "" : "another number";
    } catch (const Error& error) {
      return error.what();
    }
  }
};

TEST(file_entries_that_are_forged) {
  CHECK_EQ(ForgedEntries().reading(), "");
  const auto says = [](const ForgedEntries& forged, const char* part) {
    const std::string said = forged.reading();
    if (said.find(part) == std::string::npos) testing::fail(__FILE__, __LINE__, "'" + said + "' lacks '" + part + "'");
  };
  ForgedEntries forged;
  forged.names = {"a", "a"};
  says(forged, "the name 'a'");
  forged.names = {"a", ""};
  says(forged, "an entry point has no name");
  forged = ForgedEntries();
  forged.rows = {0, 1};
  says(forged, "tensor 1 does not exist");
  forged.rows = {0, 0xffffffff};
  says(forged, "does not exist");
  forged = ForgedEntries();
  forged.tensors = 2;
  says(forged, "tensor 1 belongs to no node");
  forged = ForgedEntries();
  forged.more = 1;
  CHECK(!forged.reading().empty());
  for (const uint64_t count : {uint64_t{0}, uint64_t{1}, uint64_t{3}, uint64_t{17}, uint64_t{0xffffffff}, UINT64_MAX}) {
    forged = ForgedEntries();
    forged.count = count;
    CHECK(!forged.reading().empty());
  }
  forged = ForgedEntries();
  forged.count = 17, forged.names.clear(), forged.rows.assign(17, 0);
  for (int i = 0; i < 17; ++i) forged.names.push_back(std::to_string(i));
  CHECK(!forged.reading().empty());
  forged.count = 16, forged.names.pop_back();
  CHECK_EQ(forged.reading(), "");
}

TEST(file_entries_cut_short_or_changed) {
  Folder folder;
  write_file(towers(), folder.file("a"));
  const auto bytes = read_all(folder.file("a"));
  for (size_t size = 0; size < bytes.size(); size += emulated() ? 97 : 1)
    CHECK(!error_of([&] { read_entries(std::span(bytes).first(size)); }).empty());
  for (size_t i = 0; i < bytes.size(); i += emulated() ? 97 : 1) {
    auto changed = bytes;
    changed[i] ^= 0x10;
    CHECK(!error_of([&] { read_entries(changed); }).empty());
  }
}

// What two models of one file keep: layers and constants that are alike once, those with other scales apart.
TEST(file_entries_are_packed_once_where_they_are_alike) {
  Folder folder;
  std::vector<Entry> entries = towers();
  entries.push_back({"louder", tower(shared_weight(), 2, 0.07f)});
  entries.push_back({"tokens", token_graph()});
  entries.push_back({"tokens again", token_graph()});
  write_file(entries, folder.file("a"));
  for (const Isa isa : supported_isas()) {
    SharedWeights shared;
    std::vector<std::shared_ptr<const Model>> models;
    for (Entry& entry : read_entries(folder.file("a")))
      models.push_back(std::make_shared<const Model>(std::move(entry.graph), isa, ConvKind::automatic, nullptr, &shared));
    const auto step = [&](size_t model, const std::string& name) {
      for (const auto& found : models[model]->steps())
        if (found->info.name == name) return found;
      return std::shared_ptr<Step>();
    };
    REQUIRE(step(0, "shared") != nullptr);
    CHECK(step(0, "shared") == step(1, "shared"));
    CHECK(step(0, "own") != step(1, "own"));
    CHECK(step(0, "shared") != step(2, "shared"));  // another scale is another bias, and the same packed weights
    CHECK(step(1, "own") == step(2, "own"));
    std::map<std::string, const uint8_t*> tables;
    for (const size_t model : {3u, 4u})
      for (const Node& node : models[model]->graph().nodes())
        if (node.op == Op::constant) {
          const auto [at, is_new] = tables.emplace(node.name, models[model]->constant(node.outputs[0]));
          CHECK(is_new == (model == 3) && at->second == models[model]->constant(node.outputs[0]));
        }
    CHECK(tables.size() >= 6);
    for (size_t i = 0; i < 3; ++i) CHECK(answer(models[i]) == answer(entries[i].graph));
    // What one entry has does not go with another.
    models[1].reset(), models[3].reset();
    CHECK(answer(models[0]) == answer(entries[0].graph));
  }
}

}  // namespace
}  // namespace niwaki
