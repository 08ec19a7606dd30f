// Handles that can be checked. A handle is a number that is never given out twice, dressed as a pointer: a closed one, or a pointer
// to something else, is recognized and never followed. A call keeps what it works on alive, so closing a handle harms no call that is
// under way in another thread.
#pragma once

#include <cstdint>
#include <memory>

namespace niwaki::capi {

enum class Kind { model, session };

uintptr_t add_handle(Kind kind, std::shared_ptr<void> object);     // throws bad_alloc
std::shared_ptr<void> find_handle(Kind kind, uintptr_t handle);    // null for a handle that is not open
std::shared_ptr<void> remove_handle(Kind kind, uintptr_t handle);  // the same

}  // namespace niwaki::capi
