// The allocator's settings for a process that lists much now and then and keeps little of it.
#pragma once

namespace pgrunbook::runtime {

// Before other threads start: one heap for all of them, and large blocks given back the moment they are
// freed.
void keep_memory_small();
// Hands what is free back to the system: after a list, whose text and objects were larger than what is kept.
void give_memory_back();
// Unmaps the pages of the program and its libraries: what is still used comes back from the page cache at its
// next use, and what only starting needed stays with the kernel, which may drop it. Any thread, at any time.
// Source: madvise(2), MADV_DONTNEED on a private mapping of a file.
void give_code_back();

}  // namespace pgrunbook::runtime
