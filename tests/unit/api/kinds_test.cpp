// Strict decoding of the kinds, and that crds/ and the decoders know the same fields.
#include "api/kinds.hpp"

#include <fstream>
#include <functional>
#include <regex>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "support/paths.hpp"

namespace pgrunbook::api {
namespace {

using base::Error;

Json parsed(const char* text) {
  auto json = base::parse_json(text, "the test");
  EXPECT_TRUE(json.has_value()) << text;
  return *json;
}

// What decoding a spec of a kind says; nullopt = it is understood.
std::optional<Error> complaint(const std::string& kind, const Json& spec) {
  auto of = [](const auto& decoded) {
    return decoded ? std::nullopt : std::optional<Error>(decoded.error());
  };
  if (kind == "PostgresTopology") return of(topology_spec(spec));
  if (kind == "PostgresBackup") return of(backup_spec(spec));
  if (kind == "PostgresRestore") return of(restore_spec(spec));
  return of(failover_spec(spec));
}

const char* const kTopology = R"({
  "members": [{"name": "a", "workloadRef": {"kind": "Deployment", "name": "a"}}, {"name": "b", "workloadRef": {"kind": "Deployment", "name": "b"}}],
  "services": [{"name": "db"}], "connection": {"secretRef": {"name": "s"}}, "archive": {"volume": {"claimName": "c"}}})";
const char* const kBackup = R"({"topologyRef": {"name": "t"}, "method": "Base"})";
const char* const kRestore =
    R"({"topologyRef": {"name": "t"}, "source": {"type": "Latest"}, "to": {"type": "Member", "member": {"name": "b"}}})";
const char* const kFailover = R"({"topologyRef": {"name": "t"}, "type": "Cutover", "candidate": "b"})";

struct Wrong {
  const char* name;
  const char* kind;
  const char* spec;     // what the change is applied to
  const char* pointer;  // where
  const char* value;    // what is put there; nullptr = it is removed
  const char* reason;
  const char* text;
};

void PrintTo(const Wrong& w, std::ostream* out) { *out << w.name; }

class WrongSpec : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongSpec, IsRefusedInTheseWords) {
  const Wrong& w = GetParam();
  Json spec = parsed(w.spec);
  Json::json_pointer at(w.pointer);
  if (w.value != nullptr) {
    spec[at] = parsed(w.value);
  } else {
    spec[at.parent_pointer()].erase(at.back());
  }
  auto error = complaint(w.kind, spec);
  ASSERT_TRUE(error.has_value()) << spec.dump();
  EXPECT_EQ(error->reason_or_code(), w.reason);
  EXPECT_EQ(error->text(), w.text);
}

const char* const kHint = ". HINT: remove it, or upgrade the operator to the version of the CRDs";
#define UNKNOWN(path)                                                                                        \
  path " is a field this version does not know. HINT: remove it, or upgrade the operator to the version of " \
       "the CRDs"

INSTANTIATE_TEST_SUITE_P(
    Table, WrongSpec,
    ::testing::Values(
        Wrong{"TopologyField", "PostgresTopology", kTopology, "/failover", R"({"mode": "Automatic"})",
              "UnknownField", UNKNOWN("spec.failover")},
        Wrong{"MemberField", "PostgresTopology", kTopology, "/members/1/lag", "1", "UnknownField",
              UNKNOWN("spec.members[1].lag")},
        Wrong{"WorkloadField", "PostgresTopology", kTopology, "/members/0/workloadRef/ordinal", "0",
              "UnknownField", UNKNOWN("spec.members[0].workloadRef.ordinal")},
        Wrong{"ServiceField", "PostgresTopology", kTopology, "/services/0/port", "5432", "UnknownField",
              UNKNOWN("spec.services[].port")},
        Wrong{"ConnectionField", "PostgresTopology", kTopology, "/connection/adminSecretRef", "{}",
              "UnknownField", UNKNOWN("spec.connection.adminSecretRef")},
        Wrong{"ArchiveField", "PostgresTopology", kTopology, "/archive/encryption", "{}", "UnknownField",
              UNKNOWN("spec.archive.encryption")},
        Wrong{"WalField", "PostgresTopology", kTopology, "/archive/wal", R"({"timeout": 5})", "UnknownField",
              UNKNOWN("spec.archive.wal.timeout")},
        Wrong{"JobsField", "PostgresTopology", kTopology, "/jobs", R"({"annotations": {}})", "UnknownField",
              UNKNOWN("spec.jobs.annotations")},
        Wrong{"BackupField", "PostgresBackup", kBackup, "/ttl", R"("1h")", "UnknownField",
              UNKNOWN("spec.ttl")},
        Wrong{"BaseField", "PostgresBackup", kBackup, "/base", R"({"jobs": 2})", "UnknownField",
              UNKNOWN("spec.base.jobs")},
        Wrong{"RestoreField", "PostgresRestore", kRestore, "/undo", R"("None")", "UnknownField",
              UNKNOWN("spec.undo")},
        Wrong{"SourceField", "PostgresRestore", kRestore, "/source/archive", "{}", "UnknownField",
              UNKNOWN("spec.source.archive")},
        Wrong{"TargetField", "PostgresRestore", kRestore, "/recoveryTarget", R"({"targetTimeline": "7"})",
              "UnknownField", UNKNOWN("spec.recoveryTarget.targetTimeline")},
        Wrong{"NoTarget", "PostgresRestore", kRestore, "/recoveryTarget", "{}", "Invalid",
              "spec.recoveryTarget names no target. HINT: name one, or remove recoveryTarget to recover to "
              "the latest moment"},
        Wrong{"ImmediateFalse", "PostgresRestore", kRestore, "/recoveryTarget",
              R"({"targetImmediate": false})", "Invalid",
              "spec.recoveryTarget names no target. HINT: name one, or remove recoveryTarget to recover to "
              "the latest moment"},
        Wrong{"TwoTargets", "PostgresRestore", kRestore, "/recoveryTarget",
              R"({"targetXID": "7", "targetLSN": "0/3000148"})", "Invalid",
              "spec.recoveryTarget names 2 targets. HINT: keep one of them"},
        Wrong{"ExclusiveName", "PostgresRestore", kRestore, "/recoveryTarget",
              R"({"targetName": "a", "exclusive": false})", "Invalid",
              "spec.recoveryTarget.exclusive needs targetTime, targetLSN or targetXID. HINT: remove "
              "exclusive"},
        Wrong{"NumericName", "PostgresRestore", kRestore, "/recoveryTarget", R"({"targetName": 7})",
              "Invalid", "spec.recoveryTarget.targetName is 7, not a string. HINT: put it in quotes"},
        Wrong{"NoLsn", "PostgresRestore", kRestore, "/recoveryTarget", R"({"targetLSN": "3000148"})",
              "Invalid",
              "spec.recoveryTarget.targetLSN 3000148 is not a place in the WAL. HINT: write it as "
              "pg_current_wal_lsn() shows it, like 0/3000148"},
        Wrong{"FrozenXid", "PostgresRestore", kRestore, "/recoveryTarget", R"({"targetXID": 4294967298})",
              "Invalid",
              "targetXID 4294967298 is not the number of a transaction. HINT: write it as "
              "pg_current_xact_id() or pg_waldump shows it, like 745"},
        Wrong{"LatestTimeline", "PostgresRestore", kRestore, "/recoveryTarget", R"({"targetTLI": "latest"})",
              "Invalid",
              "spec.recoveryTarget.targetTLI latest is not the number of a timeline. HINT: write its number, "
              "like 1; to follow the live one leave it out"},
        Wrong{"ToField", "PostgresRestore", kRestore, "/to/member/keep", "true", "UnknownField",
              UNKNOWN("spec.to.member.keep")},
        Wrong{"VerificationField", "PostgresRestore", kRestore, "/verification", R"({"checksums": true})",
              "UnknownField", UNKNOWN("spec.verification.checksums")},
        Wrong{"QueryField", "PostgresRestore", kRestore, "/verification",
              R"({"queries": [{"sql": "x", "expect": "y", "database": "z"}]})", "UnknownField",
              UNKNOWN("spec.verification.queries[].database")},
        Wrong{"FailoverField", "Failover", kFailover, "/acceptDataLoss", "true", "UnknownField",
              UNKNOWN("spec.acceptDataLoss")},
        Wrong{"NoMembers", "PostgresTopology", kTopology, "/members", nullptr, "Invalid",
              "spec.members is missing. HINT: set spec.members"},
        Wrong{"NoClaim", "PostgresTopology", kTopology, "/archive/volume/claimName", nullptr, "Invalid",
              "spec.archive.volume.claimName is missing. HINT: set spec.archive.volume.claimName"},
        Wrong{"MemberTwice", "PostgresTopology", kTopology, "/members/1/name", R"("a")", "Invalid",
              "spec.members[1] repeats the name a. HINT: give each member its own name"},
        Wrong{"Setup", "PostgresTopology", kTopology, "/archive/wal", R"({"setup": "Restart"})", "Invalid",
              "spec.archive.wal.setup is Restart, which is none of Report, ConfigureAndRestart"},
        Wrong{"ReplaceExisting", "PostgresTopology", kTopology, "/archive/wal",
              R"({"replaceExisting": "yes"})", "Invalid",
              "spec.archive.wal.replaceExisting is \"yes\", not true or false"},
        Wrong{"Streaming", "PostgresTopology", kTopology, "/members/0/whenStandby", R"("StreamingReplica")",
              "Invalid", "spec.members[0].whenStandby is StreamingReplica, which is none of ColdSpare"},
        Wrong{"SslMode", "PostgresTopology", kTopology, "/connection/sslMode", R"("verify-full")", "Invalid",
              "spec.connection.sslMode is verify-full, which is none of disable, allow, prefer, require"},
        Wrong{"Dump", "PostgresBackup", kBackup, "/method", R"("Dump")", "Invalid",
              "spec.method is Dump, which is none of Base"},
        Wrong{"BackupWithoutName", "PostgresRestore", kRestore, "/source/type", R"("Backup")", "Invalid",
              "spec.source.type Backup and spec.source.backupRef belong together. HINT: set both, or type: "
              "Latest alone"},
        Wrong{"LatestWithName", "PostgresRestore", kRestore, "/source/backupRef", R"({"name": "x"})",
              "Invalid",
              "spec.source.type Backup and spec.source.backupRef belong together. HINT: set both, or type: "
              "Latest alone"},
        Wrong{"NaiveTime", "PostgresRestore", kRestore, "/recoveryTarget",
              R"({"targetTime": "2026-11-20T15:00:00"})", "Invalid",
              "spec.recoveryTarget.targetTime 2026-11-20T15:00:00 names no time zone. HINT: write "
              "2026-11-20T15:00:00Z for UTC"},
        Wrong{"NoSuchDay", "PostgresRestore", kRestore, "/recoveryTarget",
              R"({"targetTime": "2026-02-29T15:00:00Z"})", "Invalid",
              "spec.recoveryTarget.targetTime is 2026-02-29T15:00:00Z, which is not a time by RFC 3339. "
              "HINT: write it like 2026-11-20T15:00:00Z"},
        Wrong{"ExpectNumber", "PostgresRestore", kRestore, "/verification",
              R"({"queries": [{"sql": "x", "expect": 1}]})", "Invalid",
              "spec.verification.queries[].expect is 1, not a string. HINT: put it in quotes"},
        Wrong{"Approval", "PostgresRestore", kRestore, "/approval", "true", "Invalid",
              "spec.approval is true, not a string. HINT: put it in quotes"},
        Wrong{"Cancel", "Failover", kFailover, "/cancel", R"("true")", "Invalid",
              "spec.cancel is \"true\", not true or false"},
        Wrong{"NoCandidate", "Failover", kFailover, "/candidate", nullptr, "Invalid",
              "spec.candidate is missing. HINT: set spec.candidate"},
        Wrong{"Switchover", "Failover", kFailover, "/type", R"("Switchover")", "Invalid",
              "spec.type is Switchover, which is none of Cutover"}),
    [](const auto& param) { return std::string(param.param.name); });
#undef UNKNOWN

TEST(Defaults, OfATopologyAreCareful) {
  auto t = topology_spec(parsed(kTopology));
  ASSERT_TRUE(t.has_value()) << t.error().text();
  EXPECT_EQ(t->archive.wal.setup, "Report");
  EXPECT_FALSE(t->archive.wal.replace_existing);
  EXPECT_EQ(t->archive.wal.method, "Command");
  EXPECT_EQ(t->archive.path, ".");
  EXPECT_EQ(t->members[0].workload, (WorkloadRef{"apps/v1", "Deployment", "a"}));
  EXPECT_EQ(t->members[0].when_standby, "ColdSpare");
  EXPECT_EQ(t->services[0].selects, "Primary");
  EXPECT_EQ(t->connection.username_key, "username");
  EXPECT_EQ(t->connection.password_key, "password");
  EXPECT_EQ(t->connection.database, "postgres");
  EXPECT_EQ(t->connection.ssl_mode, "prefer");
  EXPECT_TRUE(t->jobs.resources.is_null());
  EXPECT_EQ(t->member("b")->workload.name, "b");
  EXPECT_EQ(t->member("c"), nullptr);
}

TEST(Defaults, OfActions) {
  auto b = backup_spec(parsed(kBackup));
  ASSERT_TRUE(b.has_value());
  EXPECT_EQ(b->checkpoint, "Fast");
  EXPECT_EQ(b->max_rate, "");
  EXPECT_EQ(b->verify, "Manifest");
  auto r = restore_spec(parsed(kRestore));
  ASSERT_TRUE(r.has_value());
  EXPECT_EQ(r->target.asked(), "latest");
  EXPECT_EQ(r->salvage, "None");
  EXPECT_EQ(r->cutover, "None");
  EXPECT_EQ(r->mode, "Execute");
  EXPECT_EQ(r->approval, std::nullopt);
  EXPECT_EQ(r->approved_plan, "");
  EXPECT_FALSE(r->cancel);
  auto f = failover_spec(parsed(kFailover));
  ASSERT_TRUE(f.has_value());
  EXPECT_EQ(f->approval, std::nullopt);  // not None: the planner asks for approval
}

TEST(SpecHash, IsOfWhatCannotChange) {
  Json spec = parsed(kFailover);
  std::string hash = spec_hash(spec);
  EXPECT_EQ(hash.size(), 16U);
  EXPECT_EQ(hash.find_first_not_of("0123456789abcdef"), std::string::npos);
  spec["approvedPlan"] = "0123456789abcdef";
  spec["cancel"] = true;
  EXPECT_EQ(spec_hash(spec), hash);
  spec["approval"] = "None";
  EXPECT_NE(spec_hash(spec), hash);
}

TEST(Meta, IsReadWhateverItsShape) {
  ObjectMeta empty = meta_of(Json(7));
  EXPECT_EQ(empty.name, "");
  ObjectMeta m = meta_of(parsed(
      R"({"metadata": {"name": "n", "namespace": "s", "uid": "u", "generation": 3,
    "deletionTimestamp": "2026-11-20T15:00:00Z"}})"));
  EXPECT_EQ(m.name + m.namespace_name + m.uid, "nsu");
  EXPECT_EQ(m.generation, 3);
  EXPECT_TRUE(m.deleting);
}

struct Target {
  const char* json;
  const char* asked;
  std::uint32_t xid;
};

TEST(Targets, SurviveTheNumbersOfYAMLAndAreShownAsTheyWereAsked) {
  for (const Target& t : {
           Target{R"({"targetTime": "2026-11-20T15:00:00Z"})", "2026-11-20T15:00:00Z", 0},
           Target{R"({"targetTime": "2026-11-20T15:00:00Z", "exclusive": true})",
                  "before 2026-11-20T15:00:00Z", 0},
           Target{R"({"targetLSN": "0/3000148", "exclusive": false})", "LSN 0/3000148", 0},
           Target{R"({"targetLSN": "0/3000148", "exclusive": true})", "before LSN 0/3000148", 0},
           Target{R"({"targetXID": 745})", "xid 745", 745},
           Target{R"({"targetXID": "745", "exclusive": true, "targetTLI": 1})", "before xid 745, timeline 1",
                  745},
           Target{R"({"targetXID": 8589935337})", "xid 8589935337", 745},
           Target{R"({"targetXID": "18446744073709551615"})", "xid 18446744073709551615", 4294967295U},
           Target{R"({"targetName": "20261120"})", "name 20261120", 0},
           Target{R"({"targetImmediate": true, "targetTLI": "2"})", "immediate, timeline 2", 0},
           Target{R"({"targetTLI": 3})", "latest, timeline 3", 0},
       }) {
    Json spec = parsed(kRestore);
    spec["recoveryTarget"] = parsed(t.json);
    auto r = restore_spec(spec);
    ASSERT_TRUE(r.has_value()) << t.json << ": " << r.error().text();
    EXPECT_EQ(r->target.asked(), t.asked);
    if (t.xid != 0) {
      EXPECT_EQ(*xid_of(r->target.xid), t.xid);
    }
  }
}

// ---- crds/ against the decoders

struct KindOfFile {
  const char* kind;
  const char* file;
};

class Schema : public ::testing::TestWithParam<KindOfFile> {
 protected:
  static YAML::Node spec_schema() {
    YAML::Node crd = YAML::LoadFile(std::string(PGRUNBOOK_SOURCE_DIR) + "/crds/" + GetParam().file);
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
  }
  // Kubernetes' own structs, passed on as they are.
  static bool passed_on(const std::string& path) { return path.rfind("spec.jobs.", 0) == 0; }
};

// A value that the schema allows, with every field set.
Json full(const YAML::Node& schema, const std::string& name) {
  if (schema["x-kubernetes-int-or-string"]) return "9";
  auto type = schema["type"].as<std::string>();
  if (type == "object" && schema["properties"]) {
    Json out = Json::object();
    for (const auto& field : schema["properties"]) {
      auto key = field.first.as<std::string>();
      out[key] = full(field.second, key);
    }
    return out;
  }
  if (type == "object") return {{"key", full(schema["additionalProperties"], "key")}};
  if (type == "array") return Json::array({full(schema["items"], name)});
  if (type == "boolean") return true;
  if (type == "integer") return 1;
  // The last word of an enum, so that unions (Latest, Backup) have their struct.
  if (schema["enum"]) return schema["enum"][schema["enum"].size() - 1].as<std::string>();
  if (name == "targetTime") return "2026-11-20T15:00:00Z";
  return name == "targetLSN" ? "0/3000148" : "x";
}

// Of the targets only one can be there.
Json with_target(Json spec, const std::string& kept) {
  if (!spec.contains("recoveryTarget")) return spec;
  Json& target = spec["recoveryTarget"];
  for (const char* name : {"targetTime", "targetLSN", "targetXID", "targetName", "targetImmediate"}) {
    if (name != kept) target.erase(name);
  }
  if (kept == "targetName" || kept == "targetImmediate") target.erase("exclusive");
  return spec;
}
Json full_spec(const YAML::Node& schema) { return with_target(full(schema, "spec"), "targetTime"); }

// Every object of the schema with the path by which a decoder names it.
void objects(const YAML::Node& schema, const std::string& path, const Json::json_pointer& at,
             std::vector<std::pair<std::string, Json::json_pointer>>* out) {
  if (schema["items"]) {
    bool counted = path == "spec.members";
    objects(schema["items"], path + (counted ? "[0]" : "[]"), at / 0, out);
  }
  if (!schema["properties"]) return;
  out->emplace_back(path, at);
  for (const auto& field : schema["properties"]) {
    auto key = field.first.as<std::string>();
    objects(field.second, path + "." + key, at / key, out);
  }
}

TEST_P(Schema, EveryFieldIsDecoded) {
  for (const char* target : {"targetTime", "targetLSN", "targetXID", "targetName", "targetImmediate"}) {
    Json spec = with_target(full(spec_schema(), "spec"), target);
    auto error = complaint(GetParam().kind, spec);
    EXPECT_FALSE(error.has_value()) << error->text() << "\n" << spec.dump(2);
  }
}

TEST_P(Schema, EveryObjectIsDecodedStrictly) {
  YAML::Node schema = spec_schema();
  std::vector<std::pair<std::string, Json::json_pointer>> all;
  objects(schema, "spec", Json::json_pointer(), &all);
  EXPECT_GT(all.size(), 1U);
  for (const auto& [path, at] : all) {
    if (passed_on(path)) continue;
    Json spec = full_spec(schema);
    spec[at]["zz"] = 1;
    auto error = complaint(GetParam().kind, spec);
    ASSERT_TRUE(error.has_value()) << path;
    EXPECT_EQ(error->text(), path + ".zz is a field this version does not know" + kHint);
  }
}

TEST_P(Schema, EveryWordOfEveryEnumIsDecoded) {
  YAML::Node schema = spec_schema();
  std::vector<std::pair<std::string, Json::json_pointer>> all;
  objects(schema, "spec", Json::json_pointer(), &all);
  for (const auto& [path, at] : all) {
    if (passed_on(path)) continue;
    // The schema at the same place.
    YAML::Node here = YAML::Clone(schema);
    for (std::string rest = at.to_string(); !rest.empty();) {
      std::size_t end = rest.find('/', 1);
      std::string key = rest.substr(1, end == std::string::npos ? end : end - 1);
      here.reset(key == "0" ? here["items"] : here["properties"][key]);
      rest = end == std::string::npos ? "" : rest.substr(end);
    }
    for (const auto& field : here["properties"]) {
      if (!field.second["enum"]) continue;
      for (const auto& word : field.second["enum"]) {
        Json spec = full_spec(schema);
        auto text = word.as<std::string>();
        spec[at][field.first.as<std::string>()] = text;
        if (path == "spec.source" && text == "Latest") spec[at].erase("backupRef");
        auto error = complaint(GetParam().kind, spec);
        EXPECT_FALSE(error.has_value()) << path << " " << text << ": " << error->text();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Crds, Schema,
                         ::testing::Values(KindOfFile{"PostgresTopology", "postgrestopologies.yaml"},
                                           KindOfFile{"PostgresBackup", "postgresbackups.yaml"},
                                           KindOfFile{"PostgresRestore", "postgresrestores.yaml"},
                                           KindOfFile{"Failover", "failovers.yaml"}),
                         [](const auto& param) { return std::string(param.param.kind); });

void names_in(const YAML::Node& schema, const std::string& path, std::set<std::string>* out) {
  if (schema["items"]) names_in(schema["items"], path, out);
  for (const auto& field : schema["properties"]) {
    auto key = field.first.as<std::string>();
    out->insert(key);
    if (path + "." + key != ".jobs.resources" && path + "." + key != ".jobs.tolerations")
      names_in(field.second, path + "." + key, out);
  }
}

TEST(SchemaNames, TheDecodersReadNothingElse) {
  std::set<std::string> in_schema, in_code;
  for (const char* file :
       {"postgrestopologies.yaml", "postgresbackups.yaml", "postgresrestores.yaml", "failovers.yaml"}) {
    YAML::Node crd = YAML::LoadFile(std::string(PGRUNBOOK_SOURCE_DIR) + "/crds/" + file);
    names_in(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "", &in_schema);
  }
  std::ifstream source(std::string(PGRUNBOOK_SOURCE_DIR) + "/operator/api/kinds.cpp");
  std::stringstream text;
  text << source.rdbuf();
  std::string code = text.str();
  std::regex read(
      R"re((?:\.|->)(?:need|maybe|word|child|required)\("(\w+)"|(?:take\(|text_or_number\(&r, )"(\w+)")re");
  for (std::sregex_iterator it(code.begin(), code.end(), read), end; it != end; ++it) {
    in_code.insert((*it)[1].matched ? (*it)[1].str() : (*it)[2].str());
  }
  EXPECT_EQ(in_code, in_schema);
}

TEST(Examples, AreDecoded) {
  for (const char* file :
       {"topology", "backup", "restore-to-time", "restore-latest", "restore-to-lsn", "cutover"}) {
    YAML::Node node =
        YAML::LoadFile(fmt::format("{}/manifests/examples/{}.yaml", PGRUNBOOK_SOURCE_DIR, file));
    std::function<Json(const YAML::Node&)> json = [&](const YAML::Node& n) -> Json {
      if (n.IsMap()) {
        Json out = Json::object();
        for (const auto& field : n) out[field.first.as<std::string>()] = json(field.second);
        return out;
      }
      if (n.IsSequence()) {
        Json out = Json::array();
        for (const auto& item : n) out.push_back(json(item));
        return out;
      }
      bool plain = n.Tag() == "?";
      if (plain && (n.Scalar() == "true" || n.Scalar() == "false")) return n.Scalar() == "true";
      return n.Scalar();
    };
    Json object = json(node);
    auto error = complaint(object["kind"], object["spec"]);
    EXPECT_FALSE(error.has_value()) << file << ": " << error->text();
  }
}

}  // namespace
}  // namespace pgrunbook::api
