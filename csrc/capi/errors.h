// The border between C++ and C: exceptions become a status and a sentence.
#pragma once

#include <string>

#include "base/status.h"
#include "niwaki/niwaki.h"

namespace niwaki::capi {

// What this thread's last failed call has to say. Kept in memory of fixed size: it works when there is no memory.
const char* last_error() noexcept;

// The status of the exception that is being handled, whose sentence it keeps.
niwaki_status report_exception() noexcept;

// Runs a call of the C API.
template <typename Function>
niwaki_status guarded(const Function& function) noexcept {
  try {
    function();
    return NIWAKI_OK;
  } catch (...) {
    return report_exception();
  }
}

[[noreturn]] void refuse(const std::string& what);  // Error(invalid_argument)

// Thrown where a session is running in another thread.
struct Busy {};

// Refuses a null pointer: "<function>: <name> is NULL."
void expect(const void* pointer, const char* function, const char* name);

}  // namespace niwaki::capi
