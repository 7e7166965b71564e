#include "agent/member_agent.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::agent {
namespace {

TEST(MemberAgent, ArchiveCommand) {
  EXPECT_EQ(archive_command_text("/m/.pgrunbook/bin/1/amd64/pgrunbook-agent", "/b/tfrs", "uid-1"),
            "[ -x /m/.pgrunbook/bin/1/amd64/pgrunbook-agent ] || exit 1; exec "
            "/m/.pgrunbook/bin/1/amd64/pgrunbook-agent archive-wal "
            "--repository /b/tfrs --writer uid-1 \"%p\" \"%f\"");
}

TEST(MemberAgent, PercentsAreDoubledAndBlanksQuoted) {
  EXPECT_EQ(restore_command_text("/a%b/it's here", "/r"),
            "exec '/a%%b/it'\\''s here' restore-wal --repository /r \"%f\" \"%p\"");
}

TEST(MemberAgent, OursIsKnownWhateverItsVersion) {
  EXPECT_TRUE(
      is_our_archive_command(archive_command_text("/m/.pgrunbook/bin/0.9/arm64/pgrunbook-agent", "/b", "u")));
  EXPECT_FALSE(is_our_archive_command("cp %p /archive/%f"));
  EXPECT_FALSE(is_our_archive_command(""));
}

}  // namespace
}  // namespace pgrunbook::agent
