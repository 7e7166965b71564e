// The allocator's settings for a process that lists much now and then and keeps little of it.
#pragma once

namespace pgrunbook::runtime {

// Before other threads start: one heap for all of them, and large blocks given back the moment they are
// freed.
void keep_memory_small();
// Hands what is free back to the system: after a list, whose text and objects were larger than what is kept.
void give_memory_back();

}  // namespace pgrunbook::runtime
