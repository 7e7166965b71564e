#include "runtime/memory.hpp"

#include <cstdint>
#include <link.h>
#include <malloc.h>
#include <string_view>
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

void let_go_of_code() {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void*) {
        if (std::string_view(info->dlpi_name).starts_with("linux-vdso")) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          // A segment that is never written holds nothing but the file's bytes: relocations are elsewhere.
          if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
          std::uintptr_t begin = (info->dlpi_addr + segment.p_vaddr) / page * page;
          std::uintptr_t end = (info->dlpi_addr + segment.p_vaddr + segment.p_memsz + page - 1) / page * page;
          (void)::madvise(reinterpret_cast<void*>(begin), end - begin,  // NOLINT(performance-no-int-to-ptr)
                          MADV_DONTNEED);
        }
        return 0;
      },
      nullptr);
}

}  // namespace pgrunbook::runtime
