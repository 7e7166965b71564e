#include "kube/status_error.hpp"

#include <gtest/gtest.h>

namespace pgrunbook::kube {
namespace {

using base::ErrorCode;

Response status(int code, const std::string& reason, const std::string& message,
                Json details = Json::object()) {
  Json body{
      {"kind", "Status"}, {"status", "Failure"}, {"reason", reason}, {"message", message}, {"code", code}};
  if (!details.empty()) body["details"] = details;
  return {code, body.dump(), {}};
}

TEST(StatusError, MapsEachStatusToWhatTheCallerCanDo) {
  struct Row {
    int status;
    const char* reason;
    ErrorCode read, write;
  };
  const Row rows[] = {
      {400, "BadRequest", ErrorCode::kInvalid, ErrorCode::kInvalid},
      {401, "Unauthorized", ErrorCode::kUnauthorized, ErrorCode::kUnauthorized},
      {403, "Forbidden", ErrorCode::kForbidden, ErrorCode::kForbidden},
      {404, "NotFound", ErrorCode::kNotFound, ErrorCode::kNotFound},
      {409, "AlreadyExists", ErrorCode::kAlreadyExists, ErrorCode::kAlreadyExists},
      {409, "Conflict", ErrorCode::kConflict, ErrorCode::kConflict},
      {410, "Expired", ErrorCode::kGone, ErrorCode::kGone},
      {413, "RequestEntityTooLarge", ErrorCode::kInvalid, ErrorCode::kInvalid},
      {422, "Invalid", ErrorCode::kInvalid, ErrorCode::kInvalid},
      {429, "TooManyRequests", ErrorCode::kUnavailable, ErrorCode::kUnavailable},
      {500, "InternalError", ErrorCode::kUnavailable, ErrorCode::kInDoubt},
      {503, "ServiceUnavailable", ErrorCode::kUnavailable, ErrorCode::kUnavailable},
      {504, "Timeout", ErrorCode::kUnavailable, ErrorCode::kInDoubt},
      {302, "", ErrorCode::kRefused, ErrorCode::kRefused},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(status_error(status(row.status, row.reason, "m"), "x", false).code, row.read) << row.status;
    EXPECT_EQ(status_error(status(row.status, row.reason, "m"), "x", true).code, row.write) << row.status;
  }
}

TEST(StatusError, KeepsReasonStatusAndTheCausesText) {
  Json details{{"causes",
                {{{"reason", "FieldValueInvalid"}, {"field", "spec.to"}, {"message", "write one member"}},
                 {{"field", "spec"}, {"message", "already said"}}}}};
  auto e = status_error(status(422, "Invalid", "restore is invalid: already said", details),
                        "create postgresrestores/x", true);
  EXPECT_EQ(e.reason, "Invalid");
  EXPECT_EQ(e.status, 422);
  EXPECT_EQ(e.message,
            "create postgresrestores/x: restore is invalid: already said; spec.to: write one member");
}

TEST(StatusError, SaysWhenToComeBack) {
  auto body = status_error(status(429, "TooManyRequests", "m", {{"retryAfterSeconds", 3}}), "x", false);
  EXPECT_EQ(body.retry_after, std::chrono::seconds(3));
  Response header = status(429, "TooManyRequests", "m", {{"retryAfterSeconds", 3}});
  header.retry_after = std::chrono::seconds(7);
  EXPECT_EQ(status_error(header, "x", false).retry_after, std::chrono::seconds(7));
}

TEST(StatusError, HintsForRightsAndQuota) {
  EXPECT_EQ(status_error(status(403, "Forbidden", "no"), "x", true).hint,
            "give the service account this right (Role pgrunbook of the chart)");
  EXPECT_EQ(status_error(status(403, "Forbidden", "exceeded quota: q"), "x", true).hint,
            "raise the namespace's ResourceQuota, or free some of it");
  EXPECT_EQ(
      status_error(status(404, "NotFound", "the server could not find the requested resource"), "x", false)
          .hint,
      "the API server does not know this kind; for kinds of pgrunbook.io apply the chart pgrunbook-crds");
  auto leaving = status_error(
      status(403, "Forbidden", "n is being terminated",
             {{"causes", {{{"reason", "NamespaceTerminating"}, {"message", "n is being terminated"}}}}}),
      "x", true);
  EXPECT_EQ(leaving.reason, "NamespaceTerminating");
}

TEST(StatusError, SurvivesWhatIsNoStatus) {
  auto e = status_error({502, "<html>\nbad gateway</html>", {}}, "get pods/x", false);
  EXPECT_EQ(e.code, ErrorCode::kUnavailable);
  EXPECT_EQ(e.message, "get pods/x: <html> bad gateway</html>");
  EXPECT_EQ(status_error({500, "", {}}, "x", false).message, "x: HTTP status 500");
  EXPECT_EQ(
      status_error({500, "{\"kind\":\"Status\",\"message\":7,\"details\":[1]}", {}}, "x", false).message,
      "x: HTTP status 500");
}

TEST(StatusError, FailedPatchTestIsAConflict) {
  auto response = status(422, "Invalid", "the server rejected our request due to an error in our request");
  auto e = json_patch_error(response, "patch services/x");
  EXPECT_EQ(e.code, ErrorCode::kConflict);
  EXPECT_EQ(e.reason, "PatchTestFailed");
  EXPECT_EQ(status_error(response, "x", true).code, ErrorCode::kInvalid);
  EXPECT_EQ(json_patch_error(status(422, "Invalid", "spec.ports: required"), "x").code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace pgrunbook::kube
