// From what was seen to what is judged and told.
#include "stackbench/plaintext/window_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using bench::ReachOutcome;

probes::WireReport sound_capture() {
  probes::WireReport wire;
  wire.canaries = {{"client", 0}, {"outsider", 2}};
  wire.samples_before = {{"http", true, true}};
  wire.samples_after = {{"http", true, true}};
  return wire;
}

SeenChange seen_change() {
  return {
      .outsider =
          {{.number = 0, .before_ns = 1'000, .after_ns = 1'400, .outcome = ReachOutcome::refused},
           {.number = 1, .before_ns = 3'000, .after_ns = 3'500, .outcome = ReachOutcome::answered},
           {.number = 2, .before_ns = 5'000, .after_ns = 5'400, .outcome = ReachOutcome::cut}},
      .client =
          {{.number = 0, .before_ns = 2'500, .after_ns = 2'600, .outcome = ReachOutcome::answered},
           {.number = 1, .before_ns = 4'500, .after_ns = 4'600, .outcome = ReachOutcome::answered}},
      .wire = sound_capture(),
      .from_ns = 500,
      .until_ns = 6'000};
}

TEST(PlaintextRun, TellsTimesSinceTheWrite) {
  ChangeDone done{.stamps = {.sent_ns = 2'000, .acked_ns = 2'100, .programmed_ns = 2'900},
                  .listening_ns = 2'950};
  done.stamps.intercepted_ns = 4'800;
  const auto seen = seen_change();
  const auto watch = mesh_watch(seen, done);
  EXPECT_EQ(watch.capture_trouble, "");
  const auto one = plaintext_repetition(watch, checks::look_at(watch), done, seen.wire);
  EXPECT_EQ(one.acked_ns, 100);
  EXPECT_EQ(one.programmed_ns, 900);
  EXPECT_EQ(one.listening_ns, 950);
  EXPECT_EQ(one.intercepted_ns, 2'800);
  EXPECT_EQ(one.answered.times, 1U);
  EXPECT_EQ(one.answered.first_ns, 1'000);
  EXPECT_EQ(one.knocks, 2U) << "one that was refused said nothing";
  EXPECT_EQ(one.knocks_readable, 2U);
  EXPECT_EQ(one.opened_after_ns, std::nullopt);
}

TEST(PlaintextRun, OfAFlipTellsWhenItOpened) {
  const ChangeDone done{
      .stamps = {.sent_ns = 4'000, .acked_ns = 4'100}, .closes = true, .permitted_ns = 2'000};
  const auto seen = seen_change();
  const auto watch = mesh_watch(seen, done);
  const auto one = plaintext_repetition(watch, checks::look_at(watch), done, seen.wire);
  EXPECT_EQ(one.opened_after_ns, 1'500);
  EXPECT_EQ(one.answered.times, 0U) << "answered before it was forbidden";
  EXPECT_EQ(one.not_judged, "");
}

TEST(PlaintextRun, TrustsNoCaptureThatMayHaveMissedSomething) {
  const ChangeDone done{.stamps = {.sent_ns = 2'000, .acked_ns = 2'100}};
  const auto trouble = [&](const auto& break_it) {
    auto seen = seen_change();
    break_it(seen.wire);
    return mesh_watch(std::move(seen), done).capture_trouble;
  };
  EXPECT_EQ(trouble([](auto& wire) { wire.lost = 2; }), "the capture lost 2 packets");
  EXPECT_EQ(trouble([](auto& wire) { wire.unwatched = 2; }),
            "the capture had no memory for 2 segments");
  for (const auto samples :
       {&probes::WireReport::samples_before, &probes::WireReport::samples_after}) {
    EXPECT_NE(trouble([&](auto& wire) { (wire.*samples).clear(); }), "");
    EXPECT_NE(trouble([&](auto& wire) { (wire.*samples)[0].request = false; }), "");
  }
}

}  // namespace
}  // namespace stackbench
