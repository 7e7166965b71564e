// Where builds for tests compile the JSON class, once.
#include "base/json.hpp"

#ifndef NDEBUG
template class nlohmann::basic_json<>;
#endif
