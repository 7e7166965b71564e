#include "agent/scram.hpp"

#include <gtest/gtest.h>

#include "base/hash.hpp"

namespace pgrunbook::agent {
namespace {

// RFC 7677 section 3: user "user", password "pencil", salt W22ZaJ0SNY7soEsUEjb6gQ==, 4096 iterations. The
// keys were derived from the RFC's values with Python's hashlib and hmac.
TEST(Scram, TheVectorOfRfc7677) {
  auto salt = base::base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");
  ASSERT_TRUE(salt);
  auto verifier = scram_verifier("pencil", *salt);
  ASSERT_TRUE(verifier);
  EXPECT_EQ(*verifier,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
}

TEST(Scram, EverySaltIsNew) { EXPECT_NE(*new_scram_verifier("pencil"), *new_scram_verifier("pencil")); }

TEST(Scram, WhatWouldNeedSaslprepIsRefused) {
  for (const char* password : {"", "pässword", "tab\there"}) {
    auto v = new_scram_verifier(password);
    ASSERT_FALSE(v) << password;
    EXPECT_NE(v.error().text().find("pgrunbook-roles"), std::string::npos);
  }
}

}  // namespace
}  // namespace pgrunbook::agent
