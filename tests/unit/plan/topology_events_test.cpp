#include "plan/topology_events.hpp"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgrunbook::plan {
namespace {

using base::Json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Json status(std::initializer_list<std::array<const char*, 3>> conditions, const char* setup = nullptr) {
  Json out = {{"conditions", Json::array()}};
  for (const auto& [type, value, reason] : conditions)
    out["conditions"].push_back(
        {{"type", type}, {"status", value}, {"reason", reason}, {"message", std::string("of ") + reason}});
  if (setup != nullptr) out["setup"] = {{"reason", setup}};
  return out;
}

const Json kArchives = status({{"ContinuousArchiving", "True", "Archiving"}});
const Json kBehind = status({{"ContinuousArchiving", "False", "ArchivingBehind"}});
const Json kUnknown = status({{"ContinuousArchiving", "Unknown", "PrimaryNotReady"}});
const Json kNotSetUp =
    status({{"ContinuousArchiving", "False", "NotSetUp"}, {"Stalled", "True", "NotSetUp"}});
const Json kSettingUp = status({{"ContinuousArchiving", "False", "SettingUp"}}, "Completed");

TEST(TopologyEvents, ThatArchivingStoppedAndIsBack) {
  EXPECT_THAT(topology_events(kArchives, kBehind),
              ElementsAre(TopologyEvent{"Warning", "ArchivingBehind", "of ArchivingBehind"}));
  EXPECT_THAT(topology_events(kUnknown, kBehind),
              ElementsAre(TopologyEvent{"Warning", "ArchivingBehind", "of ArchivingBehind"}));
  EXPECT_THAT(topology_events(kBehind, kArchives),
              ElementsAre(TopologyEvent{"Normal", "Archiving", "of Archiving"}));
}

TEST(TopologyEvents, NotEveryLook) {
  EXPECT_THAT(topology_events(kArchives, kArchives), IsEmpty());
  EXPECT_THAT(topology_events(kBehind, kBehind), IsEmpty());
  EXPECT_THAT(topology_events(kArchives, kUnknown), IsEmpty());
  EXPECT_THAT(topology_events(kUnknown, kArchives), IsEmpty());
  EXPECT_THAT(topology_events(nullptr, kUnknown), IsEmpty());
}

TEST(TopologyEvents, ThatAPersonIsNeededOnceForEachReason) {
  EXPECT_THAT(topology_events(nullptr, kNotSetUp),
              ElementsAre(TopologyEvent{"Warning", "NotSetUp", "of NotSetUp"}));
  EXPECT_THAT(topology_events(kNotSetUp, kNotSetUp), IsEmpty());
  EXPECT_THAT(topology_events(kNotSetUp, status({{"Stalled", "True", "NoPrimary"}})),
              ElementsAre(TopologyEvent{"Warning", "NoPrimary", "of NoPrimary"}));
}

TEST(TopologyEvents, WhatSetupSaysIsNotToldTwice) {
  EXPECT_THAT(topology_events(kArchives, kSettingUp), IsEmpty());
  EXPECT_THAT(topology_events(kSettingUp, kArchives), IsEmpty());
  EXPECT_THAT(topology_events(nullptr, status({{"ContinuousArchiving", "False", "QuotaTooSmall"},
                                               {"Stalled", "True", "QuotaTooSmall"}},
                                              "QuotaTooSmall")),
              IsEmpty());
}

TEST(TopologyEvents, WhatAilsAMemberOnceForEachReason) {
  auto ill = [](const char* member, const char* reason, const char* line = "") {
    Json symptom = {{"reason", reason}, {"what", "its server does not start"}};
    if (*line != 0) symptom["line"] = line;
    return Json{{"members", {{{"name", "other"}}, {{"name", member}, {"symptom", symptom}}}}};
  };
  const Json well = {{"members", {{{"name", "other"}}, {{"name", "postgresql"}}}}};
  EXPECT_THAT(topology_events(well, ill("postgresql", "NoCheckpoint", "PANIC:  could not locate")),
              ElementsAre(TopologyEvent{"Warning", "NoCheckpoint",
                                        "postgresql: its server does not start: PANIC:  could not locate"}));
  EXPECT_THAT(topology_events(nullptr, ill("postgresql", "DiskFull")),
              ElementsAre(TopologyEvent{"Warning", "DiskFull", "postgresql: its server does not start"}));
  EXPECT_THAT(topology_events(ill("postgresql", "DiskFull"), ill("postgresql", "DiskFull", "again")),
              IsEmpty());
  EXPECT_THAT(topology_events(ill("postgresql", "DiskFull"), ill("postgresql", "NoCheckpoint")),
              ElementsAre(TopologyEvent{"Warning", "NoCheckpoint", "postgresql: its server does not start"}));
  // Of another member it is news; that it is over is not.
  EXPECT_THAT(topology_events(ill("postgresql", "DiskFull"), ill("standby", "DiskFull")),
              ElementsAre(TopologyEvent{"Warning", "DiskFull", "standby: its server does not start"}));
  EXPECT_THAT(topology_events(ill("postgresql", "DiskFull"), well), IsEmpty());
}

}  // namespace
}  // namespace pgrunbook::plan
