#include "capi/errors.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

namespace niwaki::capi {
namespace {

constexpr size_t kLength = 1024;
thread_local char sentence[kLength] = "";

niwaki_status keep(niwaki_status status, const char* words) noexcept {
  size_t length = std::min(std::strlen(words), kLength - 1);
  // A character of UTF-8 is kept as a whole or not at all.
  if (words[length] != '\0')
    while (length > 0 && (static_cast<unsigned char>(words[length]) & 0xc0) == 0x80) --length;
  std::memcpy(sentence, words, length);
  sentence[length] = '\0';
  return status;
}

}  // namespace

const char* last_error() noexcept { return sentence; }

niwaki_status report_exception() noexcept {
  try {
    throw;
  } catch (const Busy&) {
    return keep(NIWAKI_BUSY, "This session is running in another thread; give each thread a session of its own.");
  } catch (const Error& error) {
    return keep(static_cast<niwaki_status>(error.status()), error.what());
  } catch (const std::bad_alloc&) {
    return keep(NIWAKI_OUT_OF_MEMORY, "Not enough memory.");
  } catch (const std::exception& error) {
    return keep(NIWAKI_INTERNAL, error.what());
  } catch (...) {
    return keep(NIWAKI_INTERNAL, "An unknown error inside of niwaki.");
  }
}

void refuse(const std::string& what) { throw Error(Status::invalid_argument, what); }

void expect(const void* pointer, const char* function, const char* name) {
  if (pointer == nullptr) refuse(std::string(function) + ": " + name + " is NULL.");
}

static_assert(static_cast<int>(Status::invalid_argument) == NIWAKI_INVALID_ARGUMENT);
static_assert(static_cast<int>(Status::invalid_file) == NIWAKI_INVALID_FILE);
static_assert(static_cast<int>(Status::unsupported) == NIWAKI_UNSUPPORTED);
static_assert(static_cast<int>(Status::out_of_memory) == NIWAKI_OUT_OF_MEMORY);
static_assert(static_cast<int>(Status::internal) == NIWAKI_INTERNAL);

}  // namespace niwaki::capi
