// The allocator's settings for a process that lists much now and then and keeps little of it.
#pragma once

namespace pgrunbook::runtime {

// Before other threads start: one heap for all of them, and large blocks given back the moment they are
// freed.
void keep_memory_small();
// Hands what is free back to the system: after a list, whose text and objects were larger than what is kept.
void give_memory_back();
// Unmaps the pages of programs and libraries that are only read; what is used again comes back from the page
// cache without a read of the disk. Most of them were used once, to start.
void let_go_of_code();

}  // namespace pgrunbook::runtime
