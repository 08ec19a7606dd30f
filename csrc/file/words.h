// The numbers and strings that the graph and the tensor table are made of.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace niwaki {

// Reads a section; never past its end. `refuse` is called with what is wrong and does not return.
class WordReader {
 public:
  using Refuse = void (*)(const std::string& path, const std::string& what);

  // section: "the graph" or "the tensor table", for messages. From version 2 on, a section with strings begins with all of them.
  WordReader(std::span<const uint8_t> bytes, uint32_t version, const std::string& path, const char* section, Refuse refuse)
      : bytes_(bytes), version_(version), path_(path), section_(section), refuse_(refuse) {}

  // What is made of the section may take so many bytes of memory. Strings are counted here, by how often they are used; other things
  // by those who make them.
  void limit(uint64_t bytes) { room_ = bytes; }
  uint64_t room() const { return room_; }
  void charge(uint64_t bytes);

  void read_strings();

  template <typename T>
  T number() {
    T value;
    copy(&value, sizeof(T));
    return value;
  }
  uint32_t count_up_to(uint32_t most);  // of a list that is never long; refuses more
  uint64_t natural();                   // u32 in version 1; else a varint
  uint32_t count();                     // a natural below 2^32
  int64_t integer();                    // i64 in version 1; else a varint, zigzag
  std::string string();                 // inline in version 1; else the number of one of the section's strings
  void expect_end() const;
  [[noreturn]] void refuse(const std::string& what) const;
  size_t position() const { return at_; }  // bytes read so far

 private:
  void copy(void* to, size_t size);
  uint64_t varint();
  std::string_view text(size_t size);

  std::span<const uint8_t> bytes_;
  uint32_t version_;
  const std::string& path_;
  std::string section_;
  Refuse refuse_;
  size_t at_ = 0;
  uint64_t room_ = UINT64_MAX;
  std::vector<std::string_view> strings_;
};

// Writes a section of the version that format.h names.
class WordWriter {
 public:
  template <typename T>
  void number(T value) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof(T));
  }
  void natural(uint64_t value);
  void integer(int64_t value);
  void string(const std::string& text);

  std::vector<uint8_t> take() { return std::move(bytes_); }
  std::vector<uint8_t> take_with_strings();

 private:
  std::vector<uint8_t> bytes_;
  std::map<std::string, uint64_t> numbers_;
  std::vector<std::string> strings_;  // in the order of their first use
};

}  // namespace niwaki
