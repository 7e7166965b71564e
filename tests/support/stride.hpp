// How much of an exhaustive test to run. A sanitized build takes every n-th case; with
// PGRUNBOOK_TEST_EVERY=1, as `tests/run full` sets it for a build without sanitizers, all of them run. The
// thread sanitizer looks for races, and a loop in one thread has none to show: it takes fewer still.
#pragma once

#include <cstdlib>

namespace pgrunbook::test {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr int kStride = 7;
#else
inline constexpr int kStride = 1;
#endif
#else
inline constexpr int kStride = 1;
#endif

// Whether every case is asked for.
inline bool every_case() { return std::getenv("PGRUNBOOK_TEST_EVERY") != nullptr; }
// From one case to the next.
inline int stride(int usual) { return every_case() ? 1 : usual * kStride; }
}  // namespace pgrunbook::test
