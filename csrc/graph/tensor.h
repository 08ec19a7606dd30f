// Constants of a network: weights, scales, biases, tables. Immutable and shared.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace niwaki {

// Of values and tensors. boolean: a byte, 0 or 1. Eight bits without a sign are two types of values: u8 are the steps of a quantization, which
// kernels group, and byte are plain integers in row-major order, as those of a picture. As a tensor, both are u8.
enum class DType : uint8_t { u8 = 0, i8 = 1, i32 = 2, f32 = 3, i64 = 4, boolean = 5, byte = 6 };
inline constexpr DType kDTypes[] = {DType::f32, DType::u8, DType::i8, DType::i64, DType::i32, DType::boolean, DType::byte};

const char* dtype_name(DType dtype);  // "uint8", "int8", "int32", "float32", "int64", "bool", "byte"
int64_t dtype_bytes(DType dtype);

// Makes the data of a tensor that is kept in a smaller form, as in a file. Immutable; any thread may ask.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual std::shared_ptr<const uint8_t> unpack() const = 0;  // may throw, where what it unpacks turns out not to be good
  virtual bool may_hold(uint8_t byte) const = 0;              // of a type of one byte: false where no element is that for sure
};

class Tensor {
 public:
  Tensor() = default;

  // `data` is kept alive, not copied; it is aligned to the type and holds the product of `shape` elements.
  Tensor(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const uint8_t> data);
  // A tensor whose data `source` makes when it is asked for.
  Tensor(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const TensorSource> source);
  static Tensor copy_of(DType dtype, std::vector<int64_t> shape, const void* data);

  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t elements() const { return elements_; }
  int64_t bytes() const { return elements_ * dtype_bytes(dtype_); }
  // Null where there is none. A packed tensor unpacks at the first call, and copies of it share and keep the data.
  const uint8_t* data() const { return packed_ ? kept_data() : data_.get(); }

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data());
  }

  // The same tensor with its data in memory for as long as the result lives, and no longer: for those who read it once.
  Tensor unpacked() const;

  // Of a type of one byte: whether an element may be this byte; false is sure. Unpacks nothing.
  bool may_hold(uint8_t byte) const;

  // Where it lies, in whatever form: the same for copies of it, and for no other tensor that is not empty.
  const void* address() const { return packed_ ? static_cast<const void*>(packed_.get()) : data_.get(); }
  // Whether both are one tensor in memory, and not merely equal. An empty one may lie where another begins.
  bool is_same(const Tensor& other) const {
    return address() == other.address() && dtype_ == other.dtype_ && shape_ == other.shape_;
  }

  double zeros() const;  // share of the elements that are zero, 0 to 1; 0 for an empty tensor

 private:
  struct Packed;
  const uint8_t* kept_data() const;

  DType dtype_ = DType::u8;
  std::vector<int64_t> shape_;
  int64_t elements_ = 0;
  std::shared_ptr<const uint8_t> data_;
  std::shared_ptr<Packed> packed_;
};

}  // namespace niwaki
