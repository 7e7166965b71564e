#include "runtime/memory.hpp"

#include <cstdint>
#include <link.h>
#include <malloc.h>
#include <span>
#include <sys/mman.h>
#include <unistd.h>

namespace pgrunbook::runtime {

void keep_memory_small() {
  // Twenty threads that mostly wait would each get a heap of their own, which is never given back.
  ::mallopt(M_ARENA_MAX, 1);
  // Set, it does not grow with the blocks that are freed; a grown one puts large blocks among small ones.
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  ::mallopt(M_TRIM_THRESHOLD, 128 << 10);
}

void give_memory_back() { ::malloc_trim(64 << 10); }

namespace {

void* address(std::uintptr_t number) {
  return reinterpret_cast<void*>(number);  // NOLINT(performance-no-int-to-ptr): the loader gives numbers
}

// Code that was changed in memory, to suit where it was loaded: what its file has in its place is wrong.
bool relocates_code(const dl_phdr_info& object, const ElfW(Phdr) & dynamic) {
  const auto* entry = static_cast<const ElfW(Dyn)*>(address(object.dlpi_addr + dynamic.p_vaddr));
  for (; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0))
      return true;
  }
  return false;
}

int give_back(dl_phdr_info* object, std::size_t, void*) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::span parts(object->dlpi_phdr, object->dlpi_phnum);
  for (const auto& part : parts) {
    if (part.p_type == PT_DYNAMIC && relocates_code(*object, part)) return 0;
  }
  for (const auto& part : parts) {
    // What may be written has been: its relocations are nowhere else.
    if (part.p_type != PT_LOAD || (part.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = (object->dlpi_addr + part.p_vaddr) / page * page;
    const std::uintptr_t end = object->dlpi_addr + part.p_vaddr + part.p_filesz;
    ::madvise(address(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void give_code_back() { ::dl_iterate_phdr(give_back, nullptr); }

}  // namespace pgrunbook::runtime
