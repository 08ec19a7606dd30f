// Constants of a network: weights, scales, biases, tables. Immutable and shared.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace niwaki {

enum class DType : uint8_t { u8 = 0, i8 = 1, i32 = 2, f32 = 3 };

const char* dtype_name(DType dtype);  // "uint8", "int8", "int32", "float32"
int64_t dtype_bytes(DType dtype);

class Tensor {
 public:
  Tensor() = default;

  // `data` is kept alive, not copied; it is aligned to the type and holds the product of `shape` elements.
  Tensor(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const uint8_t> data);
  static Tensor copy_of(DType dtype, std::vector<int64_t> shape, const void* data);

  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t elements() const { return elements_; }
  int64_t bytes() const { return elements_ * dtype_bytes(dtype_); }
  const uint8_t* data() const { return data_.get(); }

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }

  double zeros() const;  // share of the elements that are zero, 0 to 1; 0 for an empty tensor

 private:
  DType dtype_ = DType::u8;
  std::vector<int64_t> shape_;
  int64_t elements_ = 0;
  std::shared_ptr<const uint8_t> data_;
};

}  // namespace niwaki
