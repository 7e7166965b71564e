// Where WAL ends: a chain of records made here, byte by byte, and everything that breaks it.
#include "postgres/wal_walk.hpp"

#include <cstring>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "postgres/wal_page.hpp"
#include "support/postgres/temporary.hpp"
#include "support/postgres/wal_file.hpp"

namespace pgrunbook::postgres {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kSegmentBytes = 1U << 20U, kPage = 8192, kSystem = 7000000000000000001;
constexpr std::uint64_t kFirst = 3;  // segment

// WAL as a server writes it: page headers where they belong, records chained and summed.
class Writer {
 public:
  explicit Writer(std::uint32_t timeline = 1) : timeline_(timeline) {}

  // Returns where it begins.
  std::uint64_t record(std::uint32_t length, std::uint8_t manager = 10, std::uint8_t info = 0) {
    begin_page();
    std::uint64_t start = at_;
    std::string bytes(length, 'd');
    put(&bytes, 0, length);
    put(&bytes, 4, std::uint32_t{777});
    put(&bytes, 8, previous_);
    put(&bytes, 16, info);
    put(&bytes, 17, manager);
    put(&bytes, 18, std::uint16_t{0});
    put(&bytes, 20, crc32c(bytes.substr(24) + bytes.substr(0, 20)));
    std::size_t done = 0;
    while (done < length) {
      if (at_ % kPage == 0) header(0x0001, static_cast<std::uint32_t>(length - done));
      std::size_t room = std::min<std::size_t>(kPage - at_ % kPage, length - done);
      segment(at_ / kSegmentBytes).replace(at_ % kSegmentBytes, room, bytes, done, room);
      at_ += room;
      done += room;
    }
    at_ = (at_ + 7) / 8 * 8;
    previous_ = start;
    if (manager == 0 && info == 0x40) at_ = (at_ + kSegmentBytes - 1) / kSegmentBytes * kSegmentBytes;
    return start;
  }
  // Records of `length` until the position is in the given segment's page.
  void fill_to(std::uint64_t position, std::uint32_t length = 4000) {
    while (at_ < position) record(length);
  }
  [[nodiscard]] std::uint64_t at() const { return at_; }
  std::string& segment(std::uint64_t n) {
    auto found = segments_.find(n);
    if (found == segments_.end()) found = segments_.emplace(n, std::string(kSegmentBytes, '\0')).first;
    return found->second;
  }
  std::map<std::uint64_t, std::string> segments_;

  void begin_page(std::uint16_t info = 0) {
    if (at_ % kPage == 0) header(info, 0);
  }
  void abandon_to_next_page() {  // what a server does with a record it could not finish (14+)
    at_ = (at_ + kPage - 1) / kPage * kPage;
    header(0x0008, 0);
  }

 private:
  template <typename T>
  static void put(std::string* bytes, std::size_t at, T value) {
    std::memcpy(bytes->data() + at, &value, sizeof value);
  }
  void header(std::uint16_t info, std::uint32_t remaining) {
    std::string& s = segment(at_ / kSegmentBytes);
    std::size_t at = at_ % kSegmentBytes;
    put(&s, at, std::uint16_t{0xD110});
    put(&s, at + 2, static_cast<std::uint16_t>(info | (at == 0 ? 0x0002U : 0U)));
    put(&s, at + 4, timeline_);
    put(&s, at + 8, at_);
    put(&s, at + 16, remaining);
    if (at == 0) {
      put(&s, at + 24, kSystem);
      put(&s, at + 32, static_cast<std::uint32_t>(kSegmentBytes));
      put(&s, at + 36, static_cast<std::uint32_t>(kPage));
    }
    at_ += at == 0 ? 40 : 24;
  }
  std::uint32_t timeline_;
  std::uint64_t at_ = kFirst * kSegmentBytes, previous_ = kFirst * kSegmentBytes - 100;
};

class WalWalkTest : public ::testing::Test {
 protected:
  WalWalk walk(const Writer& w, std::uint64_t first = kFirst,
               TimelineHistory history = TimelineHistory(TimelineId(1)), std::uint64_t system = kSystem) {
    for (const auto& [n, bytes] : w.segments_) test::write_file(file(n), bytes);
    auto walked = walk_wal({std::move(history), system, kSegmentBytes, first},
                           [&](std::uint64_t n) -> base::Result<std::optional<std::string>> {
                             return w.segments_.count(n) != 0 ? std::optional(file(n)) : std::nullopt;
                           });
    return test::must(std::move(walked));
  }
  [[nodiscard]] std::string file(std::uint64_t n) const { return directory_ / std::to_string(n); }
  test::TemporaryDirectory directory_;
};

TEST(Crc32c, IsTheOneOfTheStandards) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720, B.4
}

TEST_F(WalWalkTest, FollowsRecordsAcrossPagesAndSegments) {
  Writer w;
  w.record(30);
  w.record(20000);  // over two page headers
  w.fill_to((kFirst + 1) * kSegmentBytes + 100, 5000);
  std::uint64_t last = w.record(64);
  WalWalk found = walk(w);
  EXPECT_EQ(found.begin, Lsn(kFirst * kSegmentBytes));
  EXPECT_EQ(found.end, Lsn(w.at()));
  EXPECT_EQ(*found.last, Lsn(last));
  EXPECT_THAT(found.words, HasSubstr("nothing was written at " + Lsn(w.at()).text()));
  // Begun in the second segment, over the rest of the record that crosses into it.
  WalWalk later = walk(w, kFirst + 1);
  EXPECT_EQ(later.end, found.end);
  EXPECT_LT(later.records, found.records);
}

TEST_F(WalWalkTest, ASwitchEndsItsSegment) {
  Writer w;
  w.record(100);
  w.record(24, 0, 0x40);
  EXPECT_EQ(walk(w).end, Lsn((kFirst + 1) * kSegmentBytes));
  EXPECT_THAT(walk(w).words, HasSubstr("there is no segment"));
  w.record(100);
  EXPECT_EQ(walk(w).end, Lsn(w.at()));
}

TEST_F(WalWalkTest, WhatBreaksTheChainEndsIt) {
  struct Case {
    const char* what;
    void (*spoil)(Writer&, std::uint64_t last);
    const char* words;
  };
  const Case cases[] = {
      {"a byte of the record is another",
       [](Writer& w, std::uint64_t at) { w.segment(kFirst)[at % kSegmentBytes + 30] ^= 1; },
       "has a wrong checksum"},
      {"the record follows another one",
       [](Writer& w, std::uint64_t at) { w.segment(kFirst)[at % kSegmentBytes + 8] ^= 8; },
       "not the one before it"},
      {"its length cannot be",
       [](Writer& w, std::uint64_t at) {
         w.segment(kFirst)[at % kSegmentBytes] = 5;
         w.segment(kFirst)[at % kSegmentBytes + 1] = 0;
       },
       "has the length 5"},
      {"it was never written",
       [](Writer& w, std::uint64_t at) { w.segment(kFirst).replace(at % kSegmentBytes, 9000, 9000, '\0'); },
       "nothing was written at"},
      {"the page it goes on in is an old one",
       [](Writer& w, std::uint64_t at) {
         w.segment(kFirst)[at % kSegmentBytes / kPage * kPage + kPage + 10] ^= 7;
       },
       "is an old one of a recycled file"},
      {"that page was never written",
       [](Writer& w, std::uint64_t at) {
         w.segment(kFirst).replace(at % kSegmentBytes / kPage * kPage + kPage, kPage, kPage, '\0');
       },
       "was never written"},
      {"that page is of another timeline",
       [](Writer& w, std::uint64_t at) {
         w.segment(kFirst)[at % kSegmentBytes / kPage * kPage + kPage + 4] = 9;
       },
       "is of timeline 9"},
      {"that page continues something else",
       [](Writer& w, std::uint64_t at) {
         w.segment(kFirst)[at % kSegmentBytes / kPage * kPage + kPage + 16] ^= 1;
       },
       "does not continue the record"},
      {"that page has another magic",
       [](Writer& w, std::uint64_t at) {
         w.segment(kFirst)[at % kSegmentBytes / kPage * kPage + kPage] = 0x11;
       },
       "instead of D110"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Writer w;
    w.fill_to(kFirst * kSegmentBytes + 50000, 3000);
    std::uint64_t end = w.at();
    std::uint64_t last = w.record(9000);
    w.record(500);
    c.spoil(w, last);
    WalWalk found = walk(w);
    EXPECT_EQ(found.end, Lsn(end));
    EXPECT_THAT(found.words, HasSubstr(c.words));
  }
}

TEST_F(WalWalkTest, ARecycledFileIsNotTheNextSegment) {
  Writer w;
  w.fill_to((kFirst + 1) * kSegmentBytes - 9000, 1000);
  w.record(24, 0, 0x40);
  // The file of an old segment under the next one's name: right magic, timeline, system identifier.
  w.segments_[kFirst + 1] = w.segment(kFirst);
  WalWalk found = walk(w);
  EXPECT_EQ(found.end, Lsn((kFirst + 1) * kSegmentBytes));
  EXPECT_THAT(found.words,
              HasSubstr("is an old one of a recycled file, from " + Lsn(kFirst * kSegmentBytes).text()));
}

TEST_F(WalWalkTest, ARecordThatBreaksOffAtTheLastFileDoesNotCount) {
  Writer w;
  w.fill_to((kFirst + 1) * kSegmentBytes - 5000, 100);
  std::uint64_t end = w.at();
  w.record(9000);
  w.segments_.erase(kFirst + 1);
  WalWalk found = walk(w);
  EXPECT_EQ(found.end, Lsn(end));
  EXPECT_THAT(found.words, HasSubstr("breaks off"));
}

TEST_F(WalWalkTest, ARecordThatTheServerGaveUpIsPassedOver) {
  Writer w;
  w.fill_to(kFirst * kSegmentBytes + 60000, 3000);
  std::uint64_t given_up = w.at();
  Writer copy = w;
  copy.record(50000);  // begins properly, and goes on over the next page
  std::string page = copy.segment(kFirst).substr(given_up % kSegmentBytes / kPage * kPage, kPage);
  w.segment(kFirst).replace(given_up % kSegmentBytes / kPage * kPage, kPage, page);
  w.abandon_to_next_page();
  w.record(200);
  EXPECT_EQ(walk(w).end, Lsn(w.at()));
}

TEST_F(WalWalkTest, AStrangersFileIsNone) {
  Writer w;
  w.record(100);
  WalWalk found = walk(w, kFirst, TimelineHistory(TimelineId(1)), kSystem + 1);
  EXPECT_EQ(found.end, Lsn(kFirst * kSegmentBytes));
  EXPECT_THAT(found.words, HasSubstr("of the cluster with system identifier 7000000000000000001"));
  EXPECT_EQ(found.records, 0U);
  test::write_file(file(kFirst), "short");
  auto walked = test::must(walk_wal({TimelineHistory(TimelineId(1)), kSystem, kSegmentBytes, kFirst},
                                    [&](std::uint64_t) -> base::Result<std::optional<std::string>> {
                                      return std::optional(file(kFirst));
                                    }));
  EXPECT_THAT(walked.words, HasSubstr("has 5 bytes"));
}

TEST_F(WalWalkTest, AForkBeginsWithItsParentsPages) {
  Writer parent(1);
  parent.fill_to(kFirst * kSegmentBytes + 3 * kPage, 3000);
  std::uint64_t fork = parent.at();
  Writer w = parent;
  // From the fork on in the child's name; the page of the fork stays the parent's.
  w.record(100);
  TimelineHistory history(TimelineId(2), {{TimelineId(1), Lsn(fork)}});
  EXPECT_EQ(walk(w, kFirst, history).end, Lsn(w.at()));
  Writer strange(3);
  strange.record(100);
  EXPECT_THAT(walk(strange, kFirst, history).words, HasSubstr("is of timeline 3"));
}

}  // namespace
}  // namespace pgrunbook::postgres
