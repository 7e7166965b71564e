#include "agent/job.hpp"

#include <fcntl.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/agent.hpp"
#include "archive/repository.hpp"
#include "base/file.hpp"
#include "base/subprocess.hpp"
#include "support/paths.hpp"
#include "support/postgres/temporary.hpp"
#include "support/postgres/wal_file.hpp"

namespace pgrunbook::agent {
namespace {

using archive::Repository;
using base::Json;
using postgres::TimelineId;
using test::must;
using test::SegmentSpec;

class Job : public ::testing::Test {
 protected:
  Job()
      : repository_(must(Repository::create(directory_ / "tfrs", {"tfrs", "topology-uid"},
                                            SegmentSpec{}.system_identifier, SegmentSpec{}.segment_size, 15,
                                            TimelineId(1)))) {}
  Order order(const char* job) const {
    Order o;
    o.job = job;
    o.action = {"PostgresRestore", "before-the-loss", "uid-1", "0123456789abcdef"};
    o.repository = {directory_ / "tfrs", "tfrs", "topology-uid"};
    o.plan.wait_seconds = 0;
    return o;
  }
  void archive(const std::string& name) const {
    std::string source = test::write_segment(directory_.path(), {.name = name});
    must(repository_.put_wal(source, must(postgres::parse_wal_name(name))));
  }
  api::Answer run(const Order& o) {
    Report report(::open("/dev/null", O_WRONLY), directory_ / "termination");
    return run_job(o, report);
  }
  test::TemporaryDirectory directory_;
  Repository repository_;
};

TEST_F(Job, ProofWaitsForItsSegments) {
  archive("000000010000000000000003");
  archive("000000010000000000000004");
  Order o = order(api::jobs::kProof);
  o.plan.wait_for = {"000000010000000000000003"};
  api::Answer answer = run(o);
  EXPECT_EQ(answer.outcome, api::Outcome::kSucceeded) << answer.message;
  EXPECT_EQ(answer.result, Json({{"segments", {"000000010000000000000003"}},
                                 {"newestSegment", "000000010000000000000004"},
                                 {"newestTimeline", 1}}));
  o.plan.wait_for = {"000000010000000000000003", "000000010000000000000005"};
  answer = run(o);
  EXPECT_EQ(answer.outcome, api::Outcome::kFailed);
  EXPECT_EQ(answer.reason, "WALNotArchived");
  EXPECT_EQ(answer.message, "000000010000000000000005 did not reach the repository within 0 s");
  EXPECT_EQ(answer.hint, "the server's log says why its archive_command fails");
}

TEST_F(Job, ProofOfNothingIsRefused) {
  EXPECT_EQ(run(order(api::jobs::kProof)).message, "order.plan.waitFor names no segment");
  Order o = order(api::jobs::kProof);
  o.plan.wait_for = {"00000002.history"};
  EXPECT_EQ(run(o).message, "00000002.history is no WAL segment");
  EXPECT_EQ(run(o).outcome, api::Outcome::kRefused);
}

TEST_F(Job, RecordKeepsTranscriptAndOutcome) {
  test::write_file(directory_ / "transcript.md", "# The runbook, filled in\n");
  Order o = order(api::jobs::kRecord);
  o.record = {"Completed", "Restored", directory_ / "transcript.md", {{"newTimeline", 2}}};
  api::Answer answer = run(o);
  EXPECT_EQ(answer.outcome, api::Outcome::kSucceeded) << answer.message;
  EXPECT_EQ(answer.result["path"], directory_ / "tfrs/transcripts/uid-1.md");
  EXPECT_EQ(must(base::read_file(directory_ / "tfrs/transcripts/uid-1.md")), "# The runbook, filled in\n");
  EXPECT_EQ(run(o).outcome, api::Outcome::kSucceeded);  // a Job may run twice
  EXPECT_TRUE(base::exists(directory_ /
                           "tfrs/actions/PostgresRestore-before-the-loss-0123456789abcdef.outcome.json"));
  o.record.outcome = "Failed";
  answer = run(o);
  EXPECT_EQ(answer.outcome, api::Outcome::kFailed);
  EXPECT_EQ(answer.reason, "OutcomeAlreadyRecorded");
  EXPECT_EQ(answer.message, "the ledger already says Completed of action uid-1");
}

TEST_F(Job, AStrangersRepositoryIsRefused) {
  Order o = order(api::jobs::kRecord);
  o.repository.topology_uid = "another";
  EXPECT_EQ(run(o).outcome, api::Outcome::kRefused);
  EXPECT_EQ(run(o).reason, "RepositoryOfAnother");
}

TEST_F(Job, AnUnknownJobIsRefused) {
  api::Answer answer = run(order("Dance"));
  EXPECT_EQ(answer.outcome, api::Outcome::kRefused);
  EXPECT_EQ(answer.message, "this agent knows no job 'Dance'");
}

TEST_F(Job, TheProgramReadsItsOrderAndLeavesItsAnswer) {
  archive("000000010000000000000003");
  Order o = order(api::jobs::kProof);
  o.plan.wait_for = {"000000010000000000000003"};
  auto run_program = [&](const std::string& text) {
    return must(base::run({{PGRUNBOOK_AGENT_PATH, "job"},
                           {{"PGRUNBOOK_ORDER", text},
                            {"PGRUNBOOK_POD_UID", "pod-1"},
                            {"PGRUNBOOK_TERMINATION_LOG", directory_ / "message"}}},
                          base::Deadline::after(std::chrono::seconds(20))));
  };
  auto ran = run_program(api::to_json(o).dump());
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  auto answer = must(
      api::answer_from_json(must(base::parse_json(must(base::read_file(directory_ / "message")), "answer"))));
  EXPECT_EQ(answer.reason, "SegmentsArchived");
  EXPECT_EQ(answer.message, "000000010000000000000003 is in the repository");
  EXPECT_THAT(ran.out, ::testing::HasSubstr("000000010000000000000003 is there"));
  EXPECT_EQ(run_program("{").exit_code, 1);
  EXPECT_THAT(must(base::read_file(directory_ / "message")),
              ::testing::HasSubstr("PGRUNBOOK_ORDER is not JSON"));
  EXPECT_EQ(run_program("").exit_code, 1);
  EXPECT_THAT(must(base::read_file(directory_ / "message")),
              ::testing::HasSubstr("PGRUNBOOK_ORDER is not set"));
}

TEST_F(Job, InstallCopiesTheProgramOnce) {
  std::string path = directory_ / "agent";
  auto install = [&] {
    return must(base::run({{PGRUNBOOK_AGENT_PATH, "install", path}},
                          base::Deadline::after(std::chrono::seconds(20))));
  };
  EXPECT_EQ(install().exit_code, 0);
  EXPECT_EQ(must(base::read_file(path)), must(base::read_file(PGRUNBOOK_AGENT_PATH)));
  EXPECT_EQ(install().exit_code, 0);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  test::write_file(path, "another program");
  auto refused = install();
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, ::testing::HasSubstr("is another program"));
  EXPECT_EQ(must(base::read_file(path)), "another program");
}

}  // namespace
}  // namespace pgrunbook::agent
