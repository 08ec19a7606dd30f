// The graph section of versions 1 and 2. Their values are float32 and uint8 [N, C, H, W] and [N, C], their shapes come without the batch,
// and their attributes are integers; images and batches of any size are meant without a word. All of that is said in today's terms here.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/status.h"
#include "file/graph_parts.h"

namespace niwaki {
namespace {

constexpr uint64_t kPortBytes = 3 * (sizeof(Port) + sizeof(Value) + 3 * sizeof(FreeSize) + 4 * sizeof(Dim)) + 512;
constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();  // of an image's sides and of a batch

// What there was: an operator that came later means something else than these files can say.
constexpr const char* kOperators[] = {
    "quantize", "dequantize", "conv2d", "linear", "max_pool2d", "avg_pool2d",      "adaptive_avg_pool2d", "add", "mul", "clamp",
    "table",    "concat",     "slice",  "pad",    "reshape",    "channel_shuffle", "upsample_nearest2d"};

using Integers = std::vector<int64_t>;
using OldAttributes = std::map<std::string, Integers>;

[[noreturn]] void refuse(const std::string& what) { throw Error(Status::invalid_argument, what); }

Dims to_dims(const Integers& integers) { return {integers.begin(), integers.end()}; }

class OldGraphReader {
 public:
  OldGraphReader(WordReader& in, uint32_t version, TensorShelf& shelf) : in_(in), version_(version), shelf_(shelf) {}

  Graph read() {
    graph_.metadata = read_metadata(in_);
    for (uint32_t left = in_.count(); left > 0; --left) read_input();
    for (uint32_t left = in_.count(); left > 0; --left) read_node();
    for (uint32_t left = in_.count(); left > 0; --left) read_output();
    return std::move(graph_);
  }

 private:
  int read_value() { return static_cast<int>(std::min<uint32_t>(in_.count(), 0x7fffffffu)); }

  // The first input's sizes are "batch", "height", "width", those of the third "batch_3" and so on.
  Dim add_size(const char* name, int64_t low, int64_t hint) {
    const size_t number = graph_.inputs().size() + 1;
    std::string text = name;
    if (number > 1) text.append("_").append(std::to_string(number));
    return graph_.add_size(text, low, kLargest, hint);
  }

  // Each input has a batch of its own. The old formats do not say that inputs belong together, and two that never meet may differ; where an
  // operator brings them together it refuses batches that are unlike, as it always did.
  void read_input() {
    in_.charge(kPortBytes);
    const std::string name = in_.string();
    const int64_t channels = in_.count(), rank = in_.count(), height = in_.count(), width = in_.count();
    if (rank != 4 && rank != 2) refuse("input '" + name + "' has rank " + std::to_string(rank) + ", which is neither 4 nor 2.");
    if (channels < 1 || channels > kLargest || height > kLargest || width > kLargest)
      refuse("input '" + name + "' has sizes that are not from 1 to 2^31 - 1.");
    Dims dims = {add_size("batch", 0, 1), Dim(channels)};
    if (rank == 4) {
      dims.push_back(add_size("height", 1, height));
      dims.push_back(add_size("width", 1, width));
    }
    graph_.add_input(name, DType::f32, std::move(dims));
  }

  OldAttributes read_attributes() {
    OldAttributes attributes;
    for (uint32_t left = in_.count_up_to(kMostNamed); left > 0; --left) {
      Integers& integers = attributes[read_key(in_, attributes)];
      const uint32_t count = in_.count_up_to(kMostIntegers);
      in_.charge(count * (sizeof(int64_t) + sizeof(Dim)));
      for (uint32_t i = 0; i < count; ++i) integers.push_back(in_.integer());
    }
    return attributes;
  }

  // [front, back, top, bottom, left, right] of channels, rows and columns, and the uint8 value, -1 for the zero point.
  void translate_pad(const std::string& name, const Value& in, const OldAttributes& given, Attributes& attributes) const {
    const auto found = given.find("padding"), value = given.find("value");
    Integers padding = found == given.end() ? Integers() : found->second;
    if (padding.size() == 1) padding.assign(6, padding[0]);
    if (padding.size() != 6) refuse(name + " (pad): needs six numbers as its 'padding'.");
    if (in.rank() == 2 && std::any_of(padding.begin() + 2, padding.end(), [](int64_t size) { return size != 0; }))
      refuse(name + " (pad): pads rows or columns of an input of rank 2.");
    padding.resize(in.rank() == 2 ? 2 : 6);
    padding.insert(padding.begin(), {0, 0});  // of the batch
    attributes["padding"] = to_dims(padding);
    attributes["mode"] = std::string("constant");
    attributes.erase("value");
    attributes["q"] = value == given.end() ? Dims{-1} : to_dims(value->second);
  }

  // The dims after the batch. A -1 becomes what it stands for: of no images it could be anything.
  void translate_reshape(const std::string& name, const Value& in, const OldAttributes& given, Attributes& attributes) const {
    const auto found = given.find("shape");
    const Integers wanted = found == given.end() ? Integers() : found->second;
    if (wanted.size() != 1 && wanted.size() != 3) refuse(name + " (reshape): its 'shape' must have 1 or 3 numbers.");
    if (std::count(wanted.begin(), wanted.end(), -1) > 1) refuse(name + " (reshape): more than one number of its 'shape' is -1.");
    if (std::any_of(wanted.begin(), wanted.end(), [](int64_t size) { return size == 0 || size < -1 || size > kLargest; }))
      refuse(name + " (reshape): its 'shape' has a number that is no size.");
    Dim total = 1, known = 1;
    for (size_t axis = 1; axis < in.dims.size(); ++axis) total = total * in.dims[axis];
    for (const int64_t size : wanted) known = size == -1 ? known : known * size;
    const Dim open = floor_div(total, known);
    Dims shape = {in.dims[0]};
    for (const int64_t size : wanted) shape.push_back(size == -1 && open.kind() != Dim::Kind::unknown ? open : Dim(size));
    attributes["shape"] = std::move(shape);
  }

  Attributes translate(const std::string& op, const std::string& name, const std::vector<int>& inputs,
                       const OldAttributes& given) const {
    Attributes attributes;
    for (const auto& [key, integers] : given) attributes[key] = to_dims(integers);
    if (op == "concat") attributes["axis"] = Dims{1};
    if (op != "pad" && op != "reshape") return attributes;
    if (inputs.size() != 1 || inputs[0] >= static_cast<int>(graph_.values().size()))
      refuse(name + " (" + op + "): needs one input that exists.");
    const Value& in = graph_.value(inputs[0]);
    op == "pad" ? translate_pad(name, in, given, attributes) : translate_reshape(name, in, given, attributes);
    return attributes;
  }

  void read_node() {
    const std::string op = in_.string(), name = in_.string();
    if (std::find(std::begin(kOperators), std::end(kOperators), op) == std::end(kOperators))
      refuse(name + ": format " + std::to_string(version_) + " has no operator '" + op + "'.");
    std::vector<int> inputs;
    for (uint32_t left = in_.count_up_to(kMostInputs); left > 0; --left) {
      in_.charge(3 * sizeof(int));
      inputs.push_back(read_value());
    }
    const OldAttributes given = read_attributes();
    Tensors tensors = shelf_.take_for_node();
    std::optional<Quantization> quantization;
    const auto quantized = in_.number<uint8_t>();
    if (quantized > 1) in_.refuse("output of " + name);
    if (quantized == 1) {
      const auto scale = in_.number<float>();
      const uint32_t zero_point = version_ == 1 ? in_.count() : in_.number<uint8_t>();
      quantization = Quantization{scale, static_cast<int32_t>(std::min<uint32_t>(zero_point, 256))};
    }
    Attributes attributes = translate(op, name, inputs, given);
    graph_.add_node(op, name, std::move(inputs), std::move(attributes), std::move(tensors), {quantization});
    charge_node(in_, graph_);
  }

  void read_output() {
    in_.charge(kPortBytes);
    const int value = read_value();
    graph_.add_output(value, in_.string());
  }

  WordReader& in_;
  uint32_t version_;
  TensorShelf& shelf_;
  Graph graph_;
};

}  // namespace

Graph read_old_graph(WordReader& in, uint32_t version, TensorShelf& shelf) { return OldGraphReader(in, version, shelf).read(); }

}  // namespace niwaki
