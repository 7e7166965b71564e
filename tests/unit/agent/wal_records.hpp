// WAL records and times as the planning Job's tests write them down.
#pragma once

#include "base/time.hpp"
#include "postgres/waldump.hpp"

namespace pgrunbook::agent {

inline base::SystemTime at(int seconds) {
  return base::SystemTime(std::chrono::seconds(1'800'000'000 + seconds));
}

inline postgres::WalRecord record(postgres::WalRecordKind kind, std::uint64_t lsn, int seconds = 0,
                                  std::uint32_t xid = 0) {
  postgres::WalRecord r;
  r.kind = kind;
  r.start = postgres::Lsn(lsn);
  r.end = postgres::Lsn(lsn + 0x40);
  r.time = at(seconds);
  r.xid = xid;
  return r;
}

inline postgres::WalRecord commit(std::uint64_t lsn, int seconds, std::uint32_t xid = 7,
                                  std::vector<std::uint32_t> parts = {}) {
  postgres::WalRecord r = record(postgres::WalRecordKind::kCommit, lsn, seconds, xid);
  r.subxacts = std::move(parts);
  return r;
}

}  // namespace pgrunbook::agent
