// Round trips, and files that are not what they should be.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include "base/status.h"
#include "file/crc32c.h"
#include "file/file.h"
#include "file/format.h"
#include "file/forms.h"
#include "graph/operators.h"
#include "testing/test.h"

namespace niwaki {
namespace {

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

std::vector<uint8_t> read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_all(const std::string& path, const std::vector<uint8_t>& bytes) {
  fs::remove(path);  // some file systems wait for the disk when a file is written over
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.status() == Status::invalid_file ? error.what() : std::string("wrong status: ") + error.what();
  }
  return "";
}

// Weights of which about `kept` per cent are left: single ones, or whole blocks of four input channels.
Tensor weights(std::vector<int64_t> shape, int kept, bool blocks, uint64_t seed) {
  testing::Random random(seed);
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

std::optional<Tensor> decoded(Form form, const std::vector<int64_t>& shape, std::span<const uint8_t> payload) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(payload.begin(), payload.end());
  return decode(form, shape, std::shared_ptr<const uint8_t>(bytes, bytes->data()), bytes->size());
}

bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && std::equal(a.data(), a.data() + a.bytes(), b.data());
}

Tensors layer(const Tensor& weight) {
  const auto outputs = static_cast<size_t>(weight.shape()[0]);
  std::vector<float> scale(outputs);
  std::vector<int32_t> bias(outputs);
  for (size_t o = 0; o < outputs; ++o) scale[o] = 0.01f * static_cast<float>(o + 1), bias[o] = static_cast<int32_t>(o) * 77 - 100;
  return {{"weight", weight},
          {"weight_scale", Tensor::copy_of(DType::f32, {weight.shape()[0]}, scale.data())},
          {"bias", Tensor::copy_of(DType::i32, {weight.shape()[0]}, bias.data())}};
}

Graph small_graph() {
  Graph graph;
  graph.metadata = {{"made by", "a test"}, {"note", ""}};
  const Quantization q{0.05f, 3};
  int v = graph.add_node(Op::quantize, "in", {graph.add_input("image", 6, 4)}, {}, {}, q);
  v = graph.add_node(Op::conv2d, "first", {v}, {{"padding", {1}}}, layer(weights({5, 6, 3, 3}, 20, true, 1)),
                     Quantization{0.1f, 200});
  v = graph.add_node(Op::conv2d, "second", {v}, {}, layer(weights({7, 5, 1, 1}, 30, false, 2)), Quantization{0.2f, 0});
  v = graph.add_node(Op::adaptive_avg_pool2d, "pool", {v}, {{"size", {1, 1}}}, {}, Quantization{0.2f, 0});
  v = graph.add_node(Op::reshape, "flat", {v}, {{"shape", {-1}}}, {}, Quantization{0.2f, 0});
  const int extra = graph.add_input("extra", 7, 2);  // an input after nodes: its value gets another number in the file
  v = graph.add_node(Op::add, "sum", {v, graph.add_node(Op::quantize, "in2", {extra}, {}, {}, q)}, {}, {}, Quantization{0.3f, 9});
  v = graph.add_node(Op::linear, "last", {v}, {}, layer(weights({3, 7}, 100, false, 3)), std::nullopt);
  graph.add_output(v, "scores");
  return graph;
}

TEST(file_crc32c) {
  const std::string digits = "123456789";
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(digits.data()), digits.size());
  CHECK_EQ(crc32c(bytes), 0xE3069283u);
  CHECK_EQ(crc32c_tables(bytes), 0xE3069283u);
  std::vector<uint8_t> random(1000);
  testing::Random generator(5);
  for (uint8_t& byte : random) byte = static_cast<uint8_t>(generator.next());
  for (size_t size = 0; size < 100; ++size)
    CHECK_EQ(crc32c({random.data() + size, size * 9}), crc32c_tables({random.data() + size, size * 9}));
}

TEST(file_forms_round_trip) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{5, 6, 3, 3}, {1, 1}, {7, 13}, {4, 8, 1, 1}, {3, 1, 5, 5}, {2, 3, 2, 1}})
    for (int kept : {0, 1, 20, 70, 100})
      for (bool blocks : {false, true}) {
        const Tensor tensor = weights(shape, kept, blocks, static_cast<uint64_t>(kept));
        for (Form form : {Form::block_mask, Form::bit_mask}) {
          const auto payload = encode(tensor, form);
          const auto back = decoded(form, shape, payload);
          REQUIRE(back.has_value());
          CHECK(same(tensor, *back));
          auto longer = payload;
          longer.push_back(1);
          CHECK(!decoded(form, shape, longer).has_value());
          CHECK(!decoded(form, shape, std::span(payload).first(payload.size() - 1)).has_value());
        }
        const StoredSize stored = stored_size(tensor);
        const int64_t blocks_size = static_cast<int64_t>(encode(tensor, Form::block_mask).size());
        const int64_t bits_size = static_cast<int64_t>(encode(tensor, Form::bit_mask).size());
        CHECK_EQ(stored.bytes, std::min({tensor.bytes(), blocks_size, bits_size}));
      }
}

TEST(file_smallest_form) {
  CHECK(stored_size(weights({64, 64, 3, 3}, 100, false, 1)).form == Form::dense);
  CHECK(stored_size(weights({64, 64, 3, 3}, 15, true, 1)).form == Form::block_mask);
  CHECK(stored_size(weights({64, 64, 3, 3}, 10, false, 1)).form == Form::bit_mask);
  CHECK(stored_size(Tensor::copy_of(DType::i32, {4, 2}, std::vector<int32_t>(8, 0).data())).form == Form::dense);
}

TEST(file_decode_refuses_what_should_not_be_there) {
  std::vector<int64_t> shape = {1, 2};  // one block of two channels
  CHECK(decoded(Form::block_mask, shape, std::vector<uint8_t>{1, 5, 6, 0, 0}).has_value());
  CHECK(!decoded(Form::block_mask, shape, std::vector<uint8_t>{1, 5, 6, 7, 0}).has_value());  // a channel that does not exist
  CHECK(!decoded(Form::block_mask, shape, std::vector<uint8_t>{1, 0, 0, 0, 0}).has_value());  // a block of zeros
  CHECK(!decoded(Form::block_mask, shape, std::vector<uint8_t>{2, 5, 6, 0, 0}).has_value());  // a block that does not exist
  CHECK(decoded(Form::bit_mask, shape, std::vector<uint8_t>{2, 5}).has_value());
  CHECK(!decoded(Form::bit_mask, shape, std::vector<uint8_t>{2, 0}).has_value());
  CHECK(!decoded(Form::bit_mask, shape, std::vector<uint8_t>{4, 5}).has_value());
  CHECK(!decoded(Form::bit_mask, shape, std::vector<uint8_t>{}).has_value());
}

TEST(file_round_trip) {
  Folder folder;
  const Graph graph = small_graph();
  write_file(graph, folder.file("a.niwaki"));
  CHECK_EQ(folder.entries(), size_t{1});  // the temporary file is gone
  const Graph back = read_file(folder.file("a.niwaki"));
  CHECK(back.metadata == graph.metadata);
  REQUIRE(back.nodes().size() == graph.nodes().size());
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node &a = graph.nodes()[i], &b = back.nodes()[i];
    CHECK(a.op == b.op && a.name == b.name && a.attributes == b.attributes);
    CHECK(graph.value(a.output).quantization == back.value(b.output).quantization);
    for (size_t k = 0; k < a.inputs.size(); ++k) CHECK_EQ(graph.value(a.inputs[k]).node, back.value(b.inputs[k]).node);
    REQUIRE(a.tensors.size() == b.tensors.size());
    for (const auto& [name, tensor] : a.tensors) CHECK(same(tensor, b.tensor(name.c_str())));
  }
  REQUIRE(back.inputs().size() == 2);
  CHECK(back.inputs()[0].name == "image" && back.inputs()[1].name == "extra");
  CHECK(back.outputs().size() == 1 && back.outputs()[0].name == "scores");
  // The same network gives the same bytes, and a file may be written over while a graph still lives in it.
  const auto bytes = read_all(folder.file("a.niwaki"));
  write_file(back, folder.file("a.niwaki"));
  CHECK(read_all(folder.file("a.niwaki")) == bytes);
  CHECK(same(back.nodes()[1].tensor("weight"), graph.nodes()[1].tensor("weight")));
  CHECK_EQ(bytes.size() > 64, true);
}

TEST(file_from_memory) {
  Folder folder;
  const Graph graph = small_graph();
  write_file(graph, folder.file("a.niwaki"));
  auto bytes = read_all(folder.file("a.niwaki"));
  bytes.insert(bytes.begin(), 1);  // at an odd address
  const Graph back = read_memory(std::span(bytes).subspan(1));
  std::fill(bytes.begin(), bytes.end(), uint8_t{0});  // it was copied
  for (size_t i = 0; i < graph.nodes().size(); ++i)
    for (const auto& [name, tensor] : graph.nodes()[i].tensors) CHECK(same(tensor, back.nodes()[i].tensor(name.c_str())));
  CHECK(error_of([] { read_memory({}); }).find("the file is empty") != std::string::npos);
  const std::vector<uint8_t> other(100, 7);
  CHECK(error_of([&] { read_memory(other); }).find("is not a niwaki file") != std::string::npos);
}

TEST(file_masked_tensors_unpack_on_demand) {
  const Tensor dense = weights({5, 6, 3, 3}, 20, true, 3);
  const auto payload = encode(dense, Form::block_mask);
  const auto packed = decoded(Form::block_mask, dense.shape(), payload);
  REQUIRE(packed.has_value());
  const Tensor once = packed->unpacked(), twice = packed->unpacked();
  CHECK(once.data() != twice.data());  // not kept ...
  const Tensor copy = *packed;
  const uint8_t* kept = packed->data();
  CHECK(copy.data() == kept && packed->unpacked().data() == kept);  // ... unless data() was asked for
  CHECK(same(once, dense) && same(copy, dense));
}

TEST(file_every_prefix_is_refused) {
  Folder folder;
  write_file(small_graph(), folder.file("a.niwaki"));
  const auto bytes = read_all(folder.file("a.niwaki"));
  for (size_t size = 0; size < bytes.size(); ++size) {
    write_all(folder.file("b.niwaki"), {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)});
    const std::string message = error_of([&] { read_file(folder.file("b.niwaki")); });
    const bool named =
        message.find(size == 0 ? "b.niwaki: the file is empty" : "b.niwaki: the file is cut short") != std::string::npos;
    if (!named) testing::fail(__FILE__, __LINE__, "prefix of " + std::to_string(size) + " bytes: " + message);
  }
}

TEST(file_every_flipped_byte_is_refused) {
  Folder folder;
  write_file(small_graph(), folder.file("a.niwaki"));
  auto bytes = read_all(folder.file("a.niwaki"));
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (uint8_t flip : {uint8_t{1}, uint8_t{0x80}, uint8_t{0xff}}) {
      bytes[i] ^= flip;
      write_all(folder.file("b.niwaki"), bytes);
      bytes[i] ^= flip;
      const std::string message = error_of([&] { read_file(folder.file("b.niwaki")); });
      if (message.find("b.niwaki: ") == std::string::npos)
        testing::fail(__FILE__, __LINE__, "byte " + std::to_string(i) + ": " + message);
    }
  }
}

// The file with something changed and all checksums made good again: only the checks of the content are left to find it.
std::string error_of_forged(const Folder& folder, std::vector<uint8_t> bytes,
                            const std::function<void(std::vector<uint8_t>&)>& change) {
  change(bytes);
  format::Header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const size_t table = format::align(sizeof(header) + header.graph_bytes);
  if (header.graph_bytes < bytes.size() && header.tensors < 100 && table + header.tensors * 64 <= bytes.size()) {
    header.graph_crc = crc32c({bytes.data() + 64, header.graph_bytes});
    for (size_t i = 0; i < header.tensors; ++i) {
      format::Entry entry;
      std::memcpy(&entry, bytes.data() + table + i * 64, sizeof(entry));
      if (entry.offset <= bytes.size() && entry.bytes <= bytes.size() - entry.offset)
        entry.crc = crc32c({bytes.data() + entry.offset, entry.bytes});
      std::memcpy(bytes.data() + table + i * 64, &entry, sizeof(entry));
    }
    header.table_crc = crc32c({bytes.data() + table, header.tensors * 64});
  }
  header.header_crc = crc32c({reinterpret_cast<const uint8_t*>(&header), 60});
  std::memcpy(bytes.data(), &header, sizeof(header));
  write_all(folder.file("b.niwaki"), bytes);
  return error_of([&] { read_file(folder.file("b.niwaki")); });
}

TEST(file_forged_bytes_never_crash) {
  Folder folder;
  write_file(small_graph(), folder.file("a.niwaki"));
  const auto original = read_all(folder.file("a.niwaki"));
  CHECK_EQ(error_of_forged(folder, original, [](auto&) {}).size(), size_t{0});  // the tool itself makes good files
  for (size_t i = 0; i < original.size(); ++i) {
    for (uint8_t flip : {uint8_t{1}, uint8_t{0x10}, uint8_t{0x80}, uint8_t{0xff}}) {
      const std::string message = error_of_forged(folder, original, [&](auto& bytes) { bytes[i] ^= flip; });
      // Some changes give another good network (a name, a weight); the others must be told with the file's name.
      if (!message.empty() && message.find(folder.file("b.niwaki") + ": ") != 0)
        testing::fail(__FILE__, __LINE__, "byte " + std::to_string(i) + ": " + message);
    }
  }
}

TEST(file_what_is_wrong_is_said) {
  Folder folder;
  CHECK_THROWS(read_file(folder.file("none.niwaki")), "none.niwaki: there is no such file.");
  CHECK_THROWS(read_file(folder.file("")), "is not a regular file");
  write_all(folder.file("text"), {'h', 'e', 'l', 'l', 'o'});
  CHECK_THROWS(read_file(folder.file("text")), "is not a niwaki file");
  write_file(small_graph(), folder.file("a.niwaki"));
  const auto original = read_all(folder.file("a.niwaki"));
  CHECK(error_of_forged(folder, original, [](auto& b) {
          b[8] = 2;
        }).find("was written by a newer niwaki (format 2; this one reads up to 1)") != std::string::npos);
  CHECK(error_of_forged(folder, original, [](auto& b) { b.push_back(0); }).find("longer than it says") != std::string::npos);
  CHECK(error_of_forged(folder, original, [](auto& b) {
          const std::string op = "conv2d";
          *std::search(b.begin(), b.end(), op.begin(), op.end()) = 'k';
        }).find("first: there is no operator 'konv2d'") != std::string::npos);
  // A tensor that claims to be huge must not be believed.
  CHECK(error_of_forged(folder, original, [](auto& b) {
          format::Header header;
          std::memcpy(&header, b.data(), sizeof(header));
          const size_t table = format::align(64 + header.graph_bytes);
          for (size_t i = 0; i < header.tensors; ++i) {
            format::Entry entry;
            std::memcpy(&entry, b.data() + table + i * 64, sizeof(entry));
            if (entry.rank == 4) entry.shape[0] = uint64_t{1} << 34;
            std::memcpy(b.data() + table + i * 64, &entry, sizeof(entry));
          }
        }).find("the file is corrupt") != std::string::npos);
}

TEST(file_write_fails_cleanly) {
  Folder folder;
  CHECK_THROWS(write_file(small_graph(), folder.file("no/such/folder/a.niwaki")), "cannot be written");
  fs::create_directory(folder.file("taken"));
  write_all(folder.file("taken/inside"), {1});
  CHECK_THROWS(write_file(small_graph(), folder.file("taken")), "cannot be written");  // a folder stands where the file should
  CHECK_EQ(folder.entries(), size_t{1});                                               // and nothing half-written is left
}

}  // namespace
}  // namespace niwaki
