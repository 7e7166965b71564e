#include "postgres/wal_walk.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include "base/file.hpp"
#include "postgres/wal_page.hpp"

namespace pgrunbook::postgres {
namespace {

constexpr std::uint64_t kPage = 8192;         // XLOG_BLCKSZ
constexpr std::uint32_t kRecordHeader = 24;   // SizeOfXLogRecord
constexpr std::uint32_t kCrcAt = 20;          // offsetof(XLogRecord, xl_crc)
constexpr std::uint16_t kContinues = 0x0001;  // XLP_FIRST_IS_CONTRECORD
constexpr std::uint16_t kLong = 0x0002;       // XLP_LONG_HEADER
constexpr std::uint16_t kOverwrite = 0x0008;  // XLP_FIRST_IS_OVERWRITE_CONTRECORD (14+)
constexpr std::uint8_t kXlogManager = 0;      // RM_XLOG_ID
constexpr std::uint8_t kSwitch = 0x40;        // XLOG_SWITCH

// ---- CRC-32C, eight bytes at a time

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables t{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1U) != 0 ? (c >> 1U) ^ 0x82F63B78U : c >> 1U;
    t[0][i] = c;
  }
  for (std::uint32_t i = 0; i < 256; ++i) {
    for (std::size_t k = 1; k < 8; ++k) t[k][i] = (t[k - 1][i] >> 8U) ^ t[0][t[k - 1][i] & 0xFFU];
  }
  return t;
}
constexpr Tables kTables = make_tables();

std::uint32_t crc_more(std::uint32_t crc, std::string_view bytes) {
  while (bytes.size() >= 8) {
    auto low = wal_field<std::uint32_t>(bytes, 0) ^ crc;
    auto high = wal_field<std::uint32_t>(bytes, 4);
    crc = kTables[7][low & 0xFFU] ^ kTables[6][(low >> 8U) & 0xFFU] ^ kTables[5][(low >> 16U) & 0xFFU] ^
          kTables[4][low >> 24U] ^ kTables[3][high & 0xFFU] ^ kTables[2][(high >> 8U) & 0xFFU] ^
          kTables[1][(high >> 16U) & 0xFFU] ^ kTables[0][high >> 24U];
    bytes.remove_prefix(8);
  }
  for (char c : bytes) crc = (crc >> 8U) ^ kTables[0][(crc ^ static_cast<std::uint8_t>(c)) & 0xFFU];
  return crc;
}

// ---- one segment in memory

class Mapped {
 public:
  static base::Result<Mapped> open(const std::string& path) {
    base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat st{};
    if (!fd.valid() || ::fstat(fd.get(), &st) != 0) return base::fail(base::system_error("open", path));
    Mapped m;
    m.size_ = static_cast<std::size_t>(st.st_size);
    if (m.size_ == 0) return m;
    m.data_ = ::mmap(nullptr, m.size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (m.data_ == MAP_FAILED) {
      m.data_ = nullptr;
      return base::fail(base::system_error("map", path));
    }
    return m;
  }
  Mapped() = default;
  Mapped(Mapped&& o) noexcept : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}
  Mapped& operator=(Mapped&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  ~Mapped() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }
  [[nodiscard]] std::string_view bytes() const {
    return data_ == nullptr ? std::string_view() : std::string_view(static_cast<const char*>(data_), size_);
  }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

struct Page {
  std::string_view bytes;
  std::uint16_t info = 0;
  std::uint32_t remaining = 0;  // of the record that began before
  std::uint32_t header = 0;     // its length
};

// One walk. Functions that return an empty optional have said why in words().
class Walker {
 public:
  Walker(const WalkOrder& order, const FindSegment& find) : order_(order), find_(find) {}

  base::Result<WalWalk> run() {
    walk_.begin = walk_.end = Lsn(order_.first * order_.segment_size);
    PGR_ASSIGN(bool any, first_record());
    while (any) {
      PGR_ASSIGN(any, record());
    }
    return walk_;
  }

 private:
  std::optional<Page> ends(std::string words) {
    walk_.words = std::move(words);
    return std::nullopt;
  }

  base::Result<std::optional<Page>> page(std::uint64_t at) {
    const std::uint64_t size = order_.segment_size;
    std::uint64_t number = at / size;
    walk_.looked = number;
    if (!mapped_ || *mapped_ != number) {
      PGR_ASSIGN(auto path, find_(number));
      if (!path) return ends(fmt::format("there is no segment with the byte {}", Lsn(at).text()));
      PGR_ASSIGN(segment_, Mapped::open(*path));
      mapped_ = number;
    }
    if (segment_.bytes().size() != size) {
      return ends(fmt::format("the segment with the byte {} has {} bytes instead of {}", Lsn(at).text(),
                              segment_.bytes().size(), size));
    }
    Page p;
    p.bytes = segment_.bytes().substr(at % size, kPage);
    auto magic = wal_field<std::uint16_t>(p.bytes, 0);
    p.info = wal_field<std::uint16_t>(p.bytes, 2);
    TimelineId timeline(wal_field<std::uint32_t>(p.bytes, 4));
    Lsn address(wal_field<std::uint64_t>(p.bytes, 8));
    p.remaining = wal_field<std::uint32_t>(p.bytes, 16);
    p.header = at % size == 0 ? static_cast<std::uint32_t>(kLongHeaderBytes)
                              : static_cast<std::uint32_t>(kShortHeaderBytes);
    std::string where = fmt::format("the page at {}", Lsn(at).text());
    if (magic == 0) return ends(where + " was never written");
    if (at % size == 0) {
      auto header = parse_wal_header(p.bytes);
      if (!header) return ends(fmt::format("{}: {}", where, header.error().message));
      if (header->system_identifier != order_.system_identifier) {
        return ends(
            fmt::format("{} is of the cluster with system identifier {}", where, header->system_identifier));
      }
      if (header->segment_size != size || header->page_size != kPage)
        return ends(fmt::format("{} is of another segment or page size", where));
    } else if ((p.info & kLong) != 0) {
      return ends(where + " has the header of a first page");
    }
    if (walk_.magic != 0 && magic != walk_.magic)
      return ends(fmt::format("{} has the magic {:04X} instead of {:04X}", where, magic, walk_.magic));
    if (address.value() != at)
      return ends(fmt::format("{} is an old one of a recycled file, from {}", where, address.text()));
    if (timeline != order_.history.timeline() && timeline != order_.history.timeline_at(address))
      return ends(fmt::format("{} is of timeline {}", where, timeline.number()));
    walk_.magic = magic;
    return std::optional<Page>(p);
  }

  // Over the rest of a record that began before the first segment.
  base::Result<bool> first_record() {
    at_ = walk_.begin.value();
    while (true) {
      PGR_ASSIGN(auto p, page(at_));
      if (!p) return false;
      std::uint64_t rest = (p->info & kContinues) != 0 ? wal_aligned(p->remaining) : 0;
      if (rest < kPage - p->header) {
        if (rest != 0) at_ += p->header + rest;  // else the record begins with the page
        return true;
      }
      at_ += kPage;
    }
  }

  base::Result<bool> record() {
    std::uint64_t start = at_;
    PGR_ASSIGN(auto p, page(start / kPage * kPage));
    if (!p) return false;
    std::uint64_t in_page = start % kPage;
    if (in_page == 0) {
      if ((p->info & kContinues) != 0) {
        walk_.words = fmt::format("the page at {} continues a record that nobody began", Lsn(start).text());
        return false;
      }
      in_page = p->header;
      start += p->header;
    }
    auto length = wal_field<std::uint32_t>(p->bytes, in_page);
    if (length < kRecordHeader) {
      walk_.words = length == 0
                        ? fmt::format("nothing was written at {}", Lsn(start).text())
                        : fmt::format("the record at {} has the length {}", Lsn(start).text(), length);
      return false;
    }
    std::string header;
    std::uint32_t crc = 0xFFFFFFFFU;
    std::uint64_t left = length;
    while (true) {
      std::string_view piece = p->bytes.substr(in_page, std::min<std::uint64_t>(left, kPage - in_page));
      left -= piece.size();
      in_page += wal_aligned(piece.size());
      std::size_t to_header = std::min<std::size_t>(kRecordHeader - header.size(), piece.size());
      header.append(piece.substr(0, to_header));
      // Before more is read by a length that may be rubbish.
      if (to_header != 0 && header.size() == kRecordHeader && !linked(header, start)) return false;
      crc = crc_more(crc, piece.substr(to_header));
      if (left == 0) break;
      std::uint64_t next = start / kPage * kPage + kPage + pages_++ * kPage;
      PGR_ASSIGN(p, page(next));
      if (!p) return broken_off(start);
      if ((p->info & kOverwrite) != 0) {  // the server itself gave that record up, and went on here
        pages_ = 0;
        at_ = next;
        return true;
      }
      if ((p->info & kContinues) == 0 || p->remaining != left) {
        walk_.words = fmt::format("the page at {} does not continue the record at {}", Lsn(next).text(),
                                  Lsn(start).text());
        pages_ = 0;
        return false;
      }
      in_page = p->header;
    }
    std::uint64_t end = start / kPage * kPage + pages_ * kPage + in_page;
    pages_ = 0;
    crc = crc_more(crc, std::string_view(header).substr(0, kCrcAt)) ^ 0xFFFFFFFFU;
    if (crc != wal_field<std::uint32_t>(header, kCrcAt)) {
      walk_.words = fmt::format("the record at {} has a wrong checksum", Lsn(start).text());
      return false;
    }
    walk_.record_end = Lsn(end);
    auto info = wal_field<std::uint8_t>(header, 16), manager = wal_field<std::uint8_t>(header, 17);
    if (manager == kXlogManager && (info & 0xF0U) == kSwitch) {
      std::uint64_t size = order_.segment_size;
      end = (end + size - 1) / size * size;
    }
    if (!walk_.first) walk_.first = Lsn(start);
    walk_.last = Lsn(start);
    walk_.end = Lsn(end);
    ++walk_.records;
    at_ = end;
    return true;
  }

  // xl_prev is the record before; it keeps a record of an earlier life from being taken for the next one.
  bool linked(std::string_view header, std::uint64_t start) {
    Lsn before(wal_field<std::uint64_t>(header, 8));
    bool right = walk_.last ? before == *walk_.last : before.value() < start;
    if (!right) {
      walk_.words =
          fmt::format("the record at {} follows {}, not the one before it", Lsn(start).text(), before.text());
      pages_ = 0;
    }
    return right;
  }

  base::Result<bool> broken_off(std::uint64_t start) {
    walk_.words = fmt::format("the record at {} breaks off: {}", Lsn(start).text(), walk_.words);
    pages_ = 0;
    return false;
  }

  const WalkOrder& order_;
  const FindSegment& find_;
  WalWalk walk_;
  Mapped segment_;
  std::optional<std::uint64_t> mapped_;
  std::uint64_t at_ = 0;
  std::uint64_t pages_ = 0;  // that the record under way has crossed
};

}  // namespace

std::uint32_t crc32c(std::string_view bytes) { return crc_more(0xFFFFFFFFU, bytes) ^ 0xFFFFFFFFU; }

base::Result<WalWalk> walk_wal(const WalkOrder& order, const FindSegment& find) {
  return Walker(order, find).run();
}

}  // namespace pgrunbook::postgres
