#include "file/words.h"

#include <cstring>
#include <utility>

#include "base/status.h"

namespace niwaki {

void WordReader::refuse(const std::string& what) const {
  refuse_(path_, what);
  throw Error(Status::invalid_file, path_ + ": " + what);
}

void WordReader::copy(void* to, size_t size) {
  if (size > bytes_.size() - at_) refuse(section_ + " ends early");
  std::memcpy(to, bytes_.data() + at_, size);
  at_ += size;
}

uint64_t WordReader::varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = number<uint8_t>();
    const uint64_t part = byte & 0x7f;
    if (shift == 63 && part > 1) break;
    value |= part << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) break;  // one number has one spelling
      return value;
    }
  }
  refuse("a number in " + section_);
}

uint64_t WordReader::natural() { return version_ == 1 ? number<uint32_t>() : varint(); }

uint32_t WordReader::count() {
  const uint64_t value = natural();
  if (value > 0xffffffffu) refuse("a number in " + section_);
  return static_cast<uint32_t>(value);
}

int64_t WordReader::integer() {
  if (version_ == 1) return number<int64_t>();
  const uint64_t value = varint();
  return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

void WordReader::charge(uint64_t bytes) {
  if (bytes > room_) refuse(section_ + " would take more memory than ten times the file");
  room_ -= bytes;
}

uint32_t WordReader::count_up_to(uint32_t most) {
  const uint32_t value = count();
  if (value > most) refuse("a list in " + section_ + " is longer than " + std::to_string(most));
  return value;
}

std::string_view WordReader::text(size_t size) {
  if (size > bytes_.size() - at_) refuse(section_ + " ends early");
  at_ += size;
  return {reinterpret_cast<const char*>(bytes_.data()) + at_ - size, size};
}

void WordReader::read_strings() {
  if (version_ == 1) return;
  for (uint32_t left = count(); left > 0; --left) {
    charge(3 * sizeof(std::string_view));  // a vector that grows holds its old and its new memory for a moment
    strings_.push_back(text(count()));
  }
}

std::string WordReader::string() {
  const uint32_t value = count();
  if (version_ != 1 && value >= strings_.size()) refuse("a string of " + section_ + " does not exist");
  const std::string_view found = version_ == 1 ? text(value) : strings_[value];
  charge(sizeof(std::string) + found.size());
  return std::string(found);
}

void WordReader::expect_end() const {
  if (at_ != bytes_.size()) refuse(section_ + " is followed by something else");
}

void WordWriter::natural(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<uint8_t>(value | 0x80));
  bytes_.push_back(static_cast<uint8_t>(value));
}

void WordWriter::integer(int64_t value) {
  natural((static_cast<uint64_t>(value) << 1) ^ (value < 0 ? ~uint64_t{0} : uint64_t{0}));
}

void WordWriter::string(const std::string& text) {
  const auto [known, added] = numbers_.try_emplace(text, strings_.size());
  if (added) strings_.push_back(text);
  natural(known->second);
}

std::vector<uint8_t> WordWriter::take_with_strings() {
  WordWriter head;
  head.natural(strings_.size());
  for (const std::string& text : strings_) {
    head.natural(text.size());
    head.bytes_.insert(head.bytes_.end(), text.begin(), text.end());
  }
  head.bytes_.insert(head.bytes_.end(), bytes_.begin(), bytes_.end());
  return head.take();
}

}  // namespace niwaki
