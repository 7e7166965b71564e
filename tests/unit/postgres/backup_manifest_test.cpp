#include "postgres/backup_manifest.hpp"

#include <gtest/gtest.h>

#include "base/hash.hpp"

namespace pgrunbook::postgres {
namespace {

std::string with_checksum(const std::string& body) {
  return body + "\"Manifest-Checksum\": \"" + base::sha256(body) + "\"}\n";
}

const std::string kBody = R"({ "PostgreSQL-Backup-Manifest-Version": 1,
"Files": [
{ "Path": "PG_VERSION", "Size": 3, "Last-Modified": "2026-11-20 15:04:05 GMT", "Checksum-Algorithm": "SHA256", "Checksum": "aa" },
{ "Encoded-Path": "ff41", "Size": 0, "Last-Modified": "2026-11-20 15:04:05 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "bb" }
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/3000028", "End-LSN": "0/3000138" }
],
)";

std::map<std::string, ManifestFile> found() {
  return {{"PG_VERSION", {3, "aa"}},
          {"\xff"
           "A",
           {0, "cc"}},
          {"backup_manifest", {100, "dd"}}};
}

TEST(BackupManifest, ReadsFilesAndRange) {
  auto m = parse_backup_manifest(with_checksum(kBody));
  ASSERT_TRUE(m.has_value()) << m.error().text();
  EXPECT_EQ(m->files.size(), 2U);
  EXPECT_EQ(m->files.at("PG_VERSION").sha256, "aa");
  EXPECT_EQ(m->files
                .at("\xff"
                    "A")
                .sha256,
            "");  // another algorithm: only the size is held against it
  EXPECT_EQ(m->begin(), *Lsn::parse("0/3000028"));
  EXPECT_EQ(m->end(), *Lsn::parse("0/3000138"));
  EXPECT_EQ(m->timeline(), TimelineId(1));
  EXPECT_TRUE(compare_with_manifest(*m, found()).has_value());
}

TEST(BackupManifest, I20_EveryChangedByteIsNoticed) {
  std::string whole = with_checksum(kBody);
  for (std::size_t at = 0; at + 3 < whole.size(); ++at) {  // not the brace and newline behind the checksum
    std::string bad = whole;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_FALSE(parse_backup_manifest(bad).has_value()) << at;
  }
}

TEST(BackupManifest, I20_DifferencesAreNamed) {
  auto m = *parse_backup_manifest(with_checksum(kBody));
  auto message = [&](auto change) {
    auto files = found();
    change(&files);
    auto result = compare_with_manifest(m, files);
    return result ? std::string("equal") : result.error().message;
  };
  EXPECT_EQ(message([](auto* f) { f->erase("PG_VERSION"); }), "PG_VERSION is missing");
  EXPECT_EQ(message([](auto* f) { (*f)["PG_VERSION"].size = 4; }), "PG_VERSION has 4 bytes instead of 3");
  EXPECT_EQ(message([](auto* f) { (*f)["PG_VERSION"].sha256 = "ab"; }),
            "PG_VERSION has other content than the manifest says");
  EXPECT_EQ(message([](auto* f) { (*f)["extra"] = {1, "x"}; }), "extra is not in the manifest");
  EXPECT_EQ(message([](auto* f) { f->clear(); }), "PG_VERSION is missing, and 1 more differences");
}

TEST(BackupManifest, WithoutARangeItIsWorthNothing) {
  std::string body = kBody.substr(0, kBody.find("{ \"Timeline\"")) + "],\n";
  EXPECT_EQ(parse_backup_manifest(with_checksum(body)).error().message,
            "backup_manifest: it names no range of WAL");
}

}  // namespace
}  // namespace pgrunbook::postgres
