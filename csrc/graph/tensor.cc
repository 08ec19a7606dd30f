#include "graph/tensor.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/memory.h"

namespace niwaki {

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::u8: return "uint8";
    case DType::i8: return "int8";
    case DType::i32: return "int32";
    case DType::f32: return "float32";
    case DType::i64: return "int64";
    case DType::boolean: return "bool";
    case DType::byte: return "byte";
  }
  return "unknown";
}

int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::i64: return 8;
    case DType::i32:
    case DType::f32: return 4;
    default: return 1;
  }
}

Tensor::Tensor(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const uint8_t> data)
    : dtype_(dtype), shape_(std::move(shape)), elements_(1), data_(std::move(data)) {
  for (int64_t size : shape_) elements_ *= size;
}

struct Tensor::Packed {
  std::shared_ptr<const TensorSource> source;
  std::mutex mutex;
  std::shared_ptr<const uint8_t> data;
};

Tensor::Tensor(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const TensorSource> source)
    : Tensor(dtype, std::move(shape), std::shared_ptr<const uint8_t>()) {
  packed_ = std::make_shared<Packed>();
  packed_->source = std::move(source);
}

const uint8_t* Tensor::kept_data() const {
  const std::lock_guard lock(packed_->mutex);
  if (!packed_->data) packed_->data = packed_->source->unpack();
  return packed_->data.get();
}

Tensor Tensor::unpacked() const {
  if (!packed_) return *this;
  const std::unique_lock lock(packed_->mutex);
  return Tensor(dtype_, shape_, packed_->data ? packed_->data : packed_->source->unpack());
}

bool Tensor::may_hold(uint8_t byte) const {
  if (packed_) return packed_->source->may_hold(byte);
  return elements_ > 0 && std::memchr(data_.get(), byte, static_cast<size_t>(elements_)) != nullptr;
}

Tensor Tensor::copy_of(DType dtype, std::vector<int64_t> shape, const void* data) {
  int64_t bytes = dtype_bytes(dtype);
  for (int64_t size : shape) bytes *= size;
  auto buffer = std::make_shared<Buffer>(static_cast<size_t>(bytes));
  if (bytes > 0) std::memcpy(buffer->data(), data, static_cast<size_t>(bytes));
  return Tensor(dtype, std::move(shape), std::shared_ptr<const uint8_t>(buffer, buffer->data()));
}

namespace {

// Eight bits count 255 elements: lanes of a byte each, where one counter for all would take eight bytes for each element.
int64_t count_zeros(const uint8_t* bytes, int64_t count) {
  int64_t zeros = 0;
  while (count > 0) {
    const int64_t some = std::min<int64_t>(count, 255);
    uint8_t found = 0;
    for (int64_t i = 0; i < some; ++i) found = static_cast<uint8_t>(found + (bytes[i] == 0));
    zeros += found;
    bytes += some;
    count -= some;
  }
  return zeros;
}

}  // namespace

double Tensor::zeros() const {
  if (elements_ == 0) return 0.0;
  const Tensor whole = unpacked();
  const uint8_t* bytes = whole.data();
  if (dtype_bytes(dtype_) == 1) return static_cast<double>(count_zeros(bytes, elements_)) / static_cast<double>(elements_);
  int64_t count = 0;
  for (int64_t i = 0; i < elements_; ++i) {
    switch (dtype_) {
      case DType::i64: count += whole.as<int64_t>()[i] == 0; break;
      case DType::i32: count += whole.as<int32_t>()[i] == 0; break;
      default: count += whole.as<float>()[i] == 0.0f;
    }
  }
  return static_cast<double>(count) / static_cast<double>(elements_);
}

}  // namespace niwaki
