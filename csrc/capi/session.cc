// niwaki_session_* and niwaki_run.
#include <cstring>
#include <limits>
#include <utility>

#include "capi/handles.h"
#include "capi/objects.h"

namespace niwaki::capi {

std::shared_ptr<OpenSession> open_session(const niwaki_session* handle, const char* function) {
  expect(handle, function, "session");
  auto found = find_handle(Kind::session, reinterpret_cast<uintptr_t>(handle));
  if (!found) refuse(std::string(function) + ": session is not open; it was closed, or is something else.");
  return std::static_pointer_cast<OpenSession>(std::move(found));
}

namespace {

// Which of the caller's tensors is which port: by name, or by place where it has none. Each port once.
std::vector<const niwaki_tensor*> match(const std::vector<Port>& ports, const niwaki_tensor* tensors, size_t count,
                                        const char* what) {
  if (count != ports.size())
    refuse("niwaki_run: the network has " + std::to_string(ports.size()) + " " + what + "s, not " + std::to_string(count) + ".");
  if (count > 0) expect(tensors, "niwaki_run", what);
  std::vector<const niwaki_tensor*> found(count, nullptr);
  for (size_t i = 0; i < count; ++i) {
    size_t place = i;
    if (tensors[i].name != nullptr) {
      place = 0;
      while (place < count && ports[place].name != tensors[i].name) ++place;
      if (place == count)
        refuse("niwaki_run: the network has no " + std::string(what) + " '" + tensors[i].name + "'; its first is '" +
               ports[0].name + "'.");
    }
    if (found[place] != nullptr) refuse("niwaki_run: " + std::string(what) + " '" + ports[place].name + "' is given twice.");
    found[place] = &tensors[i];
  }
  return found;
}

std::string name_of(const char* what, const Port& port) { return std::string(what) + " '" + port.name + "'"; }

// What the caller wrote into an enumeration: C allows any number, which C++ must not read as one that is not declared.
template <typename Enum>
int32_t number_of(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int32_t));
  int32_t number;
  std::memcpy(&number, &value, sizeof number);
  return number;
}

// Sizes as [N, C, H, W] or [N, C].
std::vector<int64_t> canonical(const niwaki_tensor& tensor, const std::string& what) {
  const int32_t type = number_of(tensor.type), layout = number_of(tensor.layout);
  if (type != NIWAKI_FLOAT32 && type != NIWAKI_UINT8) refuse(what + ": its type is neither NIWAKI_FLOAT32 nor NIWAKI_UINT8.");
  if (layout != NIWAKI_NCHW && layout != NIWAKI_NHWC) refuse(what + ": its layout is neither NIWAKI_NCHW nor NIWAKI_NHWC.");
  auto sizes = sizes_of(tensor.shape, what);
  if (tensor.layout == NIWAKI_NHWC && sizes.size() == 4) sizes = {sizes[0], sizes[3], sizes[1], sizes[2]};
  return sizes;
}

size_t elements_of(const std::vector<int64_t>& sizes, const std::string& what) {
  uint64_t count = 1;
  for (int64_t size : sizes) {
    if (size < 0) refuse(what + ": a size of its shape " + text_of(sizes) + " is negative.");
    if (size > 0 && count > static_cast<uint64_t>(std::numeric_limits<ptrdiff_t>::max()) / 4 / static_cast<uint64_t>(size))
      refuse(what + ": its shape " + text_of(sizes) + " is too large.");
    count *= static_cast<uint64_t>(size);
  }
  return static_cast<size_t>(count);
}

void check_memory(const niwaki_tensor& tensor, size_t needed, const std::string& what) {
  if (tensor.bytes < needed)
    refuse(what + ": its buffer has " + std::to_string(tensor.bytes) + " bytes; " + std::to_string(needed) + " are needed.");
  if (tensor.data == nullptr && needed > 0) refuse(what + ": its data is NULL.");
  if (tensor.type == NIWAKI_FLOAT32 && reinterpret_cast<uintptr_t>(tensor.data) % alignof(float) != 0)
    refuse(what + ": its data is not aligned to 4 bytes, as float32 has to be.");
}

// Whether the network can take the tensor as it lies.
bool ready(const niwaki_tensor& tensor) {
  return tensor.type == NIWAKI_FLOAT32 && (tensor.layout == NIWAKI_NCHW || tensor.shape.rank != 4);
}

void check_pixels(const niwaki_tensor& tensor, const std::vector<int64_t>& sizes, const std::optional<PixelTable>& pixels,
                  const std::string& what) {
  if (tensor.type != NIWAKI_UINT8) return;
  if (sizes.size() != 4) refuse(what + ": uint8 is for images of rank 4; give float32.");
  if (!pixels) refuse(what + ": the file does not say what mean and std uint8 images have; save it with them, or give float32.");
  if (pixels->size() != static_cast<size_t>(sizes[1]))
    refuse(what + ": the file has mean and std for " + std::to_string(pixels->size()) + " channels, the image has " +
           std::to_string(sizes[1]) + "; give float32.");
}

class Run {
 public:
  Run(OpenSession& session, const niwaki_tensor* inputs, size_t input_count, niwaki_tensor* outputs, size_t output_count)
      : session_(session),
        graph_(session.model->model->graph()),
        inputs_(match(graph_.inputs(), inputs, input_count, "input")),
        outputs_(match(graph_.outputs(), outputs, output_count, "output")) {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const std::string what = name_of("Input", graph_.inputs()[i]);
      sizes_.push_back(canonical(*inputs_[i], what));
      elements_.push_back(elements_of(sizes_[i], what));
    }
    const auto output_sizes = session.session.output_sizes(sizes_);
    for (size_t i = 0; i < outputs_.size(); ++i) {
      niwaki_shape& shape = outputs[outputs_[i] - outputs].shape;
      if (shape.rank == 0) shape = shape_of(output_sizes[i]);
    }
    for (size_t i = 0; i < outputs_.size(); ++i) check_output(i, output_sizes[i]);
    for (size_t i = 0; i < inputs_.size(); ++i) check_input(i);
  }

  void run() {
    prepare();
    session_.session.run(sources_, targets_);
  }

 private:
  void check_output(size_t i, const std::vector<int64_t>& sizes) {
    const niwaki_tensor& output = *outputs_[i];
    const std::string what = name_of("Output", graph_.outputs()[i]);
    if (number_of(output.type) != NIWAKI_FLOAT32 || number_of(output.layout) != NIWAKI_NCHW)
      refuse(what + ": outputs are NIWAKI_FLOAT32, NIWAKI_NCHW.");
    if (const auto given = sizes_of(output.shape, what); given != sizes)
      refuse(what + ": its shape is " + text_of(sizes) + " for these inputs, not " + text_of(given) + ".");
    check_memory(output, elements_of(sizes, what) * sizeof(float), what);
    targets_.push_back(static_cast<float*>(output.data));
  }

  void check_input(size_t i) {
    const std::string what = name_of("Input", graph_.inputs()[i]);
    check_memory(*inputs_[i], elements_[i] * (inputs_[i]->type == NIWAKI_UINT8 ? 1 : sizeof(float)), what);
    check_pixels(*inputs_[i], sizes_[i], session_.model->pixels, what);
  }

  // Converts what the network cannot take as it lies.
  void prepare() {
    size_t bytes = 0;
    for (size_t i = 0; i < inputs_.size(); ++i)
      if (!ready(*inputs_[i])) bytes += elements_[i] * sizeof(float);
    if (bytes > session_.images.size()) {
      session_.images = Buffer();  // before the larger one is asked for
      session_.images = Buffer(bytes);
    }
    auto* next = session_.images.as<float>();
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const niwaki_tensor& input = *inputs_[i];
      if (ready(input)) {
        sources_.push_back({static_cast<const float*>(input.data), sizes_[i]});
        continue;
      }
      const Shape shape{4, sizes_[i][0], sizes_[i][1], sizes_[i][2], sizes_[i][3]};
      const auto& pixels = session_.model->pixels;
      to_planes(input.data, input.type, input.layout, shape, pixels ? &*pixels : nullptr, next);
      sources_.push_back({next, sizes_[i]});
      next += elements_[i];
    }
  }

  OpenSession& session_;
  const Graph& graph_;
  std::vector<const niwaki_tensor*> inputs_, outputs_;
  std::vector<std::vector<int64_t>> sizes_;
  std::vector<size_t> elements_;
  std::vector<Session::Input> sources_;
  std::vector<float*> targets_;
};

}  // namespace
}  // namespace niwaki::capi

using namespace niwaki;
using namespace niwaki::capi;

niwaki_status niwaki_session_create(const niwaki_model* model, const niwaki_options* options, niwaki_session** session) {
  return guarded([&] {
    auto opened = open_model(model, "niwaki_session_create");
    expect(session, "niwaki_session_create", "session");
    auto created = std::make_shared<OpenSession>(std::move(opened), checked(options, "niwaki_session_create"));
    *session = reinterpret_cast<niwaki_session*>(add_handle(Kind::session, std::move(created)));
  });
}

niwaki_status niwaki_session_close(niwaki_session* session) {
  return guarded([&] {
    if (session != nullptr && !remove_handle(Kind::session, reinterpret_cast<uintptr_t>(session)))
      refuse("niwaki_session_close: session is not open; it was closed before, or is something else.");
  });
}

niwaki_status niwaki_run(niwaki_session* session, const niwaki_tensor* inputs, size_t input_count, niwaki_tensor* outputs,
                         size_t output_count) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_run");
    const Claim claim(*opened);
    const AllocatorScope scope(opened->allocator);
    Run(*opened, inputs, input_count, outputs, output_count).run();
  });
}

niwaki_status niwaki_session_layer_count(const niwaki_session* session, size_t* count) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_layer_count");
    expect(count, "niwaki_session_layer_count", "count");
    *count = opened->session.model().steps().size();
  });
}

niwaki_status niwaki_session_layer(const niwaki_session* session, size_t index, niwaki_layer* layer) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_layer");
    expect(layer, "niwaki_session_layer", "layer");
    const Claim claim(*opened);
    const auto& steps = opened->session.model().steps();
    if (index >= steps.size())
      refuse("niwaki_session_layer: there is no layer " + std::to_string(index) + "; the network has " +
             std::to_string(steps.size()) + ", counted from 0.");
    const StepInfo& info = steps[index]->info;
    *layer = {info.name.c_str(),
              info.op.c_str(),
              info.scheme.c_str(),
              info.kernel.c_str(),
              info.reason.c_str(),
              info.zeros,
              info.bytes,
              opened->session.macs()[index],
              opened->session.milliseconds()[index]};
  });
}

niwaki_status niwaki_session_activation_bytes(const niwaki_session* session, size_t* bytes) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_activation_bytes");
    expect(bytes, "niwaki_session_activation_bytes", "bytes");
    const Claim claim(*opened);
    *bytes = static_cast<size_t>(opened->session.activation_bytes());
  });
}
