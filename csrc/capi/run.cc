// niwaki_run: finds the caller's arrays, checks all of them, converts images, runs.
#include <algorithm>
#include <utility>

#include "capi/objects.h"
#include "capi/tensors.h"

namespace niwaki::capi {
namespace {

// Which of the caller's tensors is which port: by name, or by place where it has none. Each port once.
std::vector<size_t> match(const std::vector<Port>& ports, const niwaki_tensor* tensors, size_t count, const char* what) {
  if (count != ports.size())
    refuse("niwaki_run: the network has " + std::to_string(ports.size()) + " " + what + "s, not " + std::to_string(count) + ".");
  if (count > 0) expect(tensors, "niwaki_run", what);
  std::vector<size_t> found(count, count);
  for (size_t i = 0; i < count; ++i) {
    size_t place = i;
    if (tensors[i].name != nullptr) {
      place = 0;
      while (place < count && ports[place].name != tensors[i].name) ++place;
      if (place == count)
        refuse("niwaki_run: the network has no " + std::string(what) + " '" + tensors[i].name + "'; its first is '" +
               ports[0].name + "'.");
    }
    if (found[place] != count) refuse("niwaki_run: " + std::string(what) + " '" + ports[place].name + "' is given twice.");
    found[place] = i;
  }
  return found;
}

bool is_nhwc(const niwaki_tensor& tensor) { return tensor.layout == NIWAKI_NHWC && tensor.shape.rank == 4; }

// An input, checked but for its memory. Its sizes as the network counts them, [N, C, H, W] of images.
Sizes check_kind(const niwaki_tensor& tensor, niwaki_type expected, const std::string& what) {
  const int32_t layout = number_of(tensor.layout);
  check_type(tensor, expected == NIWAKI_FLOAT32 && number_of(tensor.type) == NIWAKI_UINT8 ? NIWAKI_UINT8 : expected, what);
  if (layout != NIWAKI_NCHW && layout != NIWAKI_NHWC) refuse(what + ": its layout is neither NIWAKI_NCHW nor NIWAKI_NHWC.");
  Sizes sizes = sizes_of(tensor.shape, what);
  if (!is_nhwc(tensor)) return sizes;
  if (expected != NIWAKI_FLOAT32 && expected != NIWAKI_UINT8) refuse(what + ": NIWAKI_NHWC is for images, in float32 or uint8.");
  return {sizes[0], sizes[3], sizes[1], sizes[2]};
}

void check_pixels(const Sizes& sizes, const std::optional<PixelTable>& pixels, const std::string& what) {
  if (sizes.size() != 4) refuse(what + ": uint8 is for images of rank 4; give float32.");
  if (!pixels) refuse(what + ": the file does not say what mean and std uint8 images have; save it with them, or give float32.");
  if (pixels->size() != static_cast<size_t>(sizes[1]))
    refuse(what + ": the file has mean and std for " + std::to_string(pixels->size()) + " channels, the image has " +
           std::to_string(sizes[1]) + "; give float32.");
}

class Run {
 public:
  Run(OpenSession& session, const niwaki_tensor* inputs, size_t input_count, niwaki_tensor* outputs, size_t output_count)
      : session_(session), graph_(session.model->graph()) {
    for (const size_t place : match(graph_.inputs(), inputs, input_count, "input")) inputs_.push_back(&inputs[place]);
    for (const size_t place : match(graph_.outputs(), outputs, output_count, "output")) outputs_.push_back(&outputs[place]);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      sizes_.push_back(check_kind(*inputs_[i], type_of(graph_.inputs()[i]), input_name(i)));
      elements_.push_back(elements_of(sizes_[i], input_name(i)));
    }
    const std::vector<Sizes> output_sizes = session.session.output_shapes(sizes_);
    for (size_t i = 0; i < outputs_.size(); ++i) {
      niwaki_shape& shape = outputs_[i]->shape;
      if (shape.rank == 0 || shape.rank == -1) shape = shape_of(output_sizes[i]);
    }
    for (size_t i = 0; i < outputs_.size(); ++i) check_output(i, output_sizes[i]);
    for (size_t i = 0; i < inputs_.size(); ++i) check_input(i);
  }

  void run() {
    prepare();
    session_.session.run(sources_, targets_);
  }

 private:
  niwaki_type type_of(const Port& port) const { return capi::type_of(graph_.value(port.value).dtype); }
  // Whether an input is given as bytes that are to become float32.
  bool is_pixels(size_t i) const { return inputs_[i]->type == NIWAKI_UINT8 && type_of(graph_.inputs()[i]) == NIWAKI_FLOAT32; }
  // Whether the network can take an input as it lies.
  bool ready(size_t i) const { return !is_pixels(i) && !is_nhwc(*inputs_[i]); }
  std::string input_name(size_t i) const { return "Input '" + graph_.inputs()[i].name + "'"; }

  void check_output(size_t i, const Sizes& sizes) {
    const niwaki_tensor& output = *outputs_[i];
    const std::string what = "Output '" + graph_.outputs()[i].name + "'";
    check_type(output, type_of(graph_.outputs()[i]), what);
    if (number_of(output.layout) != NIWAKI_NCHW) refuse(what + ": the layout of outputs is NIWAKI_NCHW.");
    if (const Sizes given = sizes_of(output.shape, what); given != sizes)
      refuse(what + ": its shape is " + text_of(sizes) + " for these inputs, not " + text_of(given) + ".");
    check_memory(output, elements_of(sizes, what), what);
    targets_.push_back(output.data);
  }

  void check_input(size_t i) {
    const std::string what = input_name(i);
    check_memory(*inputs_[i], elements_[i], what);
    if (is_pixels(i)) check_pixels(sizes_[i], session_.model->pixels, what);
    check_bools(*inputs_[i], elements_[i], what);
  }

  // Converts what the network cannot take as it lies.
  void prepare() {
    size_t bytes = 0;
    for (size_t i = 0; i < inputs_.size(); ++i)
      if (!ready(i)) bytes += elements_[i] * sizeof(float);
    if (bytes > session_.images.size()) {
      session_.images = Buffer();  // before the larger one is asked for
      session_.images = Buffer(bytes);
    }
    auto* next = session_.images.as<float>();
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const niwaki_tensor& input = *inputs_[i];
      const Sizes& sizes = sizes_[i];
      if (ready(i)) {
        sources_.push_back({input.data, sizes});
        continue;
      }
      const PixelTable* table = is_pixels(i) ? &*session_.model->pixels : nullptr;
      to_planes(input.data, input.type, input.layout, {sizes[0], sizes[1], sizes[2], sizes[3]}, table, next);
      sources_.push_back({next, sizes});
      next += elements_[i];
    }
  }

  OpenSession& session_;
  const Graph& graph_;
  std::vector<const niwaki_tensor*> inputs_;
  std::vector<niwaki_tensor*> outputs_;
  std::vector<Sizes> sizes_;
  std::vector<size_t> elements_;
  std::vector<Session::Input> sources_;
  std::vector<void*> targets_;
};

}  // namespace
}  // namespace niwaki::capi

using namespace niwaki;
using namespace niwaki::capi;

niwaki_status niwaki_run(niwaki_session* session, const niwaki_tensor* inputs, size_t input_count, niwaki_tensor* outputs,
                         size_t output_count) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_run");
    const Claim claim(*opened);
    const AllocatorScope scope(opened->allocator);
    Run(*opened, inputs, input_count, outputs, output_count).run();
  });
}
