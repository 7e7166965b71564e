#include "runtime/memory.hpp"

#include <malloc.h>

namespace pgrunbook::runtime {

void keep_memory_small() {
  // Twenty threads that mostly wait would each get a heap of their own, which is never given back.
  ::mallopt(M_ARENA_MAX, 1);
  // Set, it does not grow with the blocks that are freed; a grown one puts large blocks among small ones.
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  ::mallopt(M_TRIM_THRESHOLD, 128 << 10);
}

void give_memory_back() { ::malloc_trim(64 << 10); }

}  // namespace pgrunbook::runtime
