// How much of an exhaustive test to run. The address sanitizer's build runs all of it; the thread sanitizer's
// looks for races, and a loop in one thread has none to show: it takes every n-th case.
#pragma once

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
}  // namespace pgrunbook::test
