// Where the build put things. Functions, not strings in every test: a test's object file then is the same
// wherever the tree lies, and a compiler cache finds it.
#pragma once

namespace pgrunbook::test {
const char* source_dir();  // the repository's top
const char* agent_path();  // the built pgrunbook-agent
}  // namespace pgrunbook::test

#define PGRUNBOOK_SOURCE_DIR ::pgrunbook::test::source_dir()
#define PGRUNBOOK_AGENT_PATH ::pgrunbook::test::agent_path()
