// The status follows what must be put back: where that cannot be kept, nothing goes on, and it is said.
#include "controllers/actions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "execute/duty.hpp"
#include "execute/gate.hpp"
#include "unit/execute/bench.hpp"

namespace pgrunbook::controllers {
namespace {

namespace k = kube::kinds;
using base::at;
using base::Json;
using base::text_at;
using test::Bench;
using ::testing::HasSubstr;

class Saving : public testing::Test {
 protected:
  Bench b;
  std::string claim = b.scene().members.front().data_claim_uid;

  Saving() {
    b.a.status.phase = api::Phase::kRunning;
    b.a.status.operation.inputs["claims"] = Json::array({claim});
    EXPECT_EQ(execute::hold_volumes(b.a, {claim}).kind, execute::StepResult::Kind::kDone);
    b.a.status.operation.step = "hold";
    EXPECT_TRUE(save().has_value());
    // The step is done, the next one is begun.
    b.a.status.operation.results["hold"] = Json::object();
    b.a.status.operation.step = "stop-applications";
  }
  base::Result<> save() {
    return save_action(b.a, at(b.a.object, {"status"}), [](execute::Action& x, const Json& status) {
      return write_status(x.world.api, x.resource, x.object, status);
    });
  }
  void leases_fail_with(base::ErrorCode code) {
    b.api.fault = [code](const test::FakeApi::Call& call,
                         test::FakeApi::Moment) -> std::optional<base::Error> {
      if (call.verb == "patch" && call.kind == "Lease")
        return base::error(code, "the Lease may not be written");
      return std::nullopt;
    };
  }
  [[nodiscard]] Json status() { return b.api.peek(k::kFailover, "switch")["status"]; }
};

TEST_F(Saving, ADutyThatIsRefusedIsSaidAndNothingGoesOn) {
  leases_fail_with(base::ErrorCode::kInvalid);
  EXPECT_FALSE(save().has_value());
  EXPECT_EQ(text_at(status(), {"phase"}), "Blocked");
  EXPECT_THAT(text_at(status(), {"message"}), HasSubstr("step hold needs help: keep what must be put back: "
                                                        "the Lease may not be written"));
  EXPECT_EQ(text_at(status(), {"operation", "step"}), "hold") << "the next step has not begun";
  EXPECT_TRUE(at(status(), {"operation", "results", "hold"}).is_null());
  b.api.forget_calls();
  const Json said = status();
  EXPECT_FALSE(save().has_value());
  EXPECT_EQ(status(), said);
  EXPECT_EQ(b.api.write_texts(), std::vector<std::string>{"patch Lease/" + execute::lease_name(claim)})
      << "it is said once";
  b.api.fault = nullptr;
  EXPECT_TRUE(save().has_value());
  EXPECT_EQ(text_at(status(), {"phase"}), "Running");
  EXPECT_EQ(text_at(status(), {"operation", "step"}), "stop-applications");
}

TEST_F(Saving, ADutyThatCannotBeWrittenForAMomentIsTriedAgainInSilence) {
  leases_fail_with(base::ErrorCode::kUnavailable);
  EXPECT_FALSE(save().has_value());
  EXPECT_EQ(text_at(status(), {"phase"}), "Running");
  EXPECT_EQ(text_at(status(), {"operation", "step"}), "hold");
}

}  // namespace
}  // namespace pgrunbook::controllers
